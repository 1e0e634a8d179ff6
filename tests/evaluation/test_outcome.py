import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from kicc_ml.evaluation.bootstrap import Resampling, resample
from kicc_ml.evaluation.calibration import LEAST_SMOOTHED, calibration_slope, smooth_curve
from kicc_ml.evaluation.decision_curve import THRESHOLDS, decision_curve
from kicc_ml.evaluation.delong import delong_interval
from kicc_ml.evaluation.discrimination import average_precision, pooled_auroc, site_pairs
from kicc_ml.evaluation.outcome import METRICS, replicates, score
from kicc_ml.evaluation.rows import Rows


def simulated(n: int = 400, sites: int = 6, slope: float = 1.0, seed: int = 0) -> Rows:
    """Labels drawn from the true risk; the model states a risk whose logit is ``slope`` times too flat."""
    generator = np.random.default_rng(seed)
    true_logit = generator.normal(-0.5, 1.2, n)
    label = (generator.random(n) < expit(true_logit)).astype(float)
    return Rows(label, np.round(expit(true_logit / slope), 2), generator.integers(0, sites, n).astype(str))


@pytest.fixture
def rows() -> Rows:
    return simulated()


def test_weighted_figures_equal_scikit_learn_on_repeated_cases(rows: Rows) -> None:
    weight_rn = np.random.default_rng(1).integers(0, 4, (5, len(rows.label_n))).astype(float)
    repeated = Resampling(weight_rn, np.arange(len(rows.label_n)), "cases")
    pairs = ((pooled_auroc, roc_auc_score), (average_precision, average_precision_score))
    for ours, theirs in pairs:
        expected = [theirs(rows.label_n, rows.probability_n, sample_weight=weight) for weight in weight_rn]
        np.testing.assert_allclose(ours(rows, repeated), expected, atol=1e-10)


def test_a_replicate_is_the_figure_of_the_hospitals_drawn_as_hospitals_of_their_own(rows: Rows) -> None:
    drawn = resample(rows.site_n, replicates=6)
    found = replicates(rows, drawn)
    sites = np.unique(rows.site_n)
    for replicate, weight_u in enumerate(drawn.weight_ru):
        places = [
            np.flatnonzero(rows.site_n == site) for site, w in zip(sites, weight_u, strict=True) for _ in range(int(w))
        ]
        named = np.concatenate([np.full(len(place), str(copy)) for copy, place in enumerate(places)])
        laid_out = rows.at(np.concatenate(places))
        again = replicates(Rows(laid_out.label_n, laid_out.probability_n, named), resample(named, replicates=0))
        for metric in METRICS:
            assert found[metric][replicate] == pytest.approx(again[metric][0], abs=1e-9), metric


def test_the_headline_auc_counts_pairs_of_one_hospital_only(rows: Rows) -> None:
    concordant = pairs = 0.0
    for i in np.flatnonzero(rows.label_n == 1):
        for j in np.flatnonzero((rows.label_n == 0) & (rows.site_n == rows.site_n[i])):
            difference = rows.probability_n[i] - rows.probability_n[j]
            concordant += 0.5 if difference == 0 else float(difference > 0)
            pairs += 1
    assert site_pairs(rows).area == pytest.approx(concordant / pairs, abs=1e-12)


def test_the_headline_is_untouched_by_differences_between_hospitals(rows: Rows) -> None:
    lifted = expit(logit(np.clip(rows.probability_n, 0.01, 0.99)) + 3 * rows.site_n.astype(int))
    before, after = score(rows), score(Rows(rows.label_n, lifted, rows.site_n))
    assert after["auroc"]["value"] == pytest.approx(before["auroc"]["value"], abs=1e-3)
    assert after["auroc_pooled"]["value"] < before["auroc_pooled"]["value"] - 0.05


def test_brier_equals_scikit_learn(rows: Rows) -> None:
    assert score(rows)["brier"]["value"] == pytest.approx(brier_score_loss(rows.label_n, rows.probability_n))


def test_calibration_recovers_a_model_that_is_half_as_sure_as_it_should_be() -> None:
    scored = score(simulated(n=3000, slope=2.0))
    assert scored["calibration_slope"]["value"] == pytest.approx(2.0, abs=0.25)
    assert scored["calibration_slope"]["low"] < 2.0 < scored["calibration_slope"]["high"]
    assert score(simulated(n=3000))["calibration_intercept"]["value"] == pytest.approx(0, abs=0.1)


def test_the_slope_equals_unpenalised_logistic_regression(rows: Rows) -> None:
    kept = rows.at((rows.probability_n > 0) & (rows.probability_n < 1))
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    model.fit(logit(kept.probability_n)[:, None], kept.label_n)
    slope = calibration_slope(kept, resample(kept.site_n, replicates=0))[0]
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
    interval = delong_interval(rows)
    area = roc_auc_score(rows.label_n, rows.probability_n)
    assert interval.low is not None
    half = (logit(interval.high) - logit(interval.low)) / 2
    assert half == pytest.approx(1.959964 * np.sqrt(variance) / (area * (1 - area)), rel=1e-6)


