"""Figures of predicted outcomes against scikit-learn and their definitions."""

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from kicc_ml.evaluation.calibration import MIN_SMOOTHED_CASES, compute_calibration_slope, compute_smooth_curve
from kicc_ml.evaluation.comparison import compute_paired_difference
from kicc_ml.evaluation.decision_curve import THRESHOLDS, compute_decision_curve
from kicc_ml.evaluation.discrimination import compute_site_pairs
from kicc_ml.evaluation.outcome import ALL_CASES_METRICS, METRICS, score_outcome
from kicc_ml.evaluation.rows import BinaryOutcomes


def simulated(n: int = 400, sites: int = 6, slope: float = 1.0, seed: int = 0) -> BinaryOutcomes:
    """Labels drawn from the true risk; the model states a risk whose logit is ``slope`` times too flat."""
    generator = np.random.default_rng(seed)
    true_logit = generator.normal(-0.5, 1.2, n)
    label = (generator.random(n) < expit(true_logit)).astype(float)
    return BinaryOutcomes(label, np.round(expit(true_logit / slope), 2), generator.integers(0, sites, n).astype(str))


@pytest.fixture
def rows() -> BinaryOutcomes:
    return simulated()


@pytest.mark.parametrize("metric", ALL_CASES_METRICS)
def test_an_influence_is_how_much_a_figure_moves_when_a_case_counts_more(rows: BinaryOutcomes, metric: str) -> None:
    """Doubling a case many times over: a numerical derivative of the definition, which knows nothing of formulas."""
    rows, of = rows.at(np.arange(60)), ALL_CASES_METRICS[metric].compute
    found = of(rows)
    assert found.influence_n.sum() == pytest.approx(0, abs=1e-8)
    many = 200
    for case in (0, 7, 23, 41):
        repeated = np.concatenate([np.tile(np.arange(60), many), [case]])
        moved = (of(rows.at(repeated)).value - found.value) * many
        assert moved == pytest.approx(found.influence_n[case], abs=0.02 * abs(found.influence_n).max()), case


def test_the_headline_auc_counts_pairs_of_one_hospital_only(rows: BinaryOutcomes) -> None:
    concordant = pairs = 0.0
    for i in np.flatnonzero(rows.label_n == 1):
        for j in np.flatnonzero((rows.label_n == 0) & (rows.site_n == rows.site_n[i])):
            difference = rows.probability_n[i] - rows.probability_n[j]
            concordant += 0.5 if difference == 0 else float(difference > 0)
            pairs += 1
    assert compute_site_pairs(rows).area == pytest.approx(concordant / pairs, abs=1e-12)


def test_the_headline_is_untouched_by_differences_between_hospitals(rows: BinaryOutcomes) -> None:
    lifted = expit(logit(np.clip(rows.probability_n, 0.01, 0.99)) + 3 * rows.site_n.astype(int))
    before, after = score_outcome(rows), score_outcome(BinaryOutcomes(rows.label_n, lifted, rows.site_n))
    assert after["auroc"]["these_hospitals"]["value"] == pytest.approx(
        before["auroc"]["these_hospitals"]["value"], abs=1e-3
    )
    assert after["auroc_pooled"]["value"] < before["auroc_pooled"]["value"] - 0.05


def test_brier_equals_scikit_learn(rows: BinaryOutcomes) -> None:
    assert score_outcome(rows)["brier"]["value"] == pytest.approx(brier_score_loss(rows.label_n, rows.probability_n))


def test_calibration_recovers_a_model_that_is_half_as_sure_as_it_should_be() -> None:
    scored = score_outcome(simulated(n=3000, slope=2.0))
    assert scored["calibration_slope"]["value"] == pytest.approx(2.0, abs=0.25)
    assert scored["calibration_slope"]["low"] < 2.0 < scored["calibration_slope"]["high"]
    assert score_outcome(simulated(n=3000))["calibration_intercept"]["value"] == pytest.approx(0, abs=0.1)


def test_the_slope_equals_unpenalised_logistic_regression(rows: BinaryOutcomes) -> None:
    kept = rows.at((rows.probability_n > 0) & (rows.probability_n < 1))
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    model.fit(logit(kept.probability_n)[:, None], kept.label_n)
    slope = compute_calibration_slope(kept).value
    assert slope == pytest.approx(model.coef_[0, 0], abs=1e-5)


