"""Marks of hospitals in features, and duplicates between sides of a split, are found."""

import numpy as np
import pandas as pd
import pytest

from kicc_ml.evaluation.leakage import (
    GAP_METRICS,
    PROBE_FOLDS,
    compute_validation_gap,
    compute_validation_gaps,
    find_duplicates,
    probe_site,
)
from kicc_ml.evaluation.rows import BinaryOutcomes

SITE = np.repeat(["daegu", "seoul", "busan", "jeju"], [60, 25, 10, 6])


def features(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(len(SITE), 12))


def test_hospitals_that_leave_no_mark_are_not_flagged_more_often_than_by_chance() -> None:
    flags = [probe_site(features(seed), SITE, seed).flagged for seed in range(8)]
    assert sum(flags) <= 1


def test_a_mark_of_one_hospital_is_flagged_even_of_a_small_one() -> None:
    marked = features()
    marked[SITE == "jeju", :6] += 3
    probe = probe_site(marked, SITE)
    assert probe.flagged
    assert probe.chance == 0.25
    assert probe.low is not None
    assert probe.low > 0.25


def test_hospitals_with_too_few_patients_are_named_and_missing_values_are_no_error() -> None:
    holes = features()
    holes[::7, 2] = np.nan
    few = np.where(np.arange(len(SITE)) == 0, "ulsan", SITE)
    assert probe_site(holes, few).left_out == ("ulsan",)
    alone = probe_site(features()[:60], SITE[:60])
    assert (alone.accuracy, alone.reason) == (None, f"fewer than two hospitals with {PROBE_FOLDS} patients")


def images() -> tuple[pd.DataFrame, np.ndarray]:
    feature = np.random.default_rng(1).normal(size=(6, 64))
    feature[4] = 0.7 * feature[0] + 30  # another window
    feature[5] = feature[1] + np.random.default_rng(2).normal(0, 0.05, 64)  # saved again
    rows = pd.DataFrame(
        {
            "case_id": ["a1", "a2", "b1", "b2", "c1", "c2"],
            "site": ["a", "a", "b", "b", "c", "c"],
            "person": ["p1", "p2", "p3", "p4", "p5", "p2"],
            "digest": ["x", "y", "x", "", np.nan, "z"],
        }
    )
    return rows, feature


def test_the_same_image_of_two_persons_is_found_exactly_and_nearly() -> None:
    rows, feature = images()
    found = find_duplicates(rows, feature)
    assert set(zip(found["kind"], found["one"], found["other"], strict=True)) == {
        ("exact", "a1", "b1"),
        ("near", "a1", "c1"),
    }
    assert found.loc[found["kind"] == "near", "similarity"].item() == pytest.approx(1)
    assert found.loc[found["kind"] == "exact", ["site_one", "site_other"]].values.tolist() == [["a", "b"]]


def test_two_images_of_one_person_are_no_duplicate_and_missing_digests_match_nothing() -> None:
    rows, feature = images()
    assert "c2" not in set(find_duplicates(rows, feature)["other"])
    assert len(find_duplicates(rows)) == 1
    rows["digest"] = ""
    assert find_duplicates(rows).empty


def test_constant_and_missing_vectors_match_nothing() -> None:
    rows, feature = images()
    feature[:] = 3.0
    feature[2] = np.nan
    assert set(find_duplicates(rows, feature)["kind"]) == {"exact"}


def test_the_gap_is_what_patient_level_validation_gains_from_knowing_the_hospital() -> None:
    generator = np.random.default_rng(0)
    label = (generator.random(400) < 0.4).astype(float)
    site = generator.integers(0, 8, 400).astype(str)
    honest = generator.normal(label, 1.5)
    gap = compute_validation_gap(BinaryOutcomes(label, honest + label, site), BinaryOutcomes(label, honest, site))
    for difference in gap.values():
        assert difference.low is not None
        assert difference.low > 0
    assert (
        compute_validation_gap(BinaryOutcomes(label, honest, site), BinaryOutcomes(label, honest, site))["auroc"].value
        == 0
    )


def test_the_gap_of_two_tables_is_over_their_common_cases_in_whatever_order() -> None:
    generator = np.random.default_rng(0)
    label = (generator.random(300) < 0.4).astype(float)
    rows = {"case_id": np.arange(300).astype(str), "site": generator.integers(0, 6, 300).astype(str), "label": label}
    site = pd.DataFrame(rows | {"endpoint": "icu", "model": "network", "probability": generator.normal(label, 1.5)})
    patient = site.assign(probability=site["probability"] + label).iloc[::-1].head(250)
    found = {row["metric"]: row for row in compute_validation_gaps(patient, site)}
    assert set(found) == set(GAP_METRICS)
    assert all(row["n"] == 250 and row["low"] > 0 for row in found.values())
    unknown = [table.assign(endpoint="oxygen", label=np.nan) for table in (patient, site)]
    both = [pd.concat([table, nobody]) for table, nobody in zip((patient, site), unknown, strict=True)]
    assert compute_validation_gaps(*both) == compute_validation_gaps(patient, site)
