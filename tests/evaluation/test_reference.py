"""Every statistic against R: ``reference.R`` made ``reference.json`` from ``reference.csv``; nothing here needs R."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from kicc_ml.evaluation import calibration
from kicc_ml.evaluation.agreement import compute_bland_altman, compute_icc_2_1, compute_icc_interval, compute_pearson
from kicc_ml.evaluation.bootstrap import compute_bootstrap_sd, resample
from kicc_ml.evaluation.comparison import add_holm, compute_paired_difference
from kicc_ml.evaluation.decision_curve import compute_decision_curve
from kicc_ml.evaluation.delong import compute_placements
from kicc_ml.evaluation.discrimination import compute_average_precision, compute_site_pairs
from kicc_ml.evaluation.hospital_effects import compute_area_effects, compute_intercept_effects, compute_slope_effects
from kicc_ml.evaluation.intervals import Z
from kicc_ml.evaluation.meta_analysis import Pooled, pool
from kicc_ml.evaluation.outcome import score_outcome
from kicc_ml.evaluation.rows import BinaryOutcomes

HERE = Path(__file__).parent
R = {name: np.array(values) for name, values in json.loads((HERE / "reference.json").read_text()).items()}
TABLE = pd.read_csv(HERE / "reference.csv")
LABEL, SITE = TABLE["label"].to_numpy(float), TABLE["site"].to_numpy(str)
NETWORK = BinaryOutcomes(LABEL, TABLE["network"].to_numpy(float), SITE)
CLINICAL = BinaryOutcomes(LABEL, TABLE["clinical"].to_numpy(float), SITE)
#: As if all patients were of one hospital.
ONE = np.full(len(SITE), "one")
MEASURED, REFERENCE = TABLE["measured"].to_numpy(float), TABLE["reference"].to_numpy(float)

#: What is asked of agreement with independent implementations.
SAME = 1e-6

#: Two SDs of 20,000 draws each differ by 0.7 %; this is four times as much.
DRAWN, MONTE_CARLO = 20_000, 0.03


def same(found: object, name: str) -> None:
    np.testing.assert_allclose(np.ravel(found), R[name], rtol=0, atol=SAME)


def test_the_area_and_its_variance_are_those_of_proc_and_scikit_learn() -> None:
    placed = compute_placements(NETWORK)
    same(placed.area, "auc")
    assert placed.area == pytest.approx(roc_auc_score(LABEL, NETWORK.probability_n), abs=1e-12)
    at_one = BinaryOutcomes(LABEL, NETWORK.probability_n, ONE)
    same(compute_site_pairs(at_one).variance_s, "auc_variance")
    for metric in ("auroc", "auroc_pooled"):
        found = score_outcome(at_one, [metric])[metric]
        same([found["low"], found["high"]], "auc_logit_interval")


def test_the_paired_test_of_two_areas_is_that_of_proc() -> None:
    one, other = (BinaryOutcomes(LABEL, model.probability_n, ONE) for model in (NETWORK, CLINICAL))
    found = compute_paired_difference(one, other, "auroc")
    same(found.p, "paired_p")
    same([found.low, found.high], "paired_interval")


def test_slope_intercept_and_brier_are_those_of_rms_and_glm() -> None:
    same(calibration.compute_calibration_slope(NETWORK).value, "slope")
    same(calibration.compute_calibration_intercept(NETWORK).value, "intercept")
    same(calibration.compute_brier(NETWORK).value, "brier")
    same(calibration.compute_scaled_brier(NETWORK).value, "scaled_brier")
    same(calibration.compute_observed_expected(NETWORK).value, "observed_expected")


def test_the_model_based_variance_of_a_hospitals_slope_and_intercept_is_that_of_glm() -> None:
    rows = BinaryOutcomes(LABEL, NETWORK.probability_n, ONE)
    intercepts, slopes = compute_intercept_effects(rows), compute_slope_effects(rows)
    same(intercepts.effect_k + np.array([-Z, Z]) * np.sqrt(intercepts.variance_k), "intercept_interval")
    assert 2 * Z * np.sqrt(slopes.variance_k[0]) == pytest.approx(np.ptp(R["slope_interval"]), abs=SAME)
    assert slopes.effect_k[0] == pytest.approx(np.mean(R["slope_interval"]), rel=0.02), "less the bias of few events"


def test_the_smooth_curve_is_rs_lowess() -> None:
    same(calibration.compute_smooth_curve(NETWORK).observed_n[[0, 59, 119, 179, 239]], "smooth")


def test_average_precision_and_brier_are_those_of_scikit_learn() -> None:
    for figure, theirs in (
        (compute_average_precision, average_precision_score),
        (calibration.compute_brier, brier_score_loss),
    ):
        assert figure(NETWORK).value == pytest.approx(theirs(LABEL, NETWORK.probability_n), abs=1e-12)


def test_net_benefit_is_that_counted_in_r() -> None:
    curve = compute_decision_curve(NETWORK, np.array([0.1, 0.25, 0.5]))
    same(curve["net_benefit"].to_numpy(float), "net_benefit")
    same(curve["treat_all"].to_numpy(float), "treat_all")


def test_logit_areas_of_hospitals_and_their_variances_are_those_of_proc() -> None:
    effects, known = compute_area_effects(compute_site_pairs(NETWORK)), list("abcdefg")
    own = ~effects.borrowed_k
    assert own.any()
    kept = np.isin(known, effects.site_k[own])
    np.testing.assert_allclose(effects.effect_k[own], R["site_logit"][kept], rtol=0, atol=SAME)
    np.testing.assert_allclose(effects.variance_k[own], R["site_variance"][kept], rtol=0, atol=SAME)
    assert "h" in effects.site_k[effects.borrowed_k], "the area there is 1, which has no logit and is not left out"


def test_clusters_are_drawn_as_in_r() -> None:
    drawn = resample(SITE, seed=0, replicates=DRAWN)
    error_n = calibration.compute_squared_error(NETWORK)
    brier_r = drawn.sum_by_replicate(error_n) / drawn.sum_by_replicate(np.ones(len(error_n)))
    found = np.std(logit(brier_r[1:]), ddof=1)
    assert found == pytest.approx(R["bootstrap_logit_sd"][1], rel=MONTE_CARLO)
    freed = compute_bootstrap_sd(brier_r[1:], drawn, "logit")
    assert freed == pytest.approx(found * np.sqrt(drawn.units / (drawn.units - 1)))


@pytest.mark.parametrize("method", ["REML", "DL"])
@pytest.mark.parametrize(("study", "effects"), [("sites", "site_logit"), ("bcg", "bcg_effect")])
def test_random_effects_with_hartung_knapp_and_prediction_interval_are_those_of_metafor(
    method: str, study: str, effects: str
) -> None:
    found: Pooled = pool(R[effects], R[effects.replace("logit", "variance").replace("effect", "variance")], method)  # type: ignore[arg-type]
    bounds = (found.mean, found.low, found.high, found.plug_in_low, found.plug_in_high)
    same([*bounds, found.tau_squared, found.i_squared], f"{study}_{method}")


def test_icc_limits_of_agreement_and_correlation_are_those_of_psych_and_r() -> None:
    both_n2 = np.stack([MEASURED, REFERENCE], axis=1)
    interval = compute_icc_interval(both_n2)
    same([compute_icc_2_1(both_n2), interval.low, interval.high], "icc")
    r, bounds = compute_pearson(MEASURED, REFERENCE)
    same([r, bounds.low, bounds.high], "pearson")
    limits = compute_bland_altman(MEASURED, REFERENCE)
    assert limits is not None
    same([limits.bias, limits.bias_interval.low, limits.bias_interval.high], "bias_interval")
    same([limits.lower, limits.upper], "limits")
    assert limits.upper_interval.high is not None
    same(limits.upper_interval.high - limits.upper, "limits_half")


def test_holm_is_that_of_r() -> None:
    rows = add_holm([{"metric": "auroc", "p": p} for p in (0.01, 0.04, 0.03, 0.005, 0.6)])
    same([row["p_holm"] for row in rows], "holm")
