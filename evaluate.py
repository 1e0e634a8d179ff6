"""Score the held-out predictions of a run, or anybody's, and write the report.

    python evaluate.py runs=runs/lesion_ct
"""

import logging
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pandas as pd
import torch
import yaml
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import track

from kicc_ml.data.masks import read_masks
from kicc_ml.dicom.image_files import read_mask
from kicc_ml.dicom.volume import read_volume
from kicc_ml.evaluation.report import site_table, write_report
from kicc_ml.evaluation.segmentation import case_columns, score_case
from kicc_ml.evaluation.summary import summarise, to_json
from kicc_ml.launch import build, with_clear_errors
from kicc_ml.montage import montage
from kicc_ml.records import Case, UserError, by_id
from kicc_ml.runs import CONFIG, PREDICTIONS, fold_folders, write_table
from kicc_ml.severity import grade

logger = logging.getLogger("evaluate")

WORST_SHOWN = 6


def evaluate_runs(run: Path) -> Path:
    """Score all finished folds under ``run``; writes ``cases.csv summary.json report.html severity/`` there."""
    folds = fold_folders(run)
    tables = [pd.read_csv(folder / PREDICTIONS) for folder in folds]
    cases = cohort_of(folds)
    outcomes = [table for table in tables if "probability" in table]
    predictions = pd.concat(outcomes, ignore_index=True) if outcomes else pd.DataFrame()
    segmented = [
        score_segmented(row, cases, folder.parent / "severity" / str(row["case_id"]))
        for folder, table in zip(folds, tables, strict=True)
        if "probability" not in table
        for row in track(table.to_dict("records"), description=f"score {folder.name}", transient=True)
    ]
    rows = pd.DataFrame(segmented, columns=None if segmented else ["case_id", "site", "fold"])
    return write_results(run, rows, predictions, folds)


def cohort_of(folds: Sequence[Path]) -> Mapping[str, Case]:
    """The cases a run was trained on, from the cohort its own settings name."""
    settings = {(folder / CONFIG): yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8")) for folder in folds}
    cohorts = {yaml.safe_dump(one["cohort"]): one["cohort"] for one in settings.values()}
    return by_id(case for cohort in cohorts.values() for case in build(OmegaConf.create(cohort)))


def score_segmented(row: Mapping[str, Any], cases: Mapping[str, Case], folder: Path) -> dict[str, Any]:
    """One row of ``cases.csv``: what was predicted, how it agrees with the masks, and a montage beside it."""
    case = cases.get(str(row["case_id"]))
    if case is None or case.ct is None:
        raise UserError(f"case {row['case_id']} of {folder} is no case with a CT in the run's cohort")
    volume = read_volume(case.ct)
    predicted = {path.name.removesuffix(".nii.gz"): read_mask(path)[0] for path in sorted(folder.glob("*.nii.gz"))}
    truth = read_masks(case)
    spacing_mm = volume.spacing_mm if volume.spacing_known else None
    scores = case_columns(score_case(truth, predicted, spacing_mm))
    return dict(row) | scores | true_severity(truth, volume)