def test_delong_variance_equals_the_jackknife_of_pairs() -> None:
    """DeLong's variance is the jackknife over events plus that over non-events."""
    rows = simulated(60, sites=1, seed=3)
    events, others = rows.probability_n[rows.label_n == 1], rows.probability_n[rows.label_n == 0]
    variance = 0.0
    for kept, fixed, sign in ((events, others, 1), (others, events, -1)):
        left_out = [
            roc_auc_score(
                np.repeat([1, 0], [kept.size - 1, fixed.size]), np.r_[np.delete(sign * kept, i), sign * fixed]
            )
            for i in range(kept.size)
        ]
        variance += (kept.size - 1) ** 2 / kept.size * np.var(left_out, ddof=1)
    assert compute_site_pairs(rows).spread == pytest.approx(variance, rel=1e-9)


def test_intervals_contain_the_value_and_say_what_they_answer(rows: BinaryOutcomes) -> None:
    for metric, figure in score_outcome(rows).items():
        assert figure["low"] < figure["value"] < figure["high"]
        assert figure["question"] == ("hospitals_like_these" if metric == "auroc" else "these_hospitals")


def test_each_question_has_an_answer_or_a_reason(rows: BinaryOutcomes) -> None:
    for sites in (1, 2, 6):
        scored = score_outcome(simulated(sites=sites))
        for metric in ("auroc", "brier", "observed_expected", "calibration_slope", "calibration_intercept"):
            for question in ("these_hospitals", "hospitals_like_these", "new_hospital"):
                answer = scored[metric][question]
                assert set(answer) == {"value", "low", "high", "reason"}
                assert (answer["low"] is None) == bool(answer["reason"])


def test_two_hospitals_say_nothing_of_others_and_the_headline_is_of_these() -> None:
    found = score_outcome(simulated(sites=2))["auroc"]
    assert found["question"] == "these_hospitals"
    assert found["hospitals_like_these"]["reason"] == "2 hospitals with an estimate; 3 are needed"


def test_one_large_hospital_does_not_take_away_the_answer() -> None:
    """Six hospitals, one of 44 % of the patients, AUC 0.66 to 0.91: the mean of hospitals is known to about 0.1."""
    generator = np.random.default_rng(0)
    size, area = (120, 104, 151, 139, 101, 488), (0.91, 0.83, 0.66, 0.87, 0.83, 0.73)
    site = np.repeat(list("ABCDEF"), size)
    label = (generator.random(site.size) < 0.5).astype(float)
    distance = np.sqrt(2) * norm.ppf(np.repeat(area, size))
    risk = expit(generator.normal(size=site.size) + distance * (label - 0.5))
    found = score_outcome(BinaryOutcomes(label, risk, site), ["auroc"])["auroc"]
    like, new = found["hospitals_like_these"], found["new_hospital"]
    assert 0.6 < like["low"] < np.mean(area) < like["high"] < 0.95
    assert new["low"] < min(area) + 0.1
    assert found["these_hospitals"]["high"] - found["these_hospitals"]["low"] < 0.08


def test_one_class_gives_a_reason_instead_of_a_figure(rows: BinaryOutcomes) -> None:
    scored = score_outcome(BinaryOutcomes(np.zeros(5), np.full(5, 0.2), np.array(list("aabbb"))))
    assert scored["auroc"]["value"] is None
    assert scored["auroc"]["reason"] == "no event among 5 cases"
    assert scored["brier"]["value"] == pytest.approx(0.04)


def test_no_known_outcome_gives_a_reason_for_every_metric() -> None:
    scored = score_outcome(BinaryOutcomes(np.empty(0), np.empty(0), np.empty(0, str)))
    assert set(scored) == set(METRICS)
    assert all(figure["reason"] == "no case with a known outcome" for figure in scored.values())


def test_a_constant_model_has_no_slope_and_perfect_order_no_interval() -> None:
    label, site = np.tile([0.0, 1.0], 20), np.repeat(list("abcd"), 10)
    constant = score_outcome(BinaryOutcomes(label, np.full(40, 0.5), site))
    assert constant["calibration_slope"]["value"] is None
    assert constant["auroc"]["value"] == 0.5
    perfect = score_outcome(BinaryOutcomes(label, 0.1 + 0.8 * label, site))
    assert perfect["auroc"]["value"] == 1.0
    assert perfect["auroc"]["low"] is None
    assert "reason" in perfect["auroc"]


def test_permuted_labels_score_one_half_within_hospitals() -> None:
    values = []
    for seed in range(40):
        rows = simulated(200, seed=seed)
        shuffled = np.random.default_rng(seed).permutation(rows.label_n)
        values.append(compute_site_pairs(BinaryOutcomes(shuffled, rows.probability_n, rows.site_n)).area)
    assert np.mean(values) == pytest.approx(0.5, abs=0.02)


