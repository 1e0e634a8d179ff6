"""Score the held-out predictions of a run, or anybody's predictions of a cohort, and write the report.

python evaluate.py runs=runs/lesion_ct
python evaluate.py predictions=theirs.csv cohort=repository cohort.root=DIR runs=runs/clinical
"""

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pandas as pd
import yaml
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from rich.console import Console

from kicc_ml.apps.configuration import CONFIGS, build, log_to_terminal, with_clear_errors
from kicc_ml.clinic.held_out_case import HeldOutCase, masks_in, model_of
from kicc_ml.clinic.outputs import HeldOut
from kicc_ml.core.errors import UserError
from kicc_ml.core.files import read_table
from kicc_ml.core.path_names import make_path_name
from kicc_ml.core.progress import track
from kicc_ml.core.types import Case, Volume, by_id
from kicc_ml.data.masks import reference_masks
from kicc_ml.data.radiograph import frontal, hanging_of
from kicc_ml.dicom.pixels.picture_file import read_picture
from kicc_ml.dicom.volume.read import read_volume
from kicc_ml.evaluation.score_figures import score_figures, scored_images
from kicc_ml.evaluation.segmentation import case_columns, score_case
from kicc_ml.evaluation.subgroups import groups_of
from kicc_ml.evaluation.summary import summarise
from kicc_ml.pictures.case_picture import case_picture
from kicc_ml.pictures.montage import write_picture
from kicc_ml.prediction.result import MONTAGE
from kicc_ml.prediction.risk import OutcomeRecord, outcome_record
from kicc_ml.prediction.segmentation import read_severity, severity_of
from kicc_ml.report.external_predictions import evaluate_predictions, model_names
from kicc_ml.report.report import ShownCase, site_table, write_report
from kicc_ml.report.score_table import score_table
from kicc_ml.report.study_description import division_of, environment, gap_between, study_of
from kicc_ml.report.worst_cases import modalities_of, predicted_cases, segmented_cases
from kicc_ml.runs.folder import (
    CONFIG,
    PREDICTIONS,
    QUARANTINE,
    SEVERITY,
    case_folder,
    fold_folder,
    fold_folders,
    load_fold,
)

logger = logging.getLogger("evaluate")


@dataclass(frozen=True)
class Scores:
    """The rows behind a report: one per segmented case, one per outcome prediction, the folds they are from.

    ``groups`` holds what subgroups the cases of the cohort belong to, ``image_scores`` one row per radiologist's score
    that was predicted, ``everyone`` the cases by id.
    """

    cases: pd.DataFrame
    predictions: pd.DataFrame
    folds: Sequence[Path]
    groups: pd.DataFrame
    image_scores: pd.DataFrame
    everyone: Mapping[str, Case]


def evaluate_runs(runs: Sequence[Path], together: Path | None = None) -> Path:
    """Score each run and write its report into it; of several parts, one over all into ``together``. Returns the last.

    Runs that are no parts of one another (``together`` None) stay apart, but where one was divided by patient and one
    by hospital, both show the gap; then the first page is returned. Each gets ``cases.csv summary.json report.html``,
    and a montage and a page beside the severity map of each case.
    """
    scores = [score(fold_folders(run)) for run in runs]
    of_run = dict(zip(runs, scores, strict=True))
    gap = gap_between(
        {run: division_of(one.folds[0]) for run, one in of_run.items()},
        {run: one.predictions for run, one in of_run.items()},
    )
    pages = [write_results(run, one, gap) for run, one in of_run.items()]
    outcomes = next((outcome_record(run) for run, one in zip(runs, scores, strict=True) if len(one.predictions)), None)
    for one in scores:
        write_pages(one, outcomes or OutcomeRecord())
    if together is None or len(runs) == 1:
        return pages[0]
    cases = pd.concat([one.cases for one in scores], ignore_index=True)
    predictions = pd.concat([one.predictions for one in scores], ignore_index=True)
    groups = pd.concat([one.groups for one in scores], ignore_index=True).drop_duplicates("case_id")
    image_scores = pd.concat([one.image_scores for one in scores], ignore_index=True)
    folds = [fold for one in scores for fold in one.folds]
    everyone = {case_id: case for one in scores for case_id, case in one.everyone.items()}
    return write_results(together, Scores(cases, predictions, folds, groups, image_scores, everyone))


