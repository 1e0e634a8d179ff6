"""The fused network learns from every modality, and keeps its head without any of them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from kicc_ml.core.types import Case
from kicc_ml.data.datamodule import PatientDataModule
from kicc_ml.models.outcome import OutcomeNetwork
from kicc_ml.prediction.outcome import held_out_outcome, outcome_probabilities
from kicc_ml.runs.folder import about_data
from tests.support.planted import (
    CT_SHAPE,
    CXR_SHAPE,
    ct_series,
    cxr_series,
    data_of,
    noise,
    split_of,
    trained,
    with_blob,
)

pytestmark = pytest.mark.slow

PREVALENCE = 0.3
TRAIN, VAL, TEST = 200, 40, 160
STEPS = 500

#: The area under the curve that a planted endpoint has to reach, and how near 0.5 one without it stays: twice the
#: standard error of 160 patients, 48 events.
LEARNT, CHANCE = 0.85, 0.10


def patient(folder: Path, number: int, planted_in: str) -> Case:
    """A table of chance, images of noise; one in ten lacks the CT, one in twenty the radiograph."""
    rng = np.random.default_rng([number, 7])
    event = rng.random() < PREVALENCE
    images = {"ct": noise(rng, CT_SHAPE), "cxr": noise(rng, CXR_SHAPE)}
    if event:
        images[planted_in] = with_blob(rng, images[planted_in])
    series = {"ct": ct_series, "cxr": cxr_series}
    has = {"ct": rng.random() > 0.1, "cxr": rng.random() > 0.05}
    taken = {name: series[name](folder / f"{name}{number}", images[name]) for name in images if has[name]}
    clinical = {"age_years": rng.normal(55, 15), "sex": float(rng.random() < 0.5), "crp_mg_l": rng.gamma(2, 20)}
    return Case(f"c{number:03d}", "s", f"p{number}", clinical=clinical, endpoints={"icu": float(event)}, **taken)


@dataclass(frozen=True)
class Learnt:
    """A trained network, its patients, and where the endpoint is planted."""

    planted_in: str
    data: PatientDataModule
    network: OutcomeNetwork
    test: list[Case]

    def probability_b(self, cases: list[Case] | None = None) -> np.ndarray:
        return outcome_probabilities(self.network, self.data, self.test if cases is None else cases)[:, 0]

    def auroc(self, probability_b: np.ndarray) -> float:
        return float(roc_auc_score([case.endpoints["icu"] for case in self.test], probability_b))

    def without(self, modality: str, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
        """Probabilities of the tested where none of them has the modality."""
        if modality == "clinical":
            return self.probability_b([replace(case, clinical={}) for case in self.test])
        volumes = {one: volume for one, volume in getattr(self.data, modality).items() if one in self.data.split.train}
        monkeypatch.setattr(self.data, modality, volumes)
        return self.probability_b()


@pytest.fixture(scope="module", params=["ct", "cxr"])
def learnt(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Learnt:
    folder = tmp_path_factory.mktemp(request.param)
    cases = [patient(folder, number, request.param) for number in range(TRAIN + VAL + TEST)]
    data = data_of(cases, split_of(cases, TRAIN, VAL), folder)
    return Learnt(request.param, data, trained(data, STEPS), cases[TRAIN + VAL :])


def test_an_endpoint_planted_in_one_modality_is_learnt_where_the_table_says_nothing(learnt: Learnt, tmp_path: Path):
    rows, _ = held_out_outcome(learnt.network, about_data(learnt.data), learnt.data, tmp_path)
    auroc = {model: roc_auc_score(of["label"], of["probability"]) for model, of in rows.groupby("model")}
    assert auroc["network"] >= LEARNT
    assert auroc["clinical"] == pytest.approx(0.5, abs=CHANCE)
    assert auroc["boosting"] == pytest.approx(0.5, abs=CHANCE)


@pytest.mark.parametrize("modality", ["clinical", "ct", "cxr"])
def test_without_a_modality_the_network_keeps_what_it_knows_or_falls_back_on_the_prevalence(
    learnt: Learnt, modality: str, monkeypatch: pytest.MonkeyPatch
):
    probability_b = learnt.without(modality, monkeypatch)
    assert ((probability_b > 0) & (probability_b < 1)).all()
    if modality == learnt.planted_in:
        assert learnt.auroc(probability_b) == pytest.approx(0.5, abs=CHANCE)
        assert np.abs(probability_b - PREVALENCE).mean() < 0.2
    else:
        assert learnt.auroc(probability_b) >= LEARNT - 0.05
        assert probability_b.mean() == pytest.approx(PREVALENCE, abs=0.1)


def test_a_patient_of_whom_nothing_is_known_has_about_the_prevalence(learnt: Learnt):
    nobody = replace(learnt.test[0], case_id="nobody", clinical={})
    assert learnt.probability_b([nobody])[0] == pytest.approx(PREVALENCE, abs=0.2)
