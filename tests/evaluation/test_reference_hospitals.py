"""The three answers against R: ``reference_hospitals.R`` made ``reference_hospitals.json``; nothing here needs R."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kicc_ml.evaluation.comparison import compute_mean_difference, compute_paired_difference
from kicc_ml.evaluation.discrimination import compute_site_pairs
from kicc_ml.evaluation.hospital_effects import compute_mean_effects
from kicc_ml.evaluation.intervals import MIN_OWN_VARIANCE_CASES
from kicc_ml.evaluation.meta_analysis import limit_weights, pool
from kicc_ml.evaluation.outcome import score_outcome
from kicc_ml.evaluation.rows import BinaryOutcomes
from kicc_ml.evaluation.summary import summarise

HERE = Path(__file__).parent
R = {name: np.array(values) for name, values in json.loads((HERE / "reference_hospitals.json").read_text()).items()}
TABLE = pd.read_csv(HERE / "reference_hospitals.csv")
LABEL, SITE = TABLE["label"].to_numpy(float), TABLE["site"].to_numpy(str)
NETWORK = BinaryOutcomes(LABEL, TABLE["network"].to_numpy(float), SITE)
CLINICAL = BinaryOutcomes(LABEL, TABLE["clinical"].to_numpy(float), SITE)

#: Agreement that independent implementations owe each other.
SAME = 1e-6


def bounds(answer: dict) -> list[float]:
    return [answer["value"], answer["low"], answer["high"]]


def same(answers: dict, these: str | None, like_these: str) -> None:
    """``answers`` equal R's; the new hospital has its interval where R's Q shows that hospitals differ."""
    if these:
        np.testing.assert_allclose(bounds(answers["these_hospitals"]), R[these], rtol=0, atol=SAME)
    mean, low, high, new_low, new_high, _, q_p = R[like_these]
    np.testing.assert_allclose(bounds(answers["hospitals_like_these"]), [mean, low, high], rtol=0, atol=SAME)
    if q_p < 0.05:
        np.testing.assert_allclose(bounds(answers["new_hospital"]), [mean, new_low, new_high], rtol=0, atol=SAME)
    else:
        assert answers["new_hospital"]["low"] is None
        assert f"p {q_p:.2f}" in answers["new_hospital"]["reason"]


def test_no_hospital_of_the_reference_is_under_the_rule_for_few_events() -> None:
    assert not compute_site_pairs(NETWORK).few_s.any(), (
        f"R knows no rule for fewer than {MIN_OWN_VARIANCE_CASES} events"
    )


def test_the_auc_is_that_of_stratified_proc_and_of_metafor() -> None:
    found = score_outcome(NETWORK, ["auroc"])["auroc"]
    same(found, "these", "like_these")
    assert found["question"] == "hospitals_like_these"
    assert bounds(found) == bounds(found["hospitals_like_these"]), "the headline"


def test_the_paired_difference_is_that_of_stratified_proc_and_of_metafor() -> None:
    found = compute_paired_difference(NETWORK, CLINICAL, "auroc")
    same(dict(found.answers), "these_difference", "like_these_difference")


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        ("brier", "brier"),
        ("observed_expected", "ratio"),
        ("calibration_slope", "slope"),
        ("calibration_intercept", "intercept"),
    ],
)
def test_calibration_and_brier_are_those_of_glm_with_robust_variances_and_of_metafor(metric: str, name: str) -> None:
    found = score_outcome(NETWORK, [metric])[metric]
    same(found, f"these_{name}", f"like_these_{name}")
    assert bounds(found) == bounds(found["these_hospitals"]), "the figure of all cases"


def test_a_mean_over_cases_such_as_dice_is_that_of_r() -> None:
    cases = pd.DataFrame({"case_id": np.arange(len(SITE)), "site": SITE, "lesion_dice": TABLE["dice"]})
    found = summarise(cases, pd.DataFrame())["segmentation"]["lesion"]["dice"]
    same(found, "these_dice", "like_these_dice")
    assert found["mean"] == pytest.approx(TABLE["dice"].mean())


def test_a_difference_of_means_is_the_mean_of_differences_at_each_hospital() -> None:
    dice, other = TABLE["dice"].to_numpy(), TABLE["dice"].to_numpy() ** 1.1
    found, expected = compute_mean_difference(dice, other, SITE), compute_mean_effects(dice - other, SITE)
    pooled = pool(expected.effect_k, expected.variance_k)
    assert (found.value, found.low, found.p) == pytest.approx((pooled.mean, pooled.low, pooled.p))


def test_a_hospital_with_most_of_the_weight_is_limited_as_in_metafor_with_a_larger_variance() -> None:
    pooled = pool(R["heavy_effect"], R["heavy_variance"])
    found = [pooled.mean, pooled.low, pooled.high, pooled.tau_squared]
    np.testing.assert_allclose(np.array(found, float), R["heavy"], rtol=0, atol=SAME)
    assert pooled.heaviest == pytest.approx(1 / np.sqrt(10))


@pytest.mark.parametrize(
    "weights", [[50, 1, 1], [9, 9, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1], [100, 60, 1, 1, 1], [5, 5, 1, 1]]
)
def test_no_weight_exceeds_its_limit_and_the_others_stay(weights: list[float]) -> None:
    before = np.array(weights, float)
    after = limit_weights(before)
    limit = 1 / np.sqrt(len(weights))
    assert (after <= limit * after.sum() * (1 + 1e-6)).all()
    lowered = after < before
    assert (after[~lowered] == before[~lowered]).all()
    assert (after[lowered] >= limit * after.sum() * (1 - 1e-3)).all(), "lowered no further than to the limit"