def score(folds: Sequence[Path]) -> Scores:
    """Set what finished folds predicted against what is known of their cases."""
    cases = cohorts_of(folds)
    tables = {folder: read_table(folder / PREDICTIONS) for folder in folds}
    outcomes = [table for table in tables.values() if "probability" in table]
    image_scores = [table for table in tables.values() if "score" in table]
    segmented = [
        score_segmented(row, cases[folder], case_folder(folder.parent, str(row["case_id"])))
        for folder, table in tables.items()
        if not {"probability", "score"} & set(table)
        for _, row in track(list(table.iterrows()), description=f"score {folder.name}")
    ]
    rows = pd.DataFrame(segmented) if segmented else pd.DataFrame(columns=["case_id", "site", "fold"])
    predictions, scored = (
        pd.concat(some, ignore_index=True) if some else pd.DataFrame() for some in (outcomes, image_scores)
    )
    everyone = {case_id: case for of_fold in cases.values() for case_id, case in of_fold.items()}
    return Scores(rows, predictions, folds, groups_of(everyone.values()), scored, everyone)


def write_pages(scores: Scores, outcomes: OutcomeRecord) -> None:
    """A page for each segmented case, beside its masks; what it may be trusted on is said by the other hospitals."""
    held_out = HeldOut(scores.cases)
    for folder in scores.folds:
        of_fold = [str(row.case_id) for row in scores.cases.itertuples() if _is_of(folder, str(row.fold))]
        if of_fold and (folder.parent / SEVERITY).is_dir():  # an outcome run beside it has folds of the same names
            fold = load_fold(folder)
            model, modality = model_of([fold], held_out), fold.canonical.modality
            for case_id in track(of_fold, description=f"pages {folder.name}"):
                held = HeldOutCase(scores.everyone[case_id], case_folder(folder.parent, case_id), outcomes, modality)
                held.write_page(held_out, model)


def _is_of(folder: Path, fold: str) -> bool:
    return fold_folder(folder.parent, fold) == folder


def write_results(folder: Path, scores: Scores, gap: Sequence[Mapping[str, Any]] = ()) -> Path:
    cases = pd.concat([scores.cases, scored_images(scores.image_scores)], ignore_index=True)
    summary = summarise(cases, scores.predictions, groups=scores.groups)
    summary["image_scores"] = score_figures(scores.image_scores)
    summary["quarantined"] = quarantined(scores.folds)
    summary |= study_of(scores.folds, scores.everyone, gap)
    run = about(folder, scores.folds)
    return write_report(folder, summary, cases, scores.predictions, run, shown_cases(scores))


def cohorts_of(folds: Sequence[Path]) -> dict[Path, Mapping[str, Case]]:
    """The cases each fold was made from, by the cohort that its own settings name."""
    settings = {folder: yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))["cohort"] for folder in folds}
    name = {folder: yaml.safe_dump(cohort) for folder, cohort in settings.items()}
    distinct = {name[folder]: settings[folder] for folder in folds}
    built = {one: by_id(build(OmegaConf.create(cohort))) for one, cohort in distinct.items()}
    return {folder: built[name[folder]] for folder in folds}


def score_segmented(row: pd.Series, cases: Mapping[str, Case], folder: Path) -> dict[Any, Any]:
    """One row of ``cases.csv``: what was predicted, how it agrees with the reference, and a montage beside it."""
    case = cases.get(str(row["case_id"]))
    modality = row.get("modality", "CT")
    if case is None or (series := case.image(modality)) is None:
        raise UserError(
            f"{row['case_id']} of {folder.parent} is no case with a {modality} in the run's cohort; was it changed?"
        )
    volume = read_volume(series)
    predicted = masks_in(folder)
    if modality == "CXR":
        predicted = {region: mask_xyz[..., 0] for region, mask_xyz in predicted.items()}
    reference = reference_masks(case, volume)
    spacing_mm = volume.spacing_mm if volume.spacing_known else None
    severity, lesion = read_severity(folder), reference.get("lesion")
    write_picture(case_picture(folder.name, volume, predicted, hanging_of(series), severity, lesion), folder / MONTAGE)
    return (
        row.to_dict()
        | case_columns(score_case(reference, predicted, spacing_mm))
        | reference_severity(reference, volume)
    )