def test_two_hospitals_are_strata_and_their_interval_is_delongs() -> None:
    rows = simulated(200, sites=2)
    figure = score_outcome(rows)["auroc"]["these_hospitals"]
    pairs = compute_site_pairs(rows)
    error = np.sqrt((pairs.pairs_s**2 * pairs.variance_s).sum()) / pairs.pairs_s.sum()
    half = (logit(figure["high"]) - logit(figure["low"])) / 2
    assert half == pytest.approx(1.959964 * error / (pairs.area * (1 - pairs.area)), rel=1e-5)


def test_scaled_brier_is_0_for_the_prevalence_and_observed_over_expected_is_1() -> None:
    label = np.tile([0.0, 0.0, 0.0, 1.0], 30)
    scored = score_outcome(BinaryOutcomes(label, np.full(120, 0.25), np.repeat(list("abcd"), 30)))
    assert scored["scaled_brier"]["value"] == pytest.approx(0)
    assert scored["observed_expected"]["value"] == pytest.approx(1)
    perfect = score_outcome(BinaryOutcomes(label, label, np.repeat(list("abcd"), 30)))
    assert perfect["scaled_brier"]["value"] == pytest.approx(1)
    assert perfect["auroc"]["these_hospitals"] == {
        **{"value": 1.0, "low": None, "high": None},
        "reason": "all pairs ordered alike",
    }


def test_nobody_treated_has_no_net_benefit_and_a_perfect_model_gives_the_prevalence() -> None:
    label, site = np.tile([0.0, 0.0, 0.0, 1.0], 30), np.repeat(list("abcd"), 30)
    assert set(compute_decision_curve(BinaryOutcomes(label, label, site))["net_benefit"].round(12)) == {0.25}
    never = compute_decision_curve(BinaryOutcomes(label, np.zeros(120), site))
    assert set(never["net_benefit"]) == {0.0}
    assert set(never["reason"]) == {"no spread between cases"}
    assert len(never) == len(THRESHOLDS)


def test_the_smooth_curve_follows_the_true_risk_and_says_why_there_is_none(rows: BinaryOutcomes) -> None:
    large = simulated(n=4000)
    curve = compute_smooth_curve(large)
    middle = (curve.predicted_n > 0.2) & (curve.predicted_n < 0.8)
    np.testing.assert_allclose(curve.observed_n[middle], curve.predicted_n[middle], atol=0.08)
    few = rows.at(np.arange(len(rows.label_n)) < MIN_SMOOTHED_CASES - 1)
    assert compute_smooth_curve(few).reason == f"fewer than {MIN_SMOOTHED_CASES} cases"
    assert (
        compute_smooth_curve(BinaryOutcomes(np.zeros(30), np.full(30, 0.2), np.full(30, "a"))).reason
        == "no event among 30 cases"
    )


def test_no_known_outcome_has_no_decision_curve() -> None:
    assert compute_decision_curve(BinaryOutcomes(np.empty(0), np.empty(0), np.empty(0, str))).empty


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.filterwarnings("error")
def test_no_shape_of_the_data_ends_a_report_or_leaves_a_nan(seed: int) -> None:
    """Hospitals of one patient, of one class, with ties, with risks of 0 and 1, all alike: each figure or a reason."""
    generator = np.random.default_rng(seed)
    site = np.repeat([f"h{place}" for place in range(seed % 6 + 1)], generator.integers(1, 25, seed % 6 + 1))
    label = (generator.random(site.size) < generator.choice([0.0, 0.1, 0.5, 1.0], p=[0.1, 0.4, 0.4, 0.1])).astype(float)
    digits = int(generator.choice([0, 1, 8]))
    risk = np.round(generator.random(site.size) * generator.choice([0.0, 1.0], p=[0.1, 0.9]) + 0.0, digits)
    scored = (
        score_outcome(BinaryOutcomes(label, risk, site))
        | vars(
            compute_paired_difference(
                BinaryOutcomes(label, risk, site), BinaryOutcomes(label, np.round(risk, 1), site), "brier"
            )
        )["answers"]
    )
    for figure in scored.values():
        numbers = [figure[name] for name in ("value", "low", "high") if figure[name] is not None]
        assert np.isfinite(numbers).all()
        assert len(numbers) == 3 or figure["reason"]
        assert figure["low"] is None or figure["low"] <= figure["high"]
