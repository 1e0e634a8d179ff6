"""A row per held-out patient, endpoint and model, each fitted within the fold."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.special import logit
from torch import nn

from kicc_ml.core.types import Case, Series, Split
from kicc_ml.data.canonical import CanonicalCXR
from kicc_ml.data.datamodule import PatientDataModule
from kicc_ml.data.store import VolumeStore
from kicc_ml.dicom.series.image_files import make_radiograph_series
from kicc_ml.evaluation.summary import summarise
from kicc_ml.models.outcome import OutcomeNetwork
from kicc_ml.prediction.outcome import held_out_outcome, outcome_probabilities, recalibrate
from kicc_ml.runs.folder import CLINICAL_MODEL, about_data, fold_folder

BASELINES = {"prevalence", "clinical", "age_sex", "boosting"}


def patients(count: int) -> list[Case]:
    rng = np.random.default_rng(0)
    return [
        Case(
            f"c{number}",
            f"s{number % 2}",
            f"p{number}",
            clinical={"age_years": rng.normal(60, 10), "sex": float(number % 2), "crp_mg_l": rng.gamma(2, 20)},
            endpoints={
                "icu": float(rng.random() > 0.5),
                "death": np.nan if number == count - 1 else float(number % 7 == 1),
            },
        )
        for number in range(count)
    ]


def make_outcome_data(folder: Path) -> PatientDataModule:
    cases = patients(30)
    ids = [case.case_id for case in cases]
    split = Split("s1", tuple(ids[:20]), tuple(ids[20:24]), tuple(ids[24:]), {one: one for one in ids})
    data = PatientDataModule(cases, split, VolumeStore(folder / "store"), endpoints=("icu", "death"), batch_size=4)
    data.prepare_data()
    data.setup()
    return data


@pytest.fixture
def outcome_data(tmp_path: Path) -> PatientDataModule:
    return make_outcome_data(tmp_path)


def outcome_network() -> OutcomeNetwork:
    torch.manual_seed(0)
    return OutcomeNetwork(features=3, endpoints=2, ct=False, cxr=False, width=8)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, dict[str, str]]:
    """What of ``outcome_data`` is held out, predicted by ``outcome_network`` and the baselines; nobody changes it."""
    folder = tmp_path_factory.mktemp("judged")
    data = make_outcome_data(folder)
    return held_out_outcome(outcome_network(), about_data(data), data, folder)


def test_every_held_out_patient_has_a_row_per_endpoint_and_model(outcome_data: PatientDataModule, judged):
    rows, quarantined = judged
    assert quarantined == {}
    assert len(rows) == 6 * 2 * 6
    assert set(rows["case_id"]) == set(outcome_data.split.test)
    assert set(rows["model"]) == {"network", "blend", *BASELINES}
    assert rows["probability"].between(0, 1).all()


def test_an_unknown_outcome_has_an_empty_label_and_still_a_prediction(judged):
    rows, _ = judged
    unknown = rows[rows["label"].isna()]
    assert set(zip(unknown["case_id"], unknown["endpoint"], strict=True)) == {("c29", "death")}
    assert unknown["probability"].notna().all()


@pytest.mark.parametrize("stated", [np.nan, 0.0, 1.0])
def test_an_endpoint_that_the_training_hospitals_do_not_have_is_not_evaluable_at_the_tested_one(
    outcome_data: PatientDataModule, tmp_path: Path, stated: float
):
    tested = set(outcome_data.split.test)
    outcome_data.cases = [
        case if case.case_id in tested else replace(case, endpoints={**case.endpoints, "death": stated})
        for case in outcome_data.cases
    ]
    outcome_data.setup()
    about = about_data(outcome_data)
    assert about.unlearnt == ["death"]
    rows, _ = held_out_outcome(outcome_network(), about, outcome_data, tmp_path)
    assert rows.loc[rows["endpoint"] == "death", "probability"].isna().all()
    assert rows.loc[rows["endpoint"] == "icu", "probability"].notna().all()
    rows["site"] = "daegu"
    rows.loc[rows["endpoint"] == "death", "label"] = [0.0, 1.0] * (sum(rows["endpoint"] == "death") // 2)
    summary = summarise(pd.DataFrame(), rows)
    for figures in summary["outcome"]["death"].values():
        for name in ("auroc", "auroc_pooled", "brier"):
            assert (figures[name]["value"], figures[name]["low"], figures[name]["high"]) == (None, None, None)
            assert "the hospitals trained on do not have both outcomes" in figures[name]["reason"]
    (entry,) = [one for one in summary["not_evaluable"] if one["endpoint"] == "death"]
    assert "the hospitals trained on do not have both outcomes" in entry["reason"]


def test_network_probabilities_stand_in_the_order_of_the_patients(outcome_data: PatientDataModule):
    network, cases = outcome_network(), list(outcome_data.cases)
    forth = outcome_probabilities(network, outcome_data, cases[:9])
    back = outcome_probabilities(network, outcome_data, cases[:9][::-1])
    np.testing.assert_allclose(forth, back[::-1], atol=1e-6)
    assert outcome_probabilities(network, outcome_data, []).shape == (0, 2)


def test_without_a_clinical_feature_the_network_still_answers(outcome_data: PatientDataModule):
    outcome_data.features = ()
    network = OutcomeNetwork(features=0, endpoints=2, ct=False, cxr=False, width=8)
    assert outcome_probabilities(network, outcome_data, list(outcome_data.cases)).shape == (30, 2)


def test_a_fold_trained_anew_keeps_no_clinical_model_of_before(outcome_data: PatientDataModule, tmp_path: Path):
    kept = fold_folder(tmp_path, outcome_data.split.fold) / CLINICAL_MODEL
    held_out_outcome(None, about_data(outcome_data), outcome_data, tmp_path)
    assert kept.is_file()
    outcome_data.features = ()
    held_out_outcome(None, about_data(outcome_data), outcome_data, tmp_path)
    assert not kept.exists()


def test_without_a_network_the_baselines_stand_alone(outcome_data: PatientDataModule, tmp_path: Path):
    rows, _ = held_out_outcome(None, about_data(outcome_data), outcome_data, tmp_path)
    assert set(rows["model"]) == BASELINES
    assert len(rows) == 6 * 2 * 4


def test_the_outcomes_of_the_tested_decide_nothing(outcome_data: PatientDataModule, judged, tmp_path: Path):
    before, _ = judged
    tested = set(outcome_data.split.test)
    outcome_data.cases = [
        replace(case, endpoints={name: 1 - value for name, value in case.endpoints.items()})
        if case.case_id in tested
        else case
        for case in outcome_data.cases
    ]
    after, _ = held_out_outcome(outcome_network(), about_data(outcome_data), outcome_data, tmp_path)
    unlike = before["label"] != after["label"]
    assert unlike.any()
    pd.testing.assert_frame_equal(before.drop(columns="label"), after.drop(columns="label"))


def test_recalibration_of_the_network_is_fitted_on_validation_patients_and_kept_with_its_weights(
    outcome_data: PatientDataModule,
):
    network, cases = outcome_network(), list(outcome_data.cases)
    before = logit(outcome_probabilities(network, outcome_data, cases))
    recalibrate(network, outcome_data)
    after = logit(outcome_probabilities(network, outcome_data, cases))
    slope, intercept = network.state_dict()["slope_e"].numpy(), network.state_dict()["intercept_e"].numpy()
    np.testing.assert_allclose(after, intercept + slope * before, atol=1e-4)
    assert intercept[1] < -0.1  # nobody died


def test_the_blend_lies_between_what_it_is_made_of_where_validation_tells_little(judged):
    rows, _ = judged
    icu = rows[rows["endpoint"] == "icu"].pivot(index="case_id", columns="model", values="probability")
    mean = (logit(icu["network"]) + logit(icu["clinical"])) / 2
    assert np.abs(logit(icu["blend"]) - mean).max() < 1.0  # four validation patients


@pytest.mark.parametrize("measured", [(), ("ct_percent_involved",)], ids=["table", "table and extent on CT"])
def test_where_no_validation_patient_is_known_the_blend_is_the_mean_of_all_that_it_is_made_of(
    outcome_data: PatientDataModule, tmp_path: Path, measured: tuple[str, ...]
):
    unknown = set(outcome_data.split.val)
    outcome_data.cases = [
        replace(
            case,
            clinical={**case.clinical, **dict.fromkeys(measured, float(number % 7))},
            endpoints={} if case.case_id in unknown else case.endpoints,
        )
        for number, case in enumerate(outcome_data.cases)
    ]
    outcome_data.features = (*outcome_data.features, *measured)
    network = OutcomeNetwork(features=3 + len(measured), endpoints=2, ct=False, cxr=False, width=8)
    rows, _ = held_out_outcome(network, about_data(outcome_data), outcome_data, tmp_path)
    icu = rows[rows["endpoint"] == "icu"].pivot(index="case_id", columns="model", values="probability")
    made_of = ["network", "clinical", *["extent" for _ in measured]]
    np.testing.assert_allclose(logit(icu["blend"]), logit(icu[made_of]).mean(axis=1), atol=1e-6)


class GreyNetwork(nn.Module):
    """Log odds are ten times the mean grey of the radiograph."""

    def forward(self, batch: dict) -> torch.Tensor:
        return 10 * batch["cxr_bcxy"].mean(dim=(1, 2, 3))[:, None]


def film(folder: Path, name: str, share: float) -> Series:
    """A radiograph of which a share is white."""
    grey = np.zeros((32, 32), np.uint8)
    grey[: round(32 * share)] = 255
    Image.fromarray(grey).save(folder / f"{name}.png")
    return make_radiograph_series(folder / f"{name}.png", site="a", patient="p", projection="PA")


def test_of_serial_films_the_log_odds_are_averaged_over_those_that_can_be_read(tmp_path: Path):
    first, second, broken = (film(tmp_path, name, share) for name, share in (("a", 0.25), ("b", 0.75), ("c", 0.5)))
    broken.files[0].write_bytes(b"no picture")
    known = {"death": 1.0}
    serial = Case("serial", "a", "p1", cxr=first, further=(second, broken), endpoints=known)
    single = Case("single", "a", "p2", cxr=second, endpoints=known)
    ids = ("serial", "single")
    split = Split("f", ids, (), (), dict(zip(ids, ids, strict=True)))
    data = PatientDataModule(
        [serial, single], split, VolumeStore(tmp_path / "store"), canonical_cxr=CanonicalCXR(32), endpoints=("death",)
    )
    data.prepare_data()
    data.setup()
    odds_b = logit(outcome_probabilities(GreyNetwork(), data, [serial, single]))[:, 0]
    np.testing.assert_allclose(odds_b, [10 * (0.25 + 0.75) / 2, 10 * 0.75], rtol=1e-3)


@pytest.mark.parametrize(("hospitals", "marked"), [(1, [2]), (2, []), (4, [])])
def test_what_was_not_measured_tells_of_patients_of_one_hospital_and_nothing_of_several(
    tmp_path: Path, hospitals: int, marked: list[int]
):
    cases = [
        replace(
            case, site=f"s{number % hospitals}", clinical={**case.clinical, "crp_mg_l": np.nan if number % 3 else 9.0}
        )
        for number, case in enumerate(patients(40))
    ]
    ids = [case.case_id for case in cases]
    split = Split("t", tuple(ids[:30]), tuple(ids[30:34]), tuple(ids[34:]), {one: one for one in ids})
    data = PatientDataModule(cases, split, VolumeStore(tmp_path / "store"), endpoints=("icu",))
    data.setup()
    held_out_outcome(None, about_data(data), data, tmp_path)
    kept = json.loads((fold_folder(tmp_path, "t") / CLINICAL_MODEL).read_text())
    assert [model["marked"] for model in models_in(kept)] == [marked]


def models_in(kept: dict) -> list[dict]:
    """The mappings with ``marked`` within what a fold keeps."""
    found = [kept] if "marked" in kept else []
    return found + [model for value in kept.values() if isinstance(value, dict) for model in models_in(value)]
