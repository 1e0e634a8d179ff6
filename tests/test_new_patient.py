"""A new patient's risks are those that the run's own way of predicting gives for the same image and row."""

from pathlib import Path

import numpy as np
import pytest

from kicc_ml.dicom.volume import read_volume
from kicc_ml.models.outcome import OutcomeNetwork
from kicc_ml.new_patient import OutcomeModel
from kicc_ml.predict_outcome import outcome_probabilities
from kicc_ml.records import Case, UserError
from kicc_ml.risk import OutcomeRecord
from kicc_ml.runs import About, Fold
from tests.planted import CT_SHAPE, ct_series, cxr_series, data_of, noise, split_of, trained


def cases(folder: Path) -> list[Case]:
    rng = np.random.default_rng(5)
    return [
        Case(
            f"p{index}",
            "seoul",
            f"p{index}",
            ct_series(folder / f"p{index}ct", noise(rng, CT_SHAPE)),
            cxr_series(folder / f"p{index}cxr", noise(rng, (32, 32))),
            {"age_years": float(rng.uniform(20, 90)), "crp_mg_l": float("nan") if index % 2 else 40.0},
            {"icu": float(index % 3 == 0)},
        )
        for index in range(12)
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Case], object, OutcomeNetwork]:
    folder = tmp_path_factory.mktemp("new")
    everybody = cases(folder)
    data = data_of(everybody, split_of(everybody, 8, 2), folder)
    return everybody, data, trained(data, 3).eval()


def model(network: OutcomeNetwork, *endpoints: str) -> OutcomeModel:
    about = About({}, ["seoul"], (), ["age_years", "crp_mg_l"], endpoints)
    data = {"canonical_ct": {"matrix": list(CT_SHAPE)}, "canonical_cxr": {"size": 32}}
    return OutcomeModel([Fold(Path("fold"), network, about, {"data": data})], OutcomeRecord())


def test_risks_are_those_of_the_runs_own_prediction(run):
    everybody, data, network = run
    case = everybody[-1]
    images = {"ct": read_volume(case.ct), "cxr": read_volume(case.cxr)}
    (risk,) = model(network, "icu").risks(images, case.clinical)
    assert risk.probability == pytest.approx(float(outcome_probabilities(network, data, [case])[0, 0]), abs=1e-6)


def test_beside_stands_what_the_table_says_without_the_image(run):
    everybody, _, network = run
    case = everybody[-1]
    (risk,) = model(network, "icu").risks({"ct": read_volume(case.ct)}, case.clinical)
    (alone,) = model(network, "icu").risks({}, case.clinical)
    assert risk.beside == {"without_images": pytest.approx(alone.probability)}
    assert alone.beside == {}
    assert risk.probability != alone.probability


def test_the_narrowest_network_answers_without_any_image():
    narrow = OutcomeNetwork(2, 1, channels=(4, 8), width=8).eval()  # four groups are normalised: one channel each
    (risk,) = model(narrow, "icu").risks({}, {"age_years": 60.0})
    assert 0 < risk.probability < 1


def test_a_run_that_segments_cannot_predict_outcomes(run):
    with pytest.raises(UserError, match="not trained to predict outcomes"):
        model(run[2])