def test_intervals_contain_the_value_and_say_what_was_drawn(rows: Rows) -> None:
    for figure in score(rows).values():
        assert figure["low"] < figure["value"] < figure["high"]
        assert figure["over"] == "sites"
    assert score(simulated(sites=2))["auroc_pooled"]["over"] == "cases"


def test_one_class_gives_a_reason_instead_of_a_figure(rows: Rows) -> None:
    scored = score(Rows(np.zeros(5), np.full(5, 0.2), np.array(list("aabbb"))))
    assert scored["auroc"]["value"] is None
    assert scored["auroc"]["reason"] == "no event among 5 cases"
    assert scored["brier"]["value"] == pytest.approx(0.04)


def test_no_known_outcome_gives_a_reason_for_every_metric() -> None:
    scored = score(Rows(np.empty(0), np.empty(0), np.empty(0, str)))
    assert set(scored) == set(METRICS)
    assert all(figure["reason"] == "no case with a known outcome" for figure in scored.values())


def test_a_constant_model_has_no_slope_and_perfect_order_no_interval() -> None:
    label, site = np.tile([0.0, 1.0], 20), np.repeat(list("abcd"), 10)
    constant = score(Rows(label, np.full(40, 0.5), site))
    assert constant["calibration_slope"]["value"] is None
    assert constant["auroc"]["value"] == 0.5
    perfect = score(Rows(label, 0.1 + 0.8 * label, site))
    assert perfect["auroc"]["value"] == 1.0
    assert perfect["auroc"]["low"] is None
    assert "reason" in perfect["auroc"]


def test_permuted_labels_score_one_half_within_hospitals() -> None:
    values = []
    for seed in range(40):
        rows = simulated(200, seed=seed)
        shuffled = np.random.default_rng(seed).permutation(rows.label_n)
        values.append(site_pairs(Rows(shuffled, rows.probability_n, rows.site_n)).area)
    assert np.mean(values) == pytest.approx(0.5, abs=0.02)


def test_two_hospitals_are_strata_and_their_interval_is_delongs() -> None:
    rows = simulated(200, sites=2)
    figure = score(rows)["auroc"]
    pairs = site_pairs(rows)
    error = np.sqrt((pairs.pairs_s**2 * pairs.variance_s).sum()) / pairs.pairs_s.sum()
    assert figure["over"] == "cases"
    half = (logit(figure["high"]) - logit(figure["low"])) / 2
    assert half == pytest.approx(1.959964 * error / (pairs.area * (1 - pairs.area)), rel=1e-5)


def test_scaled_brier_is_0_for_the_prevalence_and_observed_over_expected_is_1() -> None:
    label = np.tile([0.0, 0.0, 0.0, 1.0], 30)
    scored = score(Rows(label, np.full(120, 0.25), np.repeat(list("abcd"), 30)))
    assert scored["scaled_brier"]["value"] == pytest.approx(0)
    assert scored["observed_expected"]["value"] == pytest.approx(1)
    perfect = score(Rows(label, label, np.repeat(list("abcd"), 30)))
    assert perfect["scaled_brier"]["value"] == pytest.approx(1)


def test_nobody_treated_has_no_net_benefit_and_a_perfect_model_gives_the_prevalence() -> None:
    label, site = np.tile([0.0, 0.0, 0.0, 1.0], 30), np.repeat(list("abcd"), 30)
    assert set(decision_curve(Rows(label, label, site))["net_benefit"].round(12)) == {0.25}
    never = decision_curve(Rows(label, np.zeros(120), site))
    assert set(never["net_benefit"]) == {0.0}
    assert set(never["reason"]) == {"no spread between resamples"}
    assert len(never) == len(THRESHOLDS)


def test_the_smooth_curve_follows_the_true_risk_and_says_why_there_is_none(rows: Rows) -> None:
    large = simulated(n=4000)
    curve = smooth_curve(large)
    middle = (curve.predicted_n > 0.2) & (curve.predicted_n < 0.8)
    np.testing.assert_allclose(curve.observed_n[middle], curve.predicted_n[middle], atol=0.08)
    few = rows.at(np.arange(len(rows.label_n)) < LEAST_SMOOTHED - 1)
    assert smooth_curve(few).reason == f"fewer than {LEAST_SMOOTHED} cases"
    assert smooth_curve(Rows(np.zeros(30), np.full(30, 0.2), np.full(30, "a"))).reason == "no event among 30 cases"


def test_no_known_outcome_has_no_decision_curve() -> None:
    assert decision_curve(Rows(np.empty(0), np.empty(0), np.empty(0, str))).empty
