"""Score the held-out predictions of a run, or anybody's predictions of a cohort, and write the report.

python evaluate.py runs=runs/lesion_ct
python evaluate.py predictions=theirs.csv cohort=repository cohort.root=DIR runs=runs/clinical
"""

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import hydra
import pandas as pd
from omegaconf import DictConfig
from PIL import Image
from rich.console import Console

from kicc_ml.apps.command_line import run_once
from kicc_ml.apps.configuration import CONFIGS, build, drop_replaced_settings, log_to_terminal, run_with_clear_errors
from kicc_ml.clinic.held_out_case import OofCase, describe_model, read_masks
from kicc_ml.clinic.outputs import OofCases
from kicc_ml.core.errors import UserError
from kicc_ml.core.files import format_yaml
from kicc_ml.core.path_names import make_path_name
from kicc_ml.core.progress import track
from kicc_ml.core.regions import CHEST, RegionSet
from kicc_ml.core.schemas.versions import read_versioned
from kicc_ml.core.shown import format_count, say
from kicc_ml.core.task_scores import SEVERITY_ALONE, TaskScores
from kicc_ml.core.types import Case, index_by_id
from kicc_ml.data.masks import reference_masks
from kicc_ml.data.radiograph import hanging_of
from kicc_ml.dicom.pixels.picture_file import read_picture
from kicc_ml.dicom.volume.read import read_volume
from kicc_ml.evaluation.cohort_labels import check_outcomes, check_scores
from kicc_ml.evaluation.score_figures import compute_score_figures, make_score_table
from kicc_ml.evaluation.segmentation import make_case_columns, score_case
from kicc_ml.evaluation.subgroups import make_groups
from kicc_ml.evaluation.summary import summarise
from kicc_ml.pictures.case_picture import draw_case_picture
from kicc_ml.pictures.montage import write_picture
from kicc_ml.prediction.opacity_share import add_readers_share
from kicc_ml.prediction.result import MONTAGE, has_burned_in_text
from kicc_ml.prediction.risk import OutcomeRecord, outcome_record
from kicc_ml.prediction.segmentation import grade_reference, read_severity
from kicc_ml.report.cards.write import write_cards
from kicc_ml.report.external_predictions import evaluate_predictions, name_models
from kicc_ml.report.report import ShownCase, write_report
from kicc_ml.report.score_table import make_radiograph_score_table
from kicc_ml.report.site_table import make_site_table
from kicc_ml.report.study_description import compute_gap, describe_environment, describe_study, read_division
from kicc_ml.report.terminal import make_answer_table
from kicc_ml.report.worst_cases import read_modalities, show_predicted_cases, show_segmented_cases
from kicc_ml.runs.cohort_readers import PLACES
from kicc_ml.runs.folder import (
    PREDICTIONS,
    SEVERITY,
    case_folder,
    fold_folder,
    fold_folders,
    load_fold,
    read_fold_settings,
    refuse_untrusted_run,
)
from kicc_ml.runs.run_cohort import RunCohort
from kicc_ml.runs.settings import digest_of
from kicc_ml.runs.start_line import describe_network
from kicc_ml.runs.tables import read_predictions, read_quarantine, require_learnt, require_whole


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


def evaluate_runs(
    runs: Sequence[Path],
    together: Path | None = None,
    cohorts: Mapping[Path, RunCohort] = MappingProxyType({}),
    trust: Collection[str] = (),
) -> Path:
    """Score each run and write its report into it; of several parts, one over all into ``together``. Returns the last.

    Runs that are no parts of one another (``together`` None) stay apart, but where one was divided by patient and one
    by hospital, both show the gap; then the first page is returned. Each gets ``cases.csv summary.json report.html``,
    and a montage and a page beside the severity map of each case. ``cohorts`` says where those of the runs lie,
    ``trust`` names packages whose parts they may name.
    """
    for run in runs:
        refuse_untrusted_run(run, trust)
    scores = [score(run, cohorts.get(run, RunCohort(trust=tuple(trust)))) for run in runs]
    of_run = dict(zip(runs, scores, strict=True))
    gap = compute_gap(
        {run: read_division(one.folds[0]) for run, one in of_run.items()},
        {run: one.predictions for run, one in of_run.items()},
    )
    pages = [write_results(run, one, gap) for run, one in of_run.items()]
    outcomes = next((outcome_record(run) for run, one in zip(runs, scores, strict=True) if len(one.predictions)), None)
    for one in scores:
        write_pages(one, outcomes or OutcomeRecord(), trust)
    if together is None or len(runs) == 1:
        return pages[0]
    cases = pd.concat([one.cases for one in scores], ignore_index=True)
    predictions = pd.concat([one.predictions for one in scores], ignore_index=True)
    groups = pd.concat([one.groups for one in scores], ignore_index=True).drop_duplicates("case_id")
    image_scores = pd.concat([one.image_scores for one in scores], ignore_index=True)
    folds = [fold for one in scores for fold in one.folds]
    everyone = {case_id: case for one in scores for case_id, case in one.everyone.items()}
    return write_results(together, Scores(cases, predictions, folds, groups, image_scores, everyone))


