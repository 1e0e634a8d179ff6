"""Segmentation of scans, case by case: probabilities on the scan's own grid, masks and a severity score."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from kicc_ml.core.errors import UserError, describe_error, find_target_error
from kicc_ml.core.files import make_folder, remove_new_on_failure, write_json
from kicc_ml.core.path_names import resolve_subfolder
from kicc_ml.core.progress import StageTimer
from kicc_ml.core.received import read_json_object
from kicc_ml.core.regions import merge_sides
from kicc_ml.core.schemas.versions import read_versioned, write_versioned
from kicc_ml.core.task_scores import COLUMN, SEVERITY_ALONE, TaskScores
from kicc_ml.core.types import Modality, Polarity, Series, SeverityMap, Volume
from kicc_ml.data.datamodule import PatchDataModule
from kicc_ml.data.radiograph import hanging_of
from kicc_ml.data.volume_chain import chain_of
from kicc_ml.dicom.series.image_files import write_nifti
from kicc_ml.dicom.series.shown_files import name_series_files
from kicc_ml.models.segmenter import Segmenter
from kicc_ml.prediction.result import MONTAGE, Result, draw, has_burned_in_text
from kicc_ml.prediction.segmenters import make_segmenter_in_training
from kicc_ml.prediction.several_devices import Finish, OneAtATime, copy_after_training, predict_on_each
from kicc_ml.prediction.training_reference import write_training_reference
from kicc_ml.runs.folder import SEVERITY, About, case_folder, fold_folder
from kicc_ml.severity.grade import grade, grade_radiograph
from kicc_ml.severity.image_features import measure_features
from kicc_ml.severity.plain_values import (
    CASE_COLUMNS,
    case_to_row,
    reference_to_row,
    severity_from_json,
    severity_to_json,
)

logger = logging.getLogger(__name__)

#: Said of a NIfTI whose sform_code and qform_code are 0.
UNORIENTED = "score: the file does not state how the scan lies, so that right, left, upper and lower are not known"
#: Said of a radiograph that was inverted before it was measured.
INVERTED: Mapping[Polarity, str] = {
    "inverted_unstated": "grey values: shown inverted; the file does not say whether air is dark or bright, and its "
    "picture is a negative (lungs bright, heart and spine dark)",
    "inverted_against_file": "grey values: shown inverted; by Photometric Interpretation air would be bright, as on a "
    "negative, so that statement of the file is taken for wrong",
}
#: Of a task without severity.
NOT_GRADED = SeverityMap(
    {}, {}, None, None, None, None, None, None, ("score: the task has none (task.severity=false)",)
)
REGION_SUFFIX = ".nii.gz"
FEATURES_FILE = "features.json"
SEVERITY_FILE = "severity.json"  # written last, so that it marks a case as whole
#: Files beside the cases, in small letters: predictions of all, and the list of patients.
BESIDE_CASES = frozenset({"predictions.csv", "outcomes.csv", "index.html"})
PREDICT_AGAIN = "remove its folder and predict it again"


def write_case(
    folder: Path,
    masks: Mapping[str, np.ndarray],
    volume: Volume,
    severity: SeverityMap,
    features: Mapping[str, float | None],
    stages: StageTimer,
) -> None:
    """Write the masks as NIfTI (uint8 0/1) on the scan's grid, then the features, and last ``severity.json``.

    Args:
        folder: the folder of the case.
        masks: bool ``[x, y, z]`` by region, on the grid of ``volume``.
        volume: the scan.
        severity: its severity.
        features: the features of its image, by name.
        stages: the seconds of each stage, written into ``severity.json``.
    """
    make_folder(folder)
    with stages("masks as NIfTI"):
        for region, mask_xyz in masks.items():
            path = folder / f"{region}{REGION_SUFFIX}"
            write_nifti(path, mask_xyz.astype(np.uint8), volume.affine_ras, volume.orientation_known)
    write_json(folder / FEATURES_FILE, features)
    write_versioned(folder / SEVERITY_FILE, "severity", severity_to_json(severity, stages.seconds))


def grade_severity(
    volume: Volume, masks: Mapping[str, np.ndarray], modality: str = "CT", scores: TaskScores = SEVERITY_ALONE
) -> SeverityMap:
    """Grade the severity from masks on the grid of ``volume``, which has one slice for a radiograph.

    Args:
        volume: the scan.
        masks: bool ``[x, y, z]`` by region.
        modality: ``CT`` or ``CXR``.
        scores: the scores of the task.
    """
    graded = _grade_published(volume, masks, modality) if scores.severity else NOT_GRADED
    own, failed = scores.compute(masks, volume)
    return replace(graded, own_scores=own, reasons=(*graded.reasons, *failed))


def _grade_published(volume: Volume, masks: Mapping[str, np.ndarray], modality: str) -> SeverityMap:
    if modality == "CXR":
        graded = grade_radiograph(masks, volume.affine_ras)
        said = [INVERTED[volume.polarity]] if volume.polarity in INVERTED else []
        return replace(graded, reasons=(*said, *graded.reasons))
    hu_xyz = volume.array if volume.units == "hu" else None
    masks = masks if volume.orientation_known else merge_sides(masks)
    graded = grade(masks, volume.affine_ras, hu_xyz, spacing_known=volume.spacing_known)
    return graded if volume.orientation_known else replace(graded, reasons=(UNORIENTED, *graded.reasons))


def grade_reference(
    reference: Mapping[str, np.ndarray],
    volume: Volume,
    modality: Modality = "CT",
    scores: TaskScores = SEVERITY_ALONE,
) -> dict[str, Any]:
    """Grade the reference masks by the same functions as the predicted ones."""
    row = reference_to_row(grade_severity(volume, reference, modality, scores), modality) if reference else {}
    return {name: value for name, value in row.items() if "lesion" in reference or name.startswith(COLUMN)}


def predict_series(
    segmenter: Segmenter,
    series: Mapping[str, Series],
    out: Path,
    finish: Finish | None = None,
    describe: Callable[[Exception, Mapping[Path, str]], str] = describe_error,
    copies: Sequence[Segmenter] = (),
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Segment scans by case id into ``out/<case_id>/``; a case that fails is set aside, the others go on.

    A case that is already complete is kept.

    Args:
        segmenter: the networks.
        series: the scans, by case id.
        out: the folder of all results.
        finish: a step after each prediction that adds files; None for none.
        describe: describes why a case was set aside; it is given the error, and the names to show for its files.
        copies: copies of ``segmenter`` on further devices, which predict other cases meanwhile.

    Returns:
        One row per case, and the reason for each case that was set aside, by case id; both in the order of ``series``.

    Raises:
        TargetError: ``out`` cannot be written; every other case would fail too.
    """
    step = OneAtATime(finish) if finish and copies else finish
    make_folder(out)

    def predict(one: Segmenter, case_id: str) -> dict[str, Any] | str:
        try:
            return _keep_or_predict(one, case_id, series[case_id], out, step)
        except Exception as error:  # foreign files fail in many ways, and one must not stop hundreds
            if fault := find_target_error(error, out / case_id):
                raise fault from error
            reason = describe(error, name_series_files(series[case_id]))
            logger.warning("%s set aside: %s", case_id, reason)
            logger.debug("%s failed", case_id, exc_info=True)
            return reason

    found = predict_on_each([segmenter, *copies], series, predict)
    own = [f"{COLUMN}{name}" for name in (segmenter.scores or SEVERITY_ALONE).parts]
    rows = [row for row in found.values() if not isinstance(row, str)]
    set_aside = {case_id: reason for case_id, reason in found.items() if isinstance(reason, str)}
    return pd.DataFrame(rows, columns=["case_id", *CASE_COLUMNS, *own, "seconds"]), set_aside


