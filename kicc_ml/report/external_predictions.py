"""Score predictions made elsewhere against a cohort, and write the same report as for a run of this project."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from PIL import Image

from kicc_ml.cohort.predicted_masks import list_files_by_case, predicted_masks
from kicc_ml.cohort.table_file import read_cells
from kicc_ml.core.errors import UserError, describe_error
from kicc_ml.core.path_names import check_distinct, check_path_name
from kicc_ml.core.progress import track
from kicc_ml.core.regions import is_known
from kicc_ml.core.types import Case, Modality, Volume
from kicc_ml.data.masks import reference_masks
from kicc_ml.dicom.series.shown_files import name_case_files
from kicc_ml.dicom.volume.read import read_volume
from kicc_ml.evaluation.comparison import compare_segmentations
from kicc_ml.evaluation.external import make_prediction_rows, select_model_rows, select_one_file_per_case
from kicc_ml.evaluation.segmentation import make_case_columns, score_case
from kicc_ml.evaluation.subgroups import make_groups
from kicc_ml.evaluation.summary import summarise
from kicc_ml.pictures.case_picture import draw_case_picture
from kicc_ml.report.report import ShownCase, write_report
from kicc_ml.report.study_description import describe_environment, describe_study
from kicc_ml.report.worst_cases import show_predicted_cases, show_segmented_cases
from kicc_ml.runs.tables import held_out_tables

EMPTY_TABLE = pd.DataFrame()

#: Reason why the mask of a case is set aside if the cohort has no usable CT of it.
NO_CT = "mask not judged: the cohort has no usable CT of this case; kicc-ml index says why"


@dataclass(frozen=True)
class ScoredMasks:
    """The scores of a folder of masks: a row of ``cases.csv`` for each case, and pictures of the worst cases.

    ``set_aside`` holds the reason for each case that could not be scored.
    """

    rows: pd.DataFrame
    shown: Sequence[ShownCase]
    set_aside: Mapping[str, str]


def name_models(paths: Sequence[Path]) -> dict[str, Path]:
    """Name each file or folder of predictions for the report by its own name without suffix.

    Raises:
        UserError: a path does not exist, or two have the same name.
    """
    if absent := [str(path) for path in paths if not path.exists()]:
        raise UserError(f"{', '.join(absent)}: there is no such file or folder")
    named = {Path(os.path.abspath(path)).name.removesuffix(".csv"): path for path in paths}
    if len(named) < len(paths):
        raise UserError(f"two of {', '.join(map(str, paths))} have the same name; rename one")
    check_distinct([check_path_name(name, "the predictions") for name in named], "the predictions")
    return named


def evaluate_predictions(
    named: Mapping[str, Path], cases: Mapping[str, Case], folder: Path, runs: Sequence[Path] = ()
) -> Path:
    """Score predictions against a cohort, write ``folder/report.html``, and return its path.

    The CSV files are the models of one report. One folder of masks is part of that report; of several folders, each has
    its own report in a subfolder. Two or more are compared pairwise on the same cases. A case whose own CT or reference
    cannot be read is set aside and named in the report.

    Args:
        named: file or folder of predictions by name (see :func:`name_models`).
        cases: the cases of the cohort by id.
        folder: the folder of the report.
        runs: runs on the same cohort; their models are baselines for the same endpoints.

    Raises:
        UserError: a case is missing, doubled or unknown, or a file of predictions cannot be used.
    """
    tables = [
        make_prediction_rows(read_cells(path), path, cases, name) for name, path in named.items() if not path.is_dir()
    ]
    beside = read_baselines(runs, tables, cases)
    scored = {name: score_masks(path, cases) for name, path in named.items() if path.is_dir()}
    predictions = pd.concat([*tables, *beside.values()], ignore_index=True) if tables else EMPTY_TABLE
    about = describe_predictions(named.values()) | describe_baselines(tables, beside)
    quarantined = {case_id: why for masks in scored.values() for case_id, why in masks.set_aside.items()}
    study = describe_study([], cases) | {"quarantined": quarantined}
    together = ScoredMasks(EMPTY_TABLE, (), {})
    if len(scored) == 1:
        (together,) = scored.values()
    else:
        for name, masks in scored.items():
            summary = summarise(masks.rows, EMPTY_TABLE) | study
            write_report(folder / name, summary, masks.rows, EMPTY_TABLE, about | {"name": name}, masks.shown)
    summary = summarise(together.rows, predictions, groups=make_groups(cases.values())) | study
    summary["comparisons"] += compare_segmentations({name: masks.rows for name, masks in scored.items()}, "lesion")
    shown = [*together.shown, *show_predicted_cases(predictions, cases, get_args(Modality))]
    return write_report(folder, summary, together.rows, predictions, about | {"name": " and ".join(named)}, shown)


def read_baselines(
    runs: Sequence[Path], tables: Sequence[pd.DataFrame], cases: Mapping[str, Case]
) -> dict[Path, pd.DataFrame]:
    """Read the out-of-fold predictions of each run for the endpoints of ``tables``.

    Raises:
        UserError: a run is of another cohort, has none of the endpoints, or has a model of the same name as another.
    """
    endpoints = {name for table in tables for name in table["endpoint"]}
    taken = {name for table in tables for name in table["model"]}
    baselines: dict[Path, pd.DataFrame] = {}
    for run in runs:
        rows = select_model_rows(held_out_tables(run)[0], run, endpoints, cases)
        if rows.empty:
            raise UserError(
                f"{run}: has no predictions of {', '.join(sorted(endpoints)) or 'any endpoint'} to compare with"
            )
        if shared := taken & set(rows["model"]):
            raise UserError(
                f"{run}: {', '.join(sorted(shared))} is the name of two models; rename the file, or leave the run out"
            )
        taken |= set(rows["model"])
        baselines[run] = rows
    return baselines


def describe_baselines(tables: Sequence[pd.DataFrame], beside: Mapping[Path, pd.DataFrame]) -> dict[str, str]:
    """Describe the baselines for the report: their run and the number of cases they lack, or how to get baselines."""
    if not tables:
        return {}
    if not beside:
        advice = (
            "none. To add them, run python train.py experiment=clinical cohort=... and then evaluate with "
            "runs=runs/clinical"
        )
        return {"baselines": advice}
    return {"baselines": "; ".join(_describe_origin(run, rows, tables[0]) for run, rows in beside.items())}


def _describe_origin(run: Path, rows: pd.DataFrame, table: pd.DataFrame) -> str:
    lacking = len(set(table["case_id"]) - set(rows["case_id"]))
    without = f", {lacking} cases were not predicted by it" if lacking else ""
    return f"{', '.join(dict.fromkeys(rows['model']))} of {run}, each case held out{without}"


def score_masks(folder: Path, cases: Mapping[str, Case]) -> ScoredMasks:
    """Score the masks of ``folder`` against the reference lesions of the cases that have one.

    Raises:
        UserError: no case has a reference lesion, or the files do not fit the cases.
    """
    referenced = [case_id for case_id, case in cases.items() if case.ct is not None and is_known("lesion", case.masks)]
    if not referenced:
        raise UserError("no case of the cohort has a reference mask of the lesion, so masks cannot be judged")
    found = list_files_by_case(folder, cases)
    files = select_one_file_per_case(folder, found, referenced, cases)
    rows, set_aside = [], {case_id: NO_CT for case_id, _ in found if case_id in cases and cases[case_id].ct is None}
    for case_id, path in track(list(files.items()), description="score"):
        try:
            volume, reference = read_reference(cases[case_id])
        except Exception as error:  # foreign files fail in many ways, and one case must not stop hundreds
            set_aside[case_id] = f"mask not judged: {describe_error(error, name_case_files(cases[case_id]))}"
            continue
        rows.append(score_mask(cases[case_id], path, volume, reference))
    table = pd.DataFrame(rows, columns=None if rows else ["case_id", "site", "fold"])
    shown = show_segmented_cases(table, lambda case_id: [_draw_picture(cases[case_id], files[case_id])], cases)
    return ScoredMasks(table, shown, set_aside)


def _draw_picture(case: Case, path: Path) -> Image.Image:
    volume, reference = read_reference(case)
    return draw_case_picture(
        case.case_id, volume, predicted_masks(case, path, volume), None, None, reference.get("lesion")
    )


def read_reference(case: Case) -> tuple[Volume, Mapping[str, np.ndarray]]:
    """Read the CT of a case and its reference masks; damaged files may raise any exception."""
    assert case.ct is not None
    volume = read_volume(case.ct)
    return volume, reference_masks(case, volume)


def score_mask(case: Case, path: Path, volume: Volume, reference: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Score one mask, and return its row of ``cases.csv``: the regions that both the file and the reference have.

    Args:
        case: the case of the cohort.
        path: the file of the predicted mask.
        volume: the CT of the case.
        reference: bool ``[x, y, z]`` by region, on the grid of the CT.

    Raises:
        UserError: the file is not a mask on the grid of the CT.
    """
    predicted = predicted_masks(case, path, volume)
    spacing_mm = volume.spacing_mm if volume.spacing_known else None
    scores = score_case(reference, predicted, spacing_mm)
    return {"case_id": case.case_id, "site": case.site, "fold": ""} | make_case_columns(scores)


def describe_predictions(paths: Iterable[Path]) -> dict[str, str]:
    """Describe predictions made elsewhere for the report."""
    return {
        "description": "These predictions were made elsewhere. They were scored against the known outcomes and masks "
        "of the cohort. It is not known which data the models were trained on, or whether they include these patients.",
        "predictions": ", ".join(map(str, paths)),
        **describe_environment(),
    }