def score(run: Path, cohort: RunCohort) -> Scores:
    """Set what the finished folds of a run predicted against what the cohort says of their cases."""
    folds = fold_folders(run)
    made_by = describe_network(read_fold_settings(folds[0]).values)
    say(f"evaluate {run}: {format_count(len(folds), 'fold')}, {made_by}; figures on the processor", to_stderr=True)
    cases = read_cohorts(folds, cohort)
    tables = {folder: read_predictions(folder) for folder in folds}
    for folder, table in tables.items():
        require_whole(table, folder)
        require_learnt(table, folder, cases[folder])
    outcomes, image_scores = (
        [check(table, folder / PREDICTIONS, cases[folder]) for folder, table in tables.items() if column in table]
        for column, check in (("probability", check_outcomes), ("score", check_scores))
    )
    task = {folder: (one.region_set, one.scores) for folder in folds for one in [read_fold_settings(folder)]}
    segmented = [
        score_segmented(row, cases[folder], case_folder(folder.parent, str(row["case_id"])), *task[folder])
        for folder, table in tables.items()
        if not {"probability", "score"} & set(table)
        for _, row in track(list(table.iterrows()), description=f"score {folder.name}")
    ]
    rows = pd.DataFrame(segmented) if segmented else pd.DataFrame(columns=["case_id", "site", "fold"])
    predictions, scored = (
        pd.concat(some, ignore_index=True) if some else pd.DataFrame() for some in (outcomes, image_scores)
    )
    everyone = {case_id: case for of_fold in cases.values() for case_id, case in of_fold.items()}
    return Scores(rows, predictions, folds, make_groups(everyone.values()), scored, everyone)


def write_pages(scores: Scores, outcomes: OutcomeRecord, trust: Collection[str] = ()) -> None:
    """Write a page for each segmented case, beside its masks; the other hospitals say what it may be trusted on."""
    oof_cases = OofCases(scores.cases)
    for folder in scores.folds:
        of_cases = zip(scores.cases["case_id"].map(str), scores.cases["fold"].map(str), strict=True)
        of_fold = [case_id for case_id, fold_name in of_cases if fold_folder(folder.parent, fold_name) == folder]
        if of_fold and (folder.parent / SEVERITY).is_dir():  # an outcome run beside it has folds of the same names
            fold = load_fold(folder, trust)
            model, modality = describe_model([fold], oof_cases), fold.canonical.modality
            for case_id in track(of_fold, description=f"pages {folder.name}"):
                held = OofCase(scores.everyone[case_id], case_folder(folder.parent, case_id), outcomes, modality)
                held.write_page(oof_cases, model)


def write_results(folder: Path, scores: Scores, gap: Sequence[Mapping[str, Any]] = ()) -> Path:
    """Summarise the scores of runs and write ``report.html``, ``summary.json``, ``cases.csv``; returns the report."""
    cases = pd.concat([scores.cases, make_score_table(scores.image_scores)], ignore_index=True)
    summary = summarise(cases, scores.predictions, groups=scores.groups)
    summary["image_scores"] = compute_score_figures(scores.image_scores)
    summary["quarantined"] = read_quarantine(scores.folds)
    summary |= describe_study(scores.folds, scores.everyone, gap)
    run = describe_origin(folder, scores.folds)
    page = write_report(folder, summary, cases, scores.predictions, run, choose_shown_cases(scores))
    write_cards(folder, summary, cases, scores.predictions, run, scores.folds)
    return page


def read_cohorts(folds: Sequence[Path], cohort: RunCohort) -> dict[Path, Mapping[str, Case]]:
    """Read the cases of each fold, by what its own settings select of a cohort; each selection is read once."""
    settings = {folder: read_fold_settings(folder) for folder in folds}
    name = {folder: f"{folder.parent} {digest_of(one.cohort)}" for folder, one in settings.items()}
    first = {name[folder]: folder for folder in reversed(folds)}
    read = {one: index_by_id(cohort.read(settings[folder], folder.parent)) for one, folder in first.items()}
    return {folder: read[name[folder]] for folder in folds}