def reference_severity(reference: Mapping[str, np.ndarray], volume: Volume) -> dict[str, Any]:
    """The reference masks graded by the same function as the predicted ones."""
    if "lesion" not in reference:
        return {}
    if volume.array.ndim == 2:
        masks = {region: mask_xy[..., None] for region, mask_xy in reference.items()}
        severity = severity_of(frontal(volume), masks, "CXR")
        own = {"geographic_extent_truth": severity.geographic_extent}
    else:
        severity = severity_of(volume, reference)
        own = {"severity_score_truth": severity.score}
    return own | {"percent_involved_truth": severity.percent_involved}


def shown_cases(scores: Scores) -> list[ShownCase]:
    """The worst and median cases of all folds: what was segmented, and the images that outcomes were told from."""
    runs = {fold.parent for fold in scores.folds}
    modalities = dict.fromkeys(modality for fold in scores.folds for modality in modalities_of(fold))

    def montages(case_id: str) -> list[Image.Image]:
        paths = [case_folder(run, case_id) / MONTAGE for run in runs]
        return [Image.fromarray(read_picture(path, colours=True)) for path in paths if path.is_file()]

    segmented = segmented_cases(scores.cases, montages)
    return segmented + predicted_cases(scores.predictions, scores.everyone, list(modalities))


def quarantined(folds: Sequence[Path]) -> dict[str, str]:
    """Cases that were set aside, on intake or on prediction, with the reason."""
    files = {place / QUARANTINE for folder in folds for place in (folder, folder.parent)}
    return {
        case_id: reason
        for path in sorted(files)
        if path.is_file()
        for case_id, reason in json.loads(path.read_text(encoding="utf-8")).items()
    }


def about(run: Path, folds: Sequence[Path]) -> dict[str, str]:
    """What the report says of how it came to be."""
    parts = {fold.parent: yaml.safe_load((fold / CONFIG).read_text(encoding="utf-8")) for fold in folds}
    how = " and ".join(dict.fromkeys(division_of(fold).replace("_", " ") for fold in folds))
    return {
        "name": run.name,
        "description": f"{len(folds)} models, {how}: every case is predicted by a model that was trained without "
        "its fold. What is fitted (weights, imputation, scaling, baselines) is fitted on the other folds alone.",
        "config": yaml.safe_dump_all(parts.values(), sort_keys=False, allow_unicode=True),
        "seed": ", ".join(dict.fromkeys(str(settings["seed"]) for settings in parts.values())),
        **environment(),
    }


def print_results(page: Path) -> int:
    """The table of hospitals, what was set aside, and last the report. Returns the exit status."""
    summary = json.loads((page.parent / "summary.json").read_text(encoding="utf-8"))
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(site_table(summary))
    if summary.get("image_scores"):
        console.print(score_table(summary["image_scores"]))
    for case_id, reason in summary["quarantined"].items():
        console.print(f"set aside: {case_id}: {reason}")
    print(f"report: {page}")
    return 3 if summary["quarantined"] else 0


def paths_of(given: str | Sequence[str] | None) -> list[Path]:
    """One path or several, as a setting holds them."""
    return [Path(path) for path in ([given] if isinstance(given, str) else given or ())]


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="evaluate")
def main(cfg: DictConfig) -> None:
    runs, predictions = (paths_of(given) for given in (cfg.runs, cfg.predictions))
    if predictions and cfg.get("cohort"):
        named = model_names(predictions)
        folder = Path(cfg.report_dir or f"reports/{make_path_name('_'.join(named))}")
        page = evaluate_predictions(named, by_id(build(cfg.cohort)), folder, runs)
    elif runs and not predictions:
        page = evaluate_runs(runs)
    else:
        raise UserError(
            "say what to judge: python evaluate.py runs=runs/NAME, or predictions=CSV_OR_FOLDER cohort=NAME"
        )
    raise SystemExit(print_results(page))


def run() -> None:
    """What ``evaluate.py`` and ``kicc-ml evaluate`` do with the arguments of the command line."""
    log_to_terminal()
    with_clear_errors(main)
