"""One study's reconstructions, each worse than the best in one respect."""

import logging
import random
from dataclasses import replace

import pytest

from kicc_ml.cohort.ct_ranking import CRITERIA, explain_ranking, kernel_class, rank_ct
from kicc_ml.cohort.index_image import IndexRule, index_image
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Series
from kicc_ml.synthetic.hospital import VENDORS

BEST = Series(
    site="A", patient="p", study="s", uid="best", modality="CT", files=(), rows=512, columns=512, slices=300,
    spacing_mm=(0.7, 0.7, 1.0), units="hu", verdict="usable", plane="axial", coverage_mm=300.0, kernel="B70f",
)  # fmt: skip
WORSE = {
    "plane": replace(BEST, uid="coronal", plane="coronal"),
    "lungs": replace(BEST, uid="liver", coverage_mm=120.0),
    "thin": replace(BEST, uid="thick", spacing_mm=(0.7, 0.7, 5.0)),
    "kernel": replace(BEST, uid="bone", kernel="BONE"),
    "whole": replace(BEST, uid="mended", verdict="repaired"),
    "coverage": replace(BEST, uid="short", coverage_mm=250.0),
}


def test_each_criterion_outweighs_all_after_it():
    series = [BEST, *(WORSE[name] for name in reversed(CRITERIA))]
    random.Random(1).shuffle(series)
    assert [one.uid for one in rank_ct(series)] == ["best", *(WORSE[name].uid for name in reversed(CRITERIA))]


@pytest.mark.parametrize("name", sorted(set(CRITERIA) - {"coverage"}))
def test_the_order_of_criteria_is_a_setting(name: str):
    """Put first, a criterion sends to the end what every other one would put before the rest."""
    assert rank_ct(WORSE.values(), [name])[-1] == WORSE[name]


def test_lung_and_neutral_kernels_are_equals_so_that_coverage_decides():
    neutral = replace(BEST, uid="neutral", kernel="STANDARD", coverage_mm=310.0)
    assert rank_ct([BEST, neutral])[0] == neutral


def test_thinner_than_a_lesion_needs_is_no_better():
    thinner = replace(BEST, uid="a", spacing_mm=(0.7, 0.7, 0.6), coverage_mm=290.0)
    assert rank_ct([thinner, BEST])[0] == BEST


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        *(("B31f", "neutral"), ("B70f", "lung"), ("Br40d", "neutral"), ("Bl57", "lung"), ("I70f\\3", "lung")),
        *(("STANDARD", "neutral"), ("LUNG", "lung"), ("BONEPLUS", "edge"), ("CHST", "lung")),
        *(("FC52", "lung"), ("FC08", "neutral"), ("FC30", "edge"), ("YA", "lung"), ("B", "neutral")),
        *(("", ""), ("EB_7", "")),
    ],
)
def test_kernels_are_known_by_their_vendors_names(kernel: str, kind: str):
    assert kernel_class(kernel) == kind


def test_every_synthetic_scanner_has_kernels_of_known_class():
    assert {kernel_class(vendor.lung_kernel) for vendor in VENDORS} == {"lung"}
    assert {kernel_class(vendor.soft_kernel) for vendor in VENDORS} == {"neutral"}


def test_the_study_s_image_is_the_best_and_the_others_are_logged_with_why(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        taken, _ = index_image("CT", [WORSE["plane"], WORSE["thin"], BEST], {}, IndexRule())
    assert taken == BEST
    assert "coronal passed over for best: not axial" in caplog.text
    assert "thick passed over for best: thicker" in caplog.text


def test_equal_series_are_taken_by_pseudonym_and_said_to_be_equal():
    twin = replace(BEST, uid="a")
    assert rank_ct([BEST, twin]) == [twin, BEST]
    assert explain_ranking(twin, BEST) == "equal; another was first"


def test_an_unknown_criterion_is_the_users_error():
    with pytest.raises(UserError, match="ct_ranking pretty unknown; there are plane"):
        IndexRule(ct_ranking=["pretty"])
