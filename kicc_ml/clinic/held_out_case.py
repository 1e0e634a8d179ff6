"""Write the page and the DICOM results of a run's own cases from their out-of-fold predictions."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from kicc_ml.clinic.outputs import (
    PAGE,
    ModelProvenance,
    OofCases,
    make_patient_page,
    write_case_outputs,
    write_dicom_results,
)
from kicc_ml.clinic.page.page import PatientPage, write_page
from kicc_ml.core.errors import UserError, describe_error, find_target_error, make_target_error
from kicc_ml.core.files import PRIVATE_FOLDER
from kicc_ml.core.path_names import resolve_subfolder
from kicc_ml.core.progress import track
from kicc_ml.core.types import Case, Modality, Series, Volume
from kicc_ml.data.mask_file import read_mask
from kicc_ml.data.radiograph import hanging_of
from kicc_ml.dicom.series.shown_files import name_case_files
from kicc_ml.dicom.volume.read import read_volume
from kicc_ml.dicom.web.service import push as send
from kicc_ml.prediction.result import Result, has_burned_in_text
from kicc_ml.prediction.risk import CLINICAL, NETWORK, OutcomeRecord
from kicc_ml.prediction.segmentation import REGION_SUFFIX, read_features, read_seconds, read_severity
from kicc_ml.prediction.training_reference import read_training_reference
from kicc_ml.runs.folder import (
    CLINICAL_MODEL,
    OPACITY_SHARE,
    WEIGHTS,
    ZONE_RIDGES,
    ClinicalFold,
    Fold,
    ZoneFold,
    case_folder,
    finished_folds,
)
from kicc_ml.runs.tables import read_cases, read_predictions

TrainedFold = Fold | ClinicalFold | ZoneFold

RISKS_FROM = {
    NETWORK: "images and clinical table, by the fold that held the hospital out",
    CLINICAL: "clinical table alone, by the fold that held the hospital out",
}


@dataclass(frozen=True)
class OofCase:
    """The out-of-fold prediction of a case of a run: the fold that predicted it did not train on its hospital.

    ``folder`` holds the files of that prediction. ``outcomes`` holds the predictions of an outcome run on the same
    cohort, if there is one. ``modality`` is that of the predicted image.
    """

    case: Case
    folder: Path
    outcomes: OutcomeRecord
    modality: Modality = "CT"

    @property
    def series(self) -> Series:
        """Return the series that was predicted."""
        series = self.case.image(self.modality)
        assert series is not None  # it was predicted
        return series

    def load_result(self) -> Result:
        """Load the prediction, and read its image again.

        Raises:
            UserError: the image or a file of the prediction can no longer be read.
        """
        volume = read_volume(self.series)
        masks = read_masks(self.folder, volume)
        severity, hanging = read_severity(self.folder), hanging_of(self.series)
        features = read_features(self.folder)
        burned_in = has_burned_in_text(self.series)
        return Result(
            self.case.case_id, volume, masks, severity, hanging=hanging, features=features, burned_in=burned_in
        )

    def write_page(self, oof_cases: OofCases, model: ModelProvenance) -> None:
        """Write the page; the case is compared with the other hospitals only."""
        write_page(self.folder / PAGE, self._make_page(self.load_result(), oof_cases, model))

    def write_dicom(self, oof_cases: OofCases, model: ModelProvenance, out: Path) -> list[Path]:
        """Write page, sheet and DICOM results into ``out``, and return the DICOM files.

        There is no Parametric Map, because a run keeps masks and no probabilities.
        """
        result = replace(self.load_result(), burned_in=False)  # the results return to the hospital that made the image
        page = self._make_page(result, oof_cases, model)
        out.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        write_case_outputs(out, result, page)
        return write_dicom_results(out, result, page, self.series, model, self.series.patient)

    def _make_page(self, result: Result, oof_cases: OofCases, model: ModelProvenance) -> PatientPage:
        page = make_patient_page(result, oof_cases.drop_site(self.case.site), model)
        risks = self.outcomes.of_case(self.case.case_id)
        return replace(
            page,
            risks=risks,
            risks_from=RISKS_FROM[self.outcomes.shown] if risks else "",
            seconds=read_seconds(self.folder),
        )


def read_masks(folder: Path, volume: Volume) -> dict[str, np.ndarray]:
    """Read the masks of a predicted case: bool ``[x, y, z]`` by region. A mask may cover the whole scan.

    Raises:
        UserError: a mask cannot be read, or its shape differs from that of its scan ``volume``.
    """
    paths = {path.name.removesuffix(REGION_SUFFIX): path for path in sorted(folder.glob(f"*{REGION_SUFFIX}"))}
    masks = {region: read_mask(path, region, {1: region})[0] for region, path in paths.items()}
    for region, mask_xyz in masks.items():
        if mask_xyz.shape[: volume.array.ndim] != volume.array.shape:
            sizes = (" x ".join(map(str, shape)) for shape in (mask_xyz.shape, volume.array.shape))
            raise UserError("{} has {} voxels and its scan {}; predict that scan again".format(paths[region], *sizes))
    return masks


def make_private_folder(out: Path, run: Path) -> Path:
    """Make the folder for files that identify patients: outside of the run, and closed to other users.

    Raises:
        UserError: it lies in the run folder, which is given to others, or other users can enter it.
        TargetError: it cannot be made.
    """
    if out.resolve().is_relative_to(run.resolve()):
        raise UserError(
            f"{out} lies in the run folder {run}, which is given to others; name a folder outside of it with -o"
        )
    try:
        out.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        if not any(out.iterdir()):
            out.chmod(PRIVATE_FOLDER)
        open_to_others = out.stat().st_mode & 0o077
    except OSError as error:
        raise make_target_error(out, error) from error
    if open_to_others:
        raise UserError(
            f"{out} is open to other users, and the files written there identify patients; close it: chmod 700 {out}"
        )
    return out


def export_run(
    folds: Sequence[Fold],
    cases: Mapping[str, Case],
    oof_cases: OofCases,
    outcomes: OutcomeRecord,
    out: Path,
    push: str,
) -> tuple[int, dict[str, str]]:
    """Write the DICOM results of every out-of-fold case of a run into ``out/<case_id>/dicom``.

    Args:
        folds: the folds of the run.
        cases: the cases of the cohort by id.
        oof_cases: the out-of-fold cases of the run, with which each case is compared.
        outcomes: predictions of an outcome run on the same cohort.
        out: the folder that is written.
        push: address of a DICOMweb service that takes the objects; "" for none.

    Returns:
        how many cases were written, and the reason for each other case.

    Raises:
        TargetError: ``out`` cannot be written.
    """
    written, set_aside = 0, {}
    for fold in folds:
        model = describe_model([fold], oof_cases)
        rows = read_predictions(fold.folder)
        for case_id in track(rows["case_id"].tolist(), description=f"export {fold.folder.name}"):
            try:
                severity = case_folder(fold.folder.parent, case_id)
                oof_case = OofCase(cases[case_id], severity, outcomes, fold.canonical.modality)
                objects = oof_case.write_dicom(oof_cases, model, resolve_subfolder(out, case_id, "the case id"))
                if push:
                    send(push, objects)
            except Exception as error:  # foreign headers fail in many ways, and one case must not stop hundreds
                if fault := find_target_error(error, out):
                    raise fault from error
                set_aside[case_id] = describe_error(error, name_case_files(cases[case_id]) if case_id in cases else {})
                continue
            written += 1
    return written, set_aside


def read_oof_cases(run: Path) -> OofCases:
    """Read the out-of-fold cases of a run from its ``cases.csv``; empty if the run was not evaluated.

    A run of one fold that held nothing out has the reference of its training cases instead.
    """
    folds = finished_folds(run)
    return OofCases(read_cases(run), read_training_reference(folds[0]) if len(folds) == 1 else None)


def describe_model(folds: Sequence[Fold], oof_cases: OofCases) -> ModelProvenance:
    """Describe the model of a run: a hash of its weights, its training hospitals, and its validation."""
    weights = _hash_weights(folds)
    provenance = {
        "software": f"kicc_ml {version('kicc_ml')}",
        "run": _describe_run(folds),
        "weights (SHA-256)": weights[:16],
        "training hospitals": _list_sites(folds),
        "validation": _describe_validation(oof_cases.rows),
    }
    return ModelProvenance(weights, provenance)


def add_run(model: ModelProvenance, label: str, folds: Sequence[TrainedFold]) -> ModelProvenance:
    """Add a further run to a model, such as ``outcome run``. The hash changes, so a PACS receives different objects."""
    weights = _hash_weights(folds)
    description = f"{_describe_run(folds)}, weights {weights[:16]}, training hospitals {_list_sites(folds)}"
    both = hashlib.sha256((model.weights + weights).encode()).hexdigest()
    return ModelProvenance(both, {**model.provenance, label: description})


def _hash_weights(folds: Sequence[TrainedFold]) -> str:
    """Hash the weights of the networks, and the stored regression models beside them."""
    digest = hashlib.sha256()
    stored = (WEIGHTS, CLINICAL_MODEL, ZONE_RIDGES, OPACITY_SHARE)
    for path in (fold.folder / name for fold in folds for name in stored):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _describe_run(folds: Sequence[TrainedFold]) -> str:
    return f"{folds[0].folder.parent.name}, {len(folds)} model{'s' if len(folds) > 1 else ''}"


def _list_sites(folds: Sequence[TrainedFold]) -> str:
    return ", ".join(sorted({site for fold in folds for site in fold.about.sites}))


def _describe_validation(rows: pd.DataFrame) -> str:
    """Describe the results of the out-of-fold cases in a sentence."""
    if "lesion_dice" not in rows or rows["lesion_dice"].isna().all():
        return "not evaluated"
    results = [f"lesion Dice {rows['lesion_dice'].mean():.2f}"]
    if {"severity_score", "severity_score_truth"} <= set(rows):
        known = rows.dropna(subset=["severity_score", "severity_score_truth"])
        error = (known["severity_score"] - known["severity_score_truth"]).abs()
        results.append(f"score within 2 points in {100 * (error <= 2).mean():.0f} %")
    return f"{', '.join(results)} ({len(rows)} scans of {rows['site'].nunique()} hospitals, each held out)"
