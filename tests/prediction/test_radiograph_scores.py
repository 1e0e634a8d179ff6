"""A row per held-out image, score and model, each fitted within the fold."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from kicc_ml.cohort.public.images import covid_cxr_severity
from kicc_ml.cohort.splits import patient_kfold
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import CXR_SCORES, Case
from kicc_ml.data.canonical import CanonicalCXR
from kicc_ml.data.datamodule import PatientDataModule
from kicc_ml.data.store import VolumeStore
from kicc_ml.evaluation.score_figures import compute_score_figures
from kicc_ml.models.outcome import OutcomeNetwork
from kicc_ml.prediction.radiograph_scores import held_out_severity
from kicc_ml.runs.folder import about_data
from tests.support.scored_radiographs import SCORES, image_case, severity_data


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    tested = [4, 5, 12, 13]  # both images of two persons
    return [image_case(tmp_path, number) for number in [*tested, *sorted(set(range(20)) - set(tested))]]


def held_out(data: PatientDataModule, network: OutcomeNetwork | None = None) -> pd.DataFrame:
    return held_out_severity(network, about_data(data), data, data.store.root.parent / "run")[0]


def test_every_image_has_a_row_per_score_and_model_in_points(cases: list[Case], tmp_path: Path):
    torch.manual_seed(0)
    network = OutcomeNetwork(features=0, endpoints=2, ct=False, width=8)
    rows = held_out(severity_data(cases, tmp_path / "store"), network)
    by_model = rows[rows["model"] != "second_reader"].groupby(["score", "model"]).size()
    assert by_model.to_dict() == {(score, model): 4 for score in SCORES for model in ("network", "zones", "mean")}
    extent = rows[(rows["score"] == "geographic_extent") & (rows["model"] == "mean")].set_index("case_id")
    expected = {case.case_id: 8 * case.endpoints["geographic_extent"] for case in cases[:4]}
    assert extent["reference"].to_dict() == pytest.approx(expected)
    trained = np.mean([8 * case.endpoints["geographic_extent"] for case in cases[4:]])
    assert extent["predicted"].to_numpy() == pytest.approx(trained)


def test_the_second_reader_stands_against_the_first_where_both_scored(cases: list[Case], tmp_path: Path):
    rows = held_out(severity_data(cases, tmp_path / "store"))
    readers = rows[rows["model"] == "second_reader"]
    known = [case.case_id for case in cases[:4] if not np.isnan(case.endpoints["brixia"])]
    assert list(readers["case_id"]) == known
    assert set(readers["score"]) == {"brixia"}
    np.testing.assert_allclose(readers["predicted"], readers["reference"] / 2)


def test_the_scores_of_the_tested_images_teach_nothing(cases: list[Case], tmp_path: Path):
    truth = held_out(severity_data(cases, tmp_path / "store"))
    lied = [replace(case, endpoints={name: 1.0 for name in case.endpoints}) for case in cases[:4]] + cases[4:]
    again = held_out(severity_data(lied, tmp_path / "store"))
    fitted = ["zones", "mean"]
    pd.testing.assert_series_equal(
        truth[truth["model"].isin(fitted)]["predicted"], again[again["model"].isin(fitted)]["predicted"]
    )


def test_without_radiographs_the_setting_to_change_is_named(cases: list[Case], tmp_path: Path):
    data = severity_data(cases, tmp_path / "store")
    data.cxr = None
    with pytest.raises(UserError, match="canonical_cxr"):
        held_out(data)


@pytest.mark.slow
@pytest.mark.skipif("KICC_DATA" not in os.environ, reason="KICC_DATA names no folder of public data")
def test_public_radiographs_are_scored_better_than_by_the_mean(tmp_path: Path):
    cases = covid_cxr_severity(os.environ["KICC_DATA"])
    rows = []
    for split in patient_kfold(cases, seed=1):
        data = PatientDataModule(
            cases,
            split,
            VolumeStore(tmp_path),
            canonical_cxr=CanonicalCXR(),
            features=(),
            endpoints=tuple(CXR_SCORES),
        )
        data.prepare_data()
        data.setup()
        rows.append(held_out(data))
    figures = compute_score_figures(pd.concat(rows))
    for score in CXR_SCORES:
        assert figures[score]["zones"]["pearson"]["value"] > 0.6
        assert figures[score]["zones"]["mae_less_mean"]["high"] < 0
    assert figures["brixia"]["second_reader"]["pearson"]["value"] == pytest.approx(0.871, abs=0.001)
