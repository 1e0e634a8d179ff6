"""Paired differences of models, within hospitals."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from kicc_ml.core.errors import UserError
from kicc_ml.evaluation.comparison import (
    compare,
    compare_runs,
    compare_segmentations,
    compute_mean_difference,
    compute_paired_difference,
)
from kicc_ml.evaluation.discrimination import compute_site_pairs
from kicc_ml.evaluation.outcome import score_outcome
from kicc_ml.evaluation.rows import BinaryOutcomes
from kicc_ml.report.terminal import make_comparison_table


def models(sites: int = 8, n: int = 400, seed: int = 0) -> tuple[BinaryOutcomes, BinaryOutcomes]:
    """A model that sees the risk, and one that sees half of it."""
    generator = np.random.default_rng(seed)
    seen, unseen = generator.normal(size=(2, n))
    label = (generator.random(n) < expit(seen + unseen)).astype(float)
    site = generator.integers(0, sites, n).astype(str)
    return BinaryOutcomes(label, expit(seen + unseen), site), BinaryOutcomes(label, expit(seen), site)


def table(**by_model: BinaryOutcomes) -> pd.DataFrame:
    return pd.concat(
        pd.DataFrame(
            {"case_id": np.arange(len(rows.label_n)), "site": rows.site_n, "label": rows.label_n}
            | {"endpoint": "icu", "model": model, "probability": rows.probability_n}
        )
        for model, rows in by_model.items()
    )


def test_a_model_that_sees_more_is_better_and_the_order_only_turns_the_sign() -> None:
    one, other = models()
    found, turned = compute_paired_difference(one, other, "auroc"), compute_paired_difference(other, one, "auroc")
    assert found.excludes_zero
    assert found.low is not None
    assert found.low > 0
    assert found.p is not None
    assert found.p < 0.05
    assert (turned.value, turned.p) == pytest.approx((-found.value, found.p))


def test_p_below_5_percent_and_an_interval_without_0_are_the_same_thing() -> None:
    for seed in range(12):
        one, other = models(n=120, seed=seed)
        found = compute_paired_difference(one, other, "auroc")
        assert found.p is not None
        assert (found.p < 0.05) == found.excludes_zero


def test_what_both_models_share_cancels() -> None:
    """The interval of a difference is narrower than that of either model."""
    one, _ = models()
    close = BinaryOutcomes(one.label_n, expit(0.9 * np.log(one.probability_n / (1 - one.probability_n))), one.site_n)
    same = compute_paired_difference(one, close, "auroc")
    assert (same.value, same.low, same.reason) == (0.0, None, "no spread between cases")
    alone, together = score_outcome(one)["brier"], compute_paired_difference(one, close, "brier")
    assert together.low is not None
    assert together.high is not None
    assert together.high - together.low < 0.1 * (alone["high"] - alone["low"])


def test_one_hospital_is_compared_by_delongs_paired_variance() -> None:
    """Which ``test_reference.py`` has from pROC; here by the jackknife over events and over non-events."""
    one, other = models(sites=1, n=80)
    found, variance = compute_paired_difference(one, other, "auroc"), 0.0
    for label in (0, 1):
        places = np.flatnonzero(one.label_n == label)
        kept = [np.arange(80) != place for place in places]
        left = [compute_site_pairs(one.at(keep)).area - compute_site_pairs(other.at(keep)).area for keep in kept]
        variance += (len(places) - 1) ** 2 / len(places) * np.var(left, ddof=1)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.959964 * np.sqrt(variance), rel=1e-6)
    assert found.question == "these_hospitals"
    assert found.answers["hospitals_like_these"]["reason"] == "1 hospital with an estimate; 3 are needed"


def test_two_hospitals_are_strata_and_a_difference_of_exactly_0_has_an_interval_around_it() -> None:
    one, other = models(sites=2, n=200)
    found = compute_paired_difference(one, other, "auroc")
    pairs = compute_site_pairs(one).pairs_s
    alone = [
        compute_paired_difference(one.at(one.site_n == site), other.at(one.site_n == site), "auroc") for site in "01"
    ]
    assert found.value == pytest.approx(np.average([at.value for at in alone], weights=pairs))
    halves = np.array([(at.high - at.low) / 2 for at in (found, *alone)])  # type: ignore[operator]
    assert halves[0] == pytest.approx(np.linalg.norm(halves[1:] * pairs / pairs.sum()))
    label, site = np.array([1, 1, 0, 0] * 2, float), np.repeat(["a", "b"], 4)
    first, second = np.array([0.9, 0.4, 0.5, 0.1] * 2), np.array([0.4, 0.9, 0.1, 0.5] * 2)
    level = compute_paired_difference(BinaryOutcomes(label, first, site), BinaryOutcomes(label, second, site), "auroc")
    assert (level.value, level.p) == (0.0, 1.0)
    assert level.low is not None


def test_only_cases_that_both_predicted_are_compared_and_all_are_paired_by_id() -> None:
    one, other = models()
    rows = table(network=one, clinical=other)
    missing = rows[~((rows["model"] == "clinical") & (rows["case_id"] < 30))]
    shuffled = missing.sample(frac=1, random_state=0)
    found = {row["metric"]: row for row in compare(shuffled, [("network", "clinical")])}
    kept = np.arange(len(one.label_n)) >= 30
    expected = compute_paired_difference(one.at(kept), other.at(kept), "auroc")
    assert found["auroc"]["n"] == kept.sum()
    assert found["auroc"]["difference"] == pytest.approx(expected.value)
    assert found["auroc"]["better"] == found["brier"]["better"] == "network"


def test_models_with_different_outcomes_of_a_case_are_not_compared() -> None:
    one, other = models()
    rows = table(
        network=one,
        clinical=BinaryOutcomes(
            np.where(np.arange(400) == 7, 1 - other.label_n, other.label_n), other.probability_n, other.site_n
        ),
    )
    with pytest.raises(UserError, match="different outcomes of 1 cases, for example 7"):
        compare(rows, [("network", "clinical")])


def test_holm_is_over_the_comparisons_of_a_metric_and_never_below_p() -> None:
    one, other = models(n=150)
    third = BinaryOutcomes(one.label_n, np.random.default_rng(5).random(150), one.site_n)
    rows = compare(table(a=one, b=other, c=third), [("a", "b"), ("a", "c"), ("b", "c")])
    areas = [row for row in rows if row["metric"] == "auroc"]
    assert len(areas) == 3
    assert all(row["p_holm"] >= row["p"] for row in areas)
    assert min(row["p_holm"] for row in areas) == pytest.approx(3 * min(row["p"] for row in areas))


def test_a_difference_whose_interval_holds_0_is_nobodys_win() -> None:
    one, _ = models(n=60)
    other = BinaryOutcomes(
        one.label_n, np.clip(one.probability_n + np.random.default_rng(1).normal(0, 0.01, 60), 0, 1), one.site_n
    )
    assert {row["better"] for row in compare(table(a=one, b=other), [("a", "b")]) if row["metric"] == "auroc"} == {
        "neither"
    }


def test_one_class_cannot_be_compared_and_says_so() -> None:
    one, _ = models(n=30)
    nobody = BinaryOutcomes(np.zeros(30), one.probability_n, one.site_n)
    found = compute_paired_difference(nobody, nobody, "auroc")
    assert (found.value, found.reason) == (None, "no event among 30 cases")
    assert compute_mean_difference(np.empty(0), np.empty(0), np.empty(0, str)).reason == "no case that both have"


def test_runs_are_compared_by_what_both_have() -> None:
    one, other = models()
    predictions = {"small": table(network=other, clinical=one), "large": table(network=one), "masks": pd.DataFrame()}
    site = np.tile(list("abcd"), 5)
    dice = {
        run: pd.DataFrame({"case_id": range(20), "site": site, "lesion_dice": np.linspace(low, 0.8, 20)})
        for run, low in (("masks", 0.3), ("large", 0.5))
    }
    rows = compare_runs(predictions, dice | {"small": pd.DataFrame()})
    assert [(row["endpoint"], row["metric"], row["model"], row["against"], row["better"]) for row in rows] == [
        ("icu", "auroc", "small", "large", "large"),
        ("icu", "brier", "small", "large", "large"),
        ("lesion", "dice", "masks", "large", "large"),
    ]
    shown = make_comparison_table(rows)
    assert shown.row_count == 3
    assert compare_runs({}, {}) == []


def test_segmentations_are_compared_by_the_mean_over_the_same_cases() -> None:
    generator = np.random.default_rng(0)
    site = np.repeat(list("abcd"), 10)
    first = pd.DataFrame({"case_id": range(40), "site": site, "lesion_dice": generator.uniform(0.5, 0.9, 40)})
    second = first.assign(lesion_dice=first["lesion_dice"] - 0.1 + generator.normal(0, 0.02, 40)).iloc[5:]
    (row,) = compare_segmentations({"one": first, "two": second}, "lesion")
    assert row["n"] == 35
    these = row["these_hospitals"]
    assert these["value"] == pytest.approx((first["lesion_dice"] - second["lesion_dice"]).mean())
    assert row["question"] == "hospitals_like_these"
    assert row["better"] == "one"
