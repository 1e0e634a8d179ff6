"""Radiologists' scores of the held-out radiographs of a fold, predicted by its network, by zones and by the mean."""

from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import CXR_SCORES, Case
from kicc_ml.data.datamodule import PatientDataModule
from kicc_ml.models.baselines.radiograph_zones import ZONE_FEATURES, zone_features, zone_ridge
from kicc_ml.models.baselines.tabular import endpoints_be
from kicc_ml.prediction.outcome import outcome_probabilities, select_cases
from kicc_ml.runs.folder import ZONE_RIDGES, About, fold_folder, save_plain

COLUMNS = ["case_id", "site", "person", "fold", "score", "model", "predicted", "reference"]


def held_out_severity(
    network: nn.Module | None, about: About, data: PatientDataModule, run_dir: Path
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Predict scores of the fold's test images in points, by the network if there is one, by zones and by the mean.

    The zones and the mean are fitted on training and validation images together, because the validation images select
    nothing for them. The ridge regressions on zones are saved in the fold's folder, for new radiographs.

    Args:
        network: the trained network; None for the baselines alone.
        about: what the fold's training cases determine (:func:`kicc_ml.runs.folder.about_data`).
        data: the data of the fold, after ``setup``.
        run_dir: the run folder.

    Returns:
        One row per prediction with the columns ``COLUMNS``, and no quarantined cases. An unknown reference is empty. If
        two readers scored, the second is listed as a model, with the first as the reference.

    Raises:
        UserError: the experiment has no radiographs.
    """
    if data.cxr is None:
        raise UserError("severity is scored on radiographs: set data.canonical_cxr")
    test, fitting = (
        [case for case in select_cases(data, sides) if case.case_id in data.cxr]
        for sides in (("test",), ("train", "val"))
    )
    test_bf, fitting_bf = (_features(data, cases) for cases in (test, fitting))
    person_b = np.array([case.person for case in fitting])
    of_network = None if network is None else outcome_probabilities(network, data, test)
    rows, ridges = [], {}
    for column, score in enumerate(data.endpoints):
        score_b = endpoints_be(fitting, [score])[:, 0]
        shares = {} if of_network is None else {"network": of_network[:, column]}
        ridges[score] = zone_ridge(fitting_bf, score_b, person_b)
        shares["zones"] = ridges[score](test_bf)
        shares["mean"] = np.full(len(test), np.nanmean(score_b))
        reference_b = endpoints_be(test, [score])[:, 0]
        rows += [_rows(test, data.split.fold, score, model, one, reference_b) for model, one in shares.items()]
        rows.append(_second_reader(test, data.split.fold, score))
    fitted = {score: ridge for score, ridge in ridges.items() if np.isfinite(ridge.intercept)}
    save_plain(fold_folder(run_dir, data.split.fold), ZONE_RIDGES, about, fitted)
    return pd.concat(rows, ignore_index=True), {}


def _features(data: PatientDataModule, cases: list[Case]) -> np.ndarray:
    assert data.cxr is not None
    features = [zone_features(data.cxr[case.case_id].image_cxyz[0, ..., 0]) for case in cases]
    return np.array(features).reshape(len(cases), ZONE_FEATURES)


def _second_reader(cases: list[Case], fold: str, score: str) -> pd.DataFrame:
    reader_bk = endpoints_be(cases, [f"{score}_reader_1", f"{score}_reader_2"])
    rows = _rows(cases, fold, score, "second_reader", reader_bk[:, 1], reader_bk[:, 0])
    return rows.dropna(subset=["predicted", "reference"])


def _rows(
    cases: list[Case], fold: str, score: str, model: str, share_b: np.ndarray, reference_b: np.ndarray
) -> pd.DataFrame:
    rows = pd.DataFrame([{"case_id": case.case_id, "site": case.site, "person": case.person} for case in cases])
    most = CXR_SCORES[score]
    return rows.assign(
        fold=fold, score=score, model=model, predicted=share_b * most, reference=reference_b * most
    ).reindex(columns=COLUMNS)
