"""Anybody's predictions benchmarked on a cohort: the same report as of a run of this project."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from kicc_ml.data.masks import reference_masks
from kicc_ml.data.store import DERIVED_REGIONS
from kicc_ml.dicom.volume import read_volume
from kicc_ml.evaluation.comparison import compare_segmentations
from kicc_ml.evaluation.external import mask_files, read_probabilities
from kicc_ml.evaluation.report import write_report
from kicc_ml.evaluation.segmentation import case_columns, score_case
from kicc_ml.evaluation.subgroups import groups_of
from kicc_ml.evaluation.summary import summarise
from kicc_ml.progress import track
from kicc_ml.records import Case, UserError


def model_names(paths: Sequence[Path]) -> dict[str, Path]:
    """What each file or folder of predictions is called in the report: its name without suffix."""
    if absent := [str(path) for path in paths if not path.exists()]:
        raise UserError(f"{', '.join(absent)}: there is no such file or folder")
    named = {path.name.removesuffix(".csv"): path for path in paths}
    if len(named) < len(paths):
        raise UserError(f"two of {', '.join(map(str, paths))} have the same name; rename one")
    return named


def evaluate_predictions(named: Mapping[str, Path], cases: Mapping[str, Case], folder: Path) -> Path:
    """Score predictions against a cohort and write ``folder/report.html``; returns its path.

    CSVs are the models of one report. A folder of masks is part of it; of several each has a report beneath. Two or
    more are compared pairwise on the same cases. Raises UserError where a case is missing, doubled or unknown.
    """
    tables = [read_probabilities(path, cases, name) for name, path in named.items() if not path.is_dir()]
    masks = {name: score_masks(path, cases) for name, path in named.items() if path.is_dir()}
    predictions = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    about = about_predictions(named.values())
    if len(masks) > 1:
        for name, rows in masks.items():
            _write(folder / name, rows, pd.DataFrame(), about | {"name": name})
    rows = next(iter(masks.values())) if len(masks) == 1 else pd.DataFrame()
    compared = compare_segmentations(masks, "lesion")
    return _write(folder, rows, predictions, about | {"name": " and ".join(named)}, groups_of(cases.values()), compared)


def _write(
    folder: Path,
    rows: pd.DataFrame,
    predictions: pd.DataFrame,
    about: Mapping[str, str],
    groups: pd.DataFrame | None = None,
    compared: Sequence[dict[str, Any]] = (),
) -> Path:
    summary = summarise(rows, predictions, groups=groups)
    summary["comparisons"] += compared
    return write_report(folder, summary | {"quarantined": {}}, rows, predictions, about)


def score_masks(folder: Path, cases: Mapping[str, Case]) -> pd.DataFrame:
    """One row per case with a reference lesion: how the mask of ``folder`` agrees with it."""
    referenced = [case_id for case_id, case in cases.items() if case.ct is not None and _has_lesion_reference(case)]
    if not referenced:
        raise UserError("no case of the cohort has a reference mask of the lesion, so masks cannot be judged")
    files = mask_files(folder, referenced, cases)
    return pd.DataFrame(
        [score_mask(cases[case_id], path) for case_id, path in track(list(files.items()), description="score")]
    )


def _has_lesion_reference(case: Case) -> bool:
    return "lesion" in case.masks or set(DERIVED_REGIONS["lesion"]) <= set(case.masks)


def score_mask(case: Case, path: Path) -> dict[str, Any]:
    """A row of ``cases.csv`` of one predicted lesion mask on the grid of the scan."""
    assert case.ct is not None
    volume = read_volume(case.ct)
    try:
        predicted = reference_masks(replace(case, masks={"lesion": path}), volume)
    except UserError as error:
        raise UserError(f"{path}: {error}; a predicted mask must be on the grid of the scan") from error
    spacing_mm = volume.spacing_mm if volume.spacing_known else None
    scores = score_case({"lesion": reference_masks(case, volume)["lesion"]}, predicted, spacing_mm)
    return {"case_id": case.case_id, "site": case.site, "fold": ""} | case_columns(scores)


def about_predictions(paths: Iterable[Path]) -> dict[str, str]:
    return {
        "description": "Predictions made elsewhere, scored against the known outcomes and masks of the cohort. What "
        "the models were trained on, and whether they had seen these patients, is not known here.",
        "predictions": ", ".join(map(str, paths)),
        "kicc_ml": version("kicc_ml"),
        "python": platform.python_version(),
    }