def _keep_or_predict(
    segmenter: Segmenter, case_id: str, series: Series, out: Path, finish: Finish | None
) -> dict[str, Any]:
    """Return the row of a case: of what an earlier prediction has left if that is complete, else predicted now."""
    started = time.perf_counter()
    folder = results_folder(out, case_id)
    whole = finish is None or finish.is_whole(series, folder)
    row = (finished_row(folder) if whole else None) or predict_one(segmenter, case_id, series, folder, finish)
    return {"case_id": case_id, **row, "seconds": round(time.perf_counter() - started, 3)}


def results_folder(out: Path, case_id: str) -> Path:
    """Return the folder for the results of a case: directly in ``out``, with the case id as its name.

    Raises:
        UserError: the id cannot be the name of a folder, is the name of another file in ``out``, or is a link that
            leads out of ``out``.
    """
    if case_id.casefold() in BESIDE_CASES:
        raise UserError(f"a scan cannot be called {case_id}: the results have a file of that name; rename it")
    return resolve_subfolder(out, case_id, "the case id")


def predict_one(
    segmenter: Segmenter, case_id: str, series: Series, folder: Path, finish: Finish | None = None
) -> dict[str, Any]:
    """Predict one scan into its folder and return its severity and features as columns; a radiograph gets a picture.

    Args:
        segmenter: the networks.
        case_id: the id of the case.
        series: its scan.
        folder: the folder of the case.
        finish: a step after the prediction that adds files; None for none.
    """
    stages = StageTimer()
    with stages("reading"):
        volume = chain_of(segmenter.canonical).read(series)
    shape = volume.array.shape
    asked = finish is not None and finish.keeps_probability and "lesion" in segmenter.regions
    probability_xyz = np.zeros(shape, np.float32) if asked else None
    kept = {"uncertain": np.zeros(shape, bool)} | ({} if probability_xyz is None else {"lesion": probability_xyz})
    masks = segmenter.segment_keeping(volume, kept, stages) | {"uncertain": kept["uncertain"]}
    masks = masks if volume.orientation_known else merge_sides(masks)
    with stages("severity"):
        scores, hanging = segmenter.scores or SEVERITY_ALONE, hanging_of(series)
        severity = grade_severity(volume, masks, series.modality, scores)
        severity = severity.without_sides if hanging == "otherwise" else severity
        features = measure_features(volume, masks, "CXR" if hanging else "CT")
    burned_in = has_burned_in_text(series)
    result = Result(case_id, volume, masks, severity, probability_xyz, stages, hanging, features, burned_in)
    with remove_new_on_failure(folder):
        if finish:
            finish(series, result, folder)
        if result.hanging:
            draw(result, folder / MONTAGE)
        write_case(folder, masks, volume, severity, features, stages)
    return case_to_row(severity, features)


