"""Every statistic against R: ``reference.R`` made ``reference.json`` from ``reference.csv``; nothing here needs R."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from statsmodels.stats.multitest import multipletests

from kicc_ml.evaluation import calibration
from kicc_ml.evaluation.agreement import bland_altman, icc_2_1, icc_interval, pearson
from kicc_ml.evaluation.bootstrap import resample, spread_of, to_scale
from kicc_ml.evaluation.decision_curve import decision_curve
from kicc_ml.evaluation.delong import delong_interval, paired_test, placements, variance
from kicc_ml.evaluation.discrimination import average_precision, site_pairs, within_site_auroc
from kicc_ml.evaluation.meta_analysis import Pooled, logit_areas, pool
from kicc_ml.evaluation.rows import Rows

HERE = Path(__file__).parent
R = {name: np.array(values) for name, values in json.loads((HERE / "reference.json").read_text()).items()}
TABLE = pd.read_csv(HERE / "reference.csv")
LABEL, SITE = TABLE["label"].to_numpy(float), TABLE["site"].to_numpy(str)
NETWORK = Rows(LABEL, TABLE["network"].to_numpy(float), SITE)
CLINICAL = Rows(LABEL, TABLE["clinical"].to_numpy(float), SITE)
MEASURED, REFERENCE = TABLE["measured"].to_numpy(float), TABLE["reference"].to_numpy(float)

#: What the issue asks of agreement with independent implementations.
SAME = 1e-6

#: Two SDs of 20,000 draws each differ by 0.7 %; this is four times as much.
DRAWN, MONTE_CARLO = 20_000, 0.03


def same(found: object, name: str) -> None:
    np.testing.assert_allclose(np.ravel(found), R[name], rtol=0, atol=SAME)


def test_the_area_and_its_variance_are_those_of_proc_and_scikit_learn() -> None:
    placed = placements(NETWORK)
    same(placed.area, "auc")
    same(variance(placed), "auc_variance")
    assert placed.area == pytest.approx(roc_auc_score(LABEL, NETWORK.probability_n), abs=1e-12)
    interval = delong_interval(NETWORK)
    same([interval.low, interval.high], "auc_logit_interval")


def test_the_paired_test_of_two_areas_is_that_of_proc() -> None:
    test = paired_test(NETWORK, CLINICAL)
    same(test.z, "paired_z")
    same(test.p, "paired_p")
    same([test.low, test.high], "paired_interval")


def test_slope_intercept_and_brier_are_those_of_rms_and_glm() -> None:
    whole = resample(SITE, replicates=0)
    same(calibration.calibration_slope(NETWORK, whole), "slope")
    same(calibration.calibration_intercept(NETWORK, whole), "intercept")
    same(calibration.brier(NETWORK, whole), "brier")
    same(calibration.scaled_brier(NETWORK, whole), "scaled_brier")
    same(calibration.observed_expected(NETWORK, whole), "observed_expected")
    for name in ("slope", "intercept"):
        interval = calibration.wald(NETWORK, f"calibration_{name}")
        same([interval.low, interval.high], f"{name}_interval")


def test_the_smooth_curve_is_rs_lowess() -> None:
    same(calibration.smooth_curve(NETWORK).observed_n[[0, 59, 119, 179, 239]], "smooth")


def test_average_precision_and_brier_are_those_of_scikit_learn() -> None:
    whole = resample(SITE, replicates=0)
    for figure, theirs in ((average_precision, average_precision_score), (calibration.brier, brier_score_loss)):
        assert figure(NETWORK, whole)[0] == pytest.approx(theirs(LABEL, NETWORK.probability_n), abs=1e-12)


def test_net_benefit_is_that_counted_in_r() -> None:
    curve = decision_curve(NETWORK, np.array([0.1, 0.25, 0.5]))
    same(curve["net_benefit"].to_numpy(float), "net_benefit")
    same(curve["treat_all"].to_numpy(float), "treat_all")


def test_logit_areas_of_hospitals_and_their_variances_are_those_of_proc() -> None:
    effect_k, variance_k, site_k = logit_areas(site_pairs(NETWORK))
    same(effect_k, "site_logit")
    same(variance_k, "site_variance")
    assert "h" not in site_k, "the area there is 1, which has no logit"


def test_hospitals_are_drawn_as_in_r() -> None:
    drawn = resample(SITE, seed=0, replicates=DRAWN)
    figures = (within_site_auroc(site_pairs(NETWORK), drawn.weight_ru), calibration.brier(NETWORK, drawn))
    found = [np.std(to_scale(figure_r[1:], "logit"), ddof=1) for figure_r in figures]
    np.testing.assert_allclose(found, R["bootstrap_logit_sd"], rtol=MONTE_CARLO)
    freed = spread_of(figures[0][1:], drawn, "logit")
    assert freed == pytest.approx(found[0] * np.sqrt(drawn.units / (drawn.units - 1)))


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
    interval = icc_interval(both_n2)
    same([icc_2_1(both_n2), interval.low, interval.high], "icc")
    r, bounds = pearson(MEASURED, REFERENCE)
    same([r, bounds.low, bounds.high], "pearson")
    limits = bland_altman(MEASURED, REFERENCE)
    assert limits is not None
    same([limits.bias, limits.bias_interval.low, limits.bias_interval.high], "bias_interval")
    same([limits.lower, limits.upper], "limits")
    assert limits.upper_interval.high is not None
    same(limits.upper_interval.high - limits.upper, "limits_half")


def test_holm_is_that_of_r() -> None:
    same(multipletests([0.01, 0.04, 0.03, 0.005, 0.6], method="holm")[1], "holm")
