"""A risk is given with what is known of it: an interval that covers, and how such risks came out elsewhere."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from kicc_ml.prediction.risk import OutcomeRecord, risk_interval


def held_out(seed: int, hospitals: int = 10, each: int = 40, shift: float = 0.0) -> tuple[np.ndarray, ...]:
    """Predictions, outcomes and hospitals; predicted log odds lie ``shift`` above the true ones."""
    rng = np.random.default_rng(seed)
    truth_n = expit(rng.normal(-1, 1, hospitals * each))
    label_n = (rng.random(truth_n.size) < truth_n).astype(float)
    return expit(logit(truth_n) + shift), label_n, np.repeat(np.arange(hospitals), each)


def test_the_interval_covers_the_true_risk_in_nine_of_ten():
    """Well-calibrated models of simulated hospitals; the risk that each would have with endless held-out patients."""
    covered = []
    for seed in range(300):
        low, high = risk_interval(np.array([0.3]), *held_out(seed))
        covered.append(low <= 0.3 <= high)
    assert np.mean(covered) >= 0.86
    assert high - low < 0.3


def test_a_model_that_says_too_much_everywhere_has_the_true_risk_in_its_interval():
    low, high = risk_interval(np.array([0.6]), *held_out(0, each=200, shift=1.0))
    assert low < expit(logit(0.6) - 1.0) < 0.5
    assert high == pytest.approx(0.6)  # it reaches to what was predicted


def test_models_that_disagree_and_hospitals_that_are_few_widen_it():
    def width(probability_m, *rows):
        low, high = risk_interval(np.array(probability_m), *rows)
        return high - low

    assert width([0.2, 0.3, 0.45], *held_out(1)) > width([0.3, 0.31, 0.3], *held_out(1))
    assert width([0.3], *held_out(1, hospitals=3)) > width([0.3], *held_out(1))


def test_without_an_event_the_interval_is_wide_and_not_a_point():
    probability_n, label_n, site_n = held_out(2, hospitals=4, each=5)
    low, high = risk_interval(np.array([0.1]), np.full_like(probability_n, 0.1), np.zeros_like(label_n), site_n)
    assert high > 0.12 > 0.05 > low


def record() -> OutcomeRecord:
    probability_n, label_n, site_n = held_out(3, hospitals=5, each=20)
    cases = pd.DataFrame({"probability": probability_n, "label": label_n, "site": [f"h{site}" for site in site_n]})
    cases["case_id"] = [f"c{index}" for index in range(len(cases))]
    network = cases.assign(endpoint="icu", model="network")
    clinical = cases.assign(endpoint="icu", model="clinical", probability=0.07)
    figure = {"value": 0.9, "low": 0.5, "high": 1.3, "sites": 5, "n": 100}
    names = ("calibration_slope", "calibration_intercept", "observed_expected", "brier")
    return OutcomeRecord(pd.concat([network, clinical]), {"icu": {"network": dict.fromkeys(names, figure)}})


def test_a_held_out_case_has_its_own_prediction_beside_the_clinical_models_and_the_runs_calibration():
    (risk,) = record().of_case("c7")
    assert risk.probability == pytest.approx(record().rows["probability"].iloc[7])
    assert risk.clinical == pytest.approx(0.07)
    assert {risk.calibration[name] for name in ("slope", "intercept", "O:E")} == {"0.90 (0.50 to 1.30)"}
    assert "100 patients of 5 hospitals" in risk.calibration["held_out"]


def test_fold_models_are_averaged_in_log_odds_the_clinical_ones_too():
    risk = OutcomeRecord().risk("icu", [0.5, 0.8], [0.1, 0.1, 0.5])
    assert risk.probability == pytest.approx(2 / 3)  # odds 1 and 4: their geometric mean is 2
    assert risk.clinical == pytest.approx(0.1877, abs=1e-4)  # odds 1/9 twice and 1: 9 ** (-2 / 3)


def test_a_run_without_a_network_shows_the_risk_of_its_clinical_model():
    alone = record()
    alone = OutcomeRecord(
        alone.rows[alone.rows["model"] == "clinical"], {"icu": {"clinical": alone.figures["icu"]["network"]}}
    )
    (risk,) = alone.of_case("c7")
    assert (risk.probability, risk.clinical) == (pytest.approx(0.07), pytest.approx(0.07))
    assert risk.low is not None
    assert risk.calibration["slope"] == "0.90 (0.50 to 1.30)"


def test_an_endpoint_that_nobody_is_known_of_has_no_risk_of_a_held_out_case():
    rows = record().rows
    unknown = rows.assign(endpoint="death", label=np.nan)  # the network says its first guess, the baseline nothing
    unknown["probability"] = unknown["probability"].where(unknown["model"] == "network")
    assert [risk.endpoint for risk in OutcomeRecord(pd.concat([rows, unknown])).of_case("c7")] == ["icu"]


def test_a_hospital_is_not_judged_by_its_own_outcomes():
    whole = record()
    turned = whole.rows.assign(label=whole.rows["label"].where(whole.rows["site"] != "h0", 1 - whole.rows["label"]))
    (risk,), (same,) = whole.of_case("c7"), OutcomeRecord(turned, whole.figures).of_case("c7")  # of h0
    assert (risk.low, risk.high) == (same.low, same.high)


def test_nothing_is_claimed_without_held_out_predictions():
    risk = OutcomeRecord().risk("icu", [0.3])
    assert (risk.probability, risk.low, risk.high, risk.calibration) == (pytest.approx(0.3), None, None, {})
    assert risk.clinical is None
    assert OutcomeRecord().of_case("c7") == ()
    assert record().of_case("nobody") == ()