def finished_row(folder: Path) -> dict[str, Any] | None:
    """Read the columns of a case that was predicted earlier; None if it is incomplete (no ``severity.json``)."""
    if not (folder / SEVERITY_FILE).is_file():
        return None
    return case_to_row(read_severity(folder), read_features(folder))


def read_features(folder: Path) -> dict[str, float | None]:
    """Read the image features of a predicted case (:mod:`kicc_ml.severity.image_features`)."""
    return read_json_object(folder / FEATURES_FILE, PREDICT_AGAIN)


def read_severity(folder: Path) -> SeverityMap:
    """Read the severity of a predicted case."""
    return _read_case(folder)[0]


def read_seconds(folder: Path) -> dict[str, float]:
    """Read the seconds of each stage of a case; empty for a case that was predicted by an earlier version."""
    return _read_case(folder)[1]


def _read_case(folder: Path) -> tuple[SeverityMap, dict[str, float]]:
    path = folder / SEVERITY_FILE
    try:
        return severity_from_json(read_versioned(path, "severity", PREDICT_AGAIN))
    except ValueError as error:
        raise UserError(f"{path} holds no severity: {error}; {PREDICT_AGAIN}") from error


def held_out_segmentation(
    network: nn.Module, about: About, data: PatchDataModule, run_dir: Path
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Predict masks and severity of the fold's test cases into ``run_dir/severity/<case_id>/``, one row per case.

    A fold without test cases gets a reference of its training cases instead (``training_reference``).

    Args:
        network: the trained network.
        about: what the fold's training cases determine (:func:`kicc_ml.runs.folder.about_data`).
        data: the data of the fold, after ``setup``.
        run_dir: the run folder.

    Returns:
        One row per case, and the reason for each case that was set aside, by case id.
    """
    folder = fold_folder(run_dir, data.split.fold)
    segmenter = make_segmenter_in_training(network, about, data, folder)
    if not data.split.test:
        write_training_reference(segmenter, data.train_cases, folder)
    cases = {case.case_id: case for case in data.cases if case.case_id in set(data.split.test)}
    for case_id in cases:  # a fold that is trained anew is predicted anew
        (case_folder(run_dir, case_id) / SEVERITY_FILE).unlink(missing_ok=True)
    modality = data.canonical.modality
    series = {case_id: image for case_id, case in cases.items() if (image := case.image(modality)) is not None}
    copies = copy_after_training(segmenter, data.trainer, len(series))
    rows, quarantined = predict_series(segmenter, series, run_dir / SEVERITY, copies=copies)
    rows.insert(1, "site", [cases[case_id].site for case_id in rows["case_id"]])
    rows.insert(2, "fold", data.split.fold)
    rows.insert(3, "modality", modality)
    return rows, quarantined