def score_segmented(
    row: pd.Series,
    cases: Mapping[str, Case],
    folder: Path,
    regions: RegionSet = CHEST,
    scores: TaskScores = SEVERITY_ALONE,
) -> dict[Any, Any]:
    """Make one row of ``cases.csv``: the prediction, how it agrees with the reference, and a montage beside it."""
    case = cases.get(str(row["case_id"]))
    modality = row.get("modality", "CT")
    if case is None or (series := case.image(modality)) is None:
        raise UserError(
            f"{row['case_id']} of {folder.parent} is no case with a {modality} in the run's cohort; was it changed?"
        )
    volume = read_volume(series)
    predicted = read_masks(folder, volume)
    reference = reference_masks(case, volume, modality, regions)
    spacing_mm = volume.spacing_mm if volume.spacing_known else None
    severity, lesion = read_severity(folder), reference.get("lesion")
    title, hidden = folder.name, has_burned_in_text(series)
    sheet = draw_case_picture(title, volume, predicted, hanging_of(series), severity, lesion, burned_in=hidden)
    write_picture(sheet, folder / MONTAGE)
    agreement = make_case_columns(score_case(reference, predicted, spacing_mm, flat=modality == "CXR"))
    graded = grade_reference(reference, volume, modality, scores)
    return add_readers_share(row.to_dict() | agreement | graded, case)


def choose_shown_cases(scores: Scores) -> list[ShownCase]:
    """Choose the worst and median cases of all folds: what was segmented, and the images outcomes were told from."""
    runs = {fold.parent for fold in scores.folds}
    modalities = dict.fromkeys(modality for fold in scores.folds for modality in read_modalities(fold))

    def montages(case_id: str) -> list[Image.Image]:
        paths = [case_folder(run, case_id) / MONTAGE for run in runs]
        return [Image.fromarray(read_picture(path, colours=True)) for path in paths if path.is_file()]

    segmented = show_segmented_cases(scores.cases, montages, scores.everyone)
    return segmented + show_predicted_cases(scores.predictions, scores.everyone, list(modalities))


def describe_origin(run: Path, folds: Sequence[Path]) -> dict[str, str]:
    """Describe for the report how it came to be."""
    parts = {fold.parent: read_fold_settings(fold) for fold in folds}
    seeds = ["not stated" if one.seed is None else str(one.seed) for one in parts.values()]
    how = " and ".join(dict.fromkeys(read_division(fold).replace("_", " ") for fold in folds))
    return {
        "name": run.name,
        "description": f"{len(folds)} models, {how}: every case is predicted by a model that was trained without "
        "its fold. What is fitted (weights, imputation, scaling, baselines) is fitted on the other folds alone.",
        "config": format_yaml([settings.values for settings in parts.values()]),
        "seed": ", ".join(dict.fromkeys(seeds)),
        **describe_environment(),
    }


def print_results(page: Path) -> int:
    """Print the table of hospitals, what was set aside, and last the report. Returns the exit status."""
    summary = read_versioned(page.parent / "summary.json", "summary", "evaluate the run again")
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(make_site_table(summary))
    if answers := make_answer_table(summary):
        console.print(answers)
    if summary.get("image_scores"):
        console.print(make_radiograph_score_table(summary["image_scores"]))
    for case_id, reason in summary["quarantined"].items():
        say(f"set aside: {case_id}: {reason}")
    say(f"report: {page}")
    return 3 if summary["quarantined"] else 0


def locate_cohort(cfg: DictConfig, trust: Collection[str] = ()) -> RunCohort:
    """Return where the cohort of some settings lies."""
    return RunCohort(**{name: cfg[name] for name in PLACES if cfg.get(name)}, trust=tuple(trust))


def list_names(given: str | Sequence[str] | None) -> list[str]:
    """List one name or several, as a setting holds them."""
    return [given] if isinstance(given, str) else list(given or ())


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="evaluate")
def main(cfg: DictConfig) -> None:
    """Score runs, or the predictions of others, as the configuration says, and write the report."""
    cfg = drop_replaced_settings(cfg)
    runs, predictions = ([Path(name) for name in list_names(given)] for given in (cfg.runs, cfg.predictions))
    trust = list_names(cfg.trust)
    cohort = build(cfg.cohort) if predictions else locate_cohort(cfg.cohort, trust)
    if predictions and not isinstance(cohort, RunCohort):
        named = name_models(predictions)
        folder = Path(cfg.report_dir or f"reports/{make_path_name('_'.join(named))}")
        page = evaluate_predictions(named, index_by_id(cohort), folder, runs)
    elif runs and not predictions:
        page = evaluate_runs(runs, cohorts=dict.fromkeys(runs, cohort), trust=trust)
    else:
        raise UserError(
            "say what to judge: python evaluate.py runs=runs/NAME, or predictions=CSV_OR_FOLDER cohort=NAME"
        )
    raise SystemExit(print_results(page))


def run() -> None:
    """Do what ``evaluate.py`` and ``kicc-ml evaluate`` do with the arguments of the command line."""
    log_to_terminal()
    run_with_clear_errors(lambda: run_once(main))
