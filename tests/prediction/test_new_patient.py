"""A new patient's risks are those that the run's own way of predicting gives for the same image and row."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import write_table, write_yaml
from kicc_ml.core.types import Case
from kicc_ml.data.datamodule import PatientDataModule
from kicc_ml.data.store import VolumeStore
from kicc_ml.dicom.volume.read import read_volume
from kicc_ml.models.outcome import OutcomeNetwork
from kicc_ml.prediction.new_patient import OutcomeModel, outcome_model
from kicc_ml.prediction.outcome import held_out_outcome, outcome_probabilities
from kicc_ml.prediction.risk import OutcomeRecord
from kicc_ml.runs.folder import CLINICAL_MODEL, CONFIG, PREDICTIONS, About, ClinicalFold, Fold, about_data, fold_folder
from kicc_ml.runs.settings import parse_settings
from tests.support.planted import CT_SHAPE, clinical_case, ct_series, cxr_series, data_of, noise, split_of, trained


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


def model(network: OutcomeNetwork, *endpoints: str, clinical: Sequence[ClinicalFold] = ()) -> OutcomeModel:
    about = About({}, ["seoul"], (), ["age_years", "crp_mg_l"], endpoints)
    data = {"canonical_ct": {"matrix": list(CT_SHAPE)}, "canonical_cxr": {"size": 32}}
    settings = parse_settings({"data": data}, Path("config.yaml"))
    return OutcomeModel([Fold(Path("fold"), network, about, settings)], clinical, OutcomeRecord())


def test_risks_are_those_of_the_runs_own_prediction(run):
    everybody, data, network = run
    case = everybody[-1]
    images = {"ct": read_volume(case.ct), "cxr": read_volume(case.cxr)}
    (risk,) = model(network, "icu").risks(images, case.clinical)
    assert risk.probability == pytest.approx(float(outcome_probabilities(network, data, [case])[0, 0]), abs=1e-6)


def test_an_endpoint_that_nobody_in_training_was_known_of_has_no_risk(run):
    everybody, _, network = run
    blind = replace(model(network, "icu").folds[0].about, unlearnt=["icu"])
    silent = [replace(fold, about=blind) for fold in model(network, "icu").folds]
    assert OutcomeModel(silent, (), OutcomeRecord()).risks({}, everybody[0].clinical) == ()


def test_what_a_fold_could_not_learn_is_kept_with_its_weights(tables):
    folder, _, _ = tables
    (fold,) = outcome_model(folder).clinical
    assert fold.about.endpoints == ["death", "icu"]
    assert fold.about.unlearnt == ["icu"]


def fold_of_tables(run_dir: Path, fold: str, train: int = 40) -> tuple[list[Case], pd.DataFrame]:
    """A fold of baselines alone as ``train.py`` leaves it: the held-out patients, and what was predicted of them."""
    rng = np.random.default_rng(len(fold))
    everybody = [
        clinical_case(
            "seoul" if number % 2 else "busan", number, float(rng.random() < 0.4), age_years=age, crp_mg_l=crp
        )
        for number, (age, crp) in enumerate(zip(rng.uniform(20, 90, 60), rng.gamma(2, 20, 60), strict=True))
    ]
    everybody = [
        replace(
            case,
            clinical={**case.clinical, "crp_mg_l": np.nan} if number % 4 == 0 else case.clinical,
            endpoints={**case.endpoints, "icu": np.nan},  # the cohort has the column, and nobody a value
        )
        for number, case in enumerate(everybody)
    ]
    split = split_of(everybody, train, 8, fold)
    data = PatientDataModule(everybody, split, VolumeStore(run_dir / "store"), endpoints=("death", "icu"))
    data.prepare_data()
    data.setup()
    predictions, _ = held_out_outcome(None, about_data(data), data, run_dir)
    folder = fold_folder(run_dir, fold)
    write_yaml(folder / CONFIG, {"network": None})
    write_table(folder / PREDICTIONS, predictions)
    return [case for case in everybody if case.case_id in split.test], predictions


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Case], pd.DataFrame]:
    """A run of one fold, ``a``, its held-out patients and what was predicted of them."""
    folder = tmp_path_factory.mktemp("tables")
    return folder, *fold_of_tables(folder, "a")


def test_the_clinical_model_of_a_run_folder_says_what_it_said_of_the_held_out_patients(tables):
    folder, tested, predictions = tables
    said = predictions[(predictions["model"] == "clinical") & (predictions["endpoint"] == "death")]
    model = outcome_model(folder)
    again = {case.case_id: model.risks({}, case.clinical) for case in tested}
    assert len(tested) == 12
    assert any(np.isnan(case.clinical["crp_mg_l"]) for case in tested)
    assert said["probability"].nunique() == 12
    for case_id, probability in zip(said["case_id"], said["probability"], strict=True):
        (risk,) = again[case_id]  # nobody's need of intensive care is known, so nothing could be fitted
        assert risk.clinical == risk.probability == pytest.approx(probability, abs=1e-6)


def test_a_model_of_all_patients_predicts_new_ones_though_it_held_out_nobody(tmp_path: Path):
    tested, predictions = fold_of_tables(tmp_path, "all", train=52)
    assert (tested, len(predictions)) == ([], 0)
    (risk,) = outcome_model(tmp_path).risks({}, {"age_years": 70.0})
    assert 0 < risk.probability < 1
    assert (risk.low, risk.calibration) == (None, {})


def test_clinical_models_of_several_folds_are_averaged_in_log_odds(tables, tmp_path: Path):
    fold_of_tables(tmp_path / "other", "bb")
    for run in (tables[0], tmp_path / "other"):
        shutil.copytree(run, tmp_path / "both", dirs_exist_ok=True)
    values = {"age_years": 70.0, "crp_mg_l": 12.0}
    runs = (tables[0], tmp_path / "other", tmp_path / "both")
    one, other, both = (outcome_model(run).risks({}, values)[0].probability for run in runs)
    assert abs(one - other) > 0.01
    assert logit(both) == pytest.approx((logit(one) + logit(other)) / 2)


def test_beside_the_network_stands_the_clinical_model_which_no_image_moves(run, tables):
    everybody, _, network = run
    case = everybody[-2]
    clinical = outcome_model(tables[0])
    both = model(network, "death", clinical=clinical.clinical)
    image = {"ct": read_volume(case.ct)}
    (risk,), (alone,) = both.risks(image, case.clinical), both.risks({}, case.clinical)
    (expected,) = clinical.risks({}, case.clinical)
    assert risk.probability != alone.probability
    assert risk.clinical == alone.clinical == expected.probability
    assert both.risks(image, {})[0].clinical is None  # of whom nothing is known, a table says nothing
    assert both.basis(image, case.clinical) == "CT, 2 of 2 values of the table"


def test_what_speaks_and_what_a_run_lacks_is_said(run, tables):
    everybody, _, network = run
    image, values = {"ct": read_volume(everybody[0].ct)}, {"age_years": 60.0}
    before = model(network, "icu")
    assert before.risks(image, values)[0].clinical is None
    assert before.basis(image, values) == "CT, 1 of 2 values of the table; the run holds no clinical model"
    alone = outcome_model(tables[0])
    assert alone.basis(image, values) == "no image, 1 of 2 values of the table; by the clinical model alone"
    assert alone.risks(image, {}) == ()


def test_a_run_with_neither_network_nor_clinical_model_is_the_users_error(tables, tmp_path: Path):
    copy = shutil.copytree(tables[0], tmp_path / "run")
    (copy / "a" / CLINICAL_MODEL).unlink()
    with pytest.raises(UserError, match="neither a network"):
        outcome_model(copy)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"about": {}, "models": {"icu": {"slope": 1}}}'])
def test_a_clinical_model_that_is_none_is_the_users_error_by_name(tables, tmp_path: Path, text: str):
    copy = shutil.copytree(tables[0], tmp_path / "run")
    (copy / "a" / CLINICAL_MODEL).write_text(text)
    with pytest.raises(UserError, match=CLINICAL_MODEL):
        outcome_model(copy)


def test_the_narrowest_network_answers_without_any_image():
    narrow = OutcomeNetwork(2, 1, channels=(4, 8), width=8).eval()  # four groups are normalised: one channel each
    (risk,) = model(narrow, "icu").risks({}, {"age_years": 60.0})
    assert 0 < risk.probability < 1


def test_a_run_that_segments_cannot_predict_outcomes(run):
    with pytest.raises(UserError, match="not trained to predict outcomes"):
        model(run[2])
