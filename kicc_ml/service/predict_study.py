"""Predict a received study, in the process of a worker: every scan of it that a run is for, and why not the others."""

import hashlib
import shutil
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from kicc_ml.clinic.loaded_runs import LoadedRuns, RunChoice, add_score_run, load_runs
from kicc_ml.clinic.new_scan import NewScanPipeline
from kicc_ml.clinic.outputs import DICOM
from kicc_ml.clinic.prior_studies import (
    check_stamp_keys,
    find_latest_prior,
    make_study_stamp,
    read_study_stamps,
    sort_earliest_first,
)
from kicc_ml.core.errors import UserError, describe_without_quotes
from kicc_ml.core.types import Series
from kicc_ml.dicom.header.received_object import read_object_identity
from kicc_ml.dicom.index.build import read_index
from kicc_ml.dicom.series.image_files import explain_refusal
from kicc_ml.dicom.series.reasons import REASONS
from kicc_ml.prediction.segmentation import predict_series, read_features, read_severity
from kicc_ml.service.intake import Folders
from kicc_ml.service.queue import CaseResult, Job, StudyOutcome
from kicc_ml.service.worker_process import RunNames

INCOMPLETE = "{} of its images were removed when their time was over; have the whole study sent again"
NO_IMAGE = "the study holds no image"
#: Kinds of image that are named in a reason (PS3.3 C.7.3.1.1.1); anything else could be the name of a patient.
KINDS = frozenset(
    {
        *("CT", "CR", "DX", "CXR", "RG", "MG", "MR", "PT", "NM", "US", "XA", "RF", "PX", "IO", "OT", "SC", "SM", "ES"),
        *("XC", "GM", "OP", "OCT", "ECG", "SEG", "SR", "PR", "KO", "DOC", "REG", "RTSTRUCT", "RTDOSE", "RTPLAN"),
    }
)
NO_RUN = "the node has no run for this kind of image"
#: Flags of a result, named as the words of its page (:mod:`kicc_ml.clinic.page.words`).
OUTSIDE, UNCERTAIN = "domain_outside", "uncertainty_unusual"


@dataclass(frozen=True)
class StudyImages:
    """The scans of a study that can be predicted, by case id, and the ``reasons`` why others cannot."""

    scans: Mapping[str, Series] = field(default_factory=dict)
    reasons: Sequence[str] = ()


@dataclass(frozen=True)
class StudyPredictor:
    """Predicts studies by one run for each kind of image. ``identified``: page and sheet name the patient."""

    runs: Mapping[str, LoadedRuns]
    folders: Folders
    identified: bool = False

    def __call__(self, job: Job) -> StudyOutcome:
        """Predict a study into the folder of results; a scan whose files are those of before is kept.

        Raises:
            TargetError: the folder of results cannot be written.
        """
        if job.lost:
            return StudyOutcome(job.study, [], INCOMPLETE.format(job.lost))
        images = find_images(self.folders.received / str(job.study), self.runs)
        for case_id, files in job.known.items():
            if case_id not in images.scans or hash_names(images.scans[case_id]) != files:
                shutil.rmtree(self.folders.results / case_id, ignore_errors=True)
        for case_id in images.scans.keys() - job.known.keys():  # by a node that ended before it noted the result
            shutil.rmtree(self.folders.results / case_id, ignore_errors=True)
        cases: list[CaseResult] = []
        reasons: dict[str, str] = {}
        for modality, runs in self.runs.items():
            scans = {uid: one for uid, one in images.scans.items() if one.modality == modality}
            found, refused = self._predict(runs, scans)
            cases += found
            reasons |= refused
        said = dict.fromkeys([*reasons.values(), *(images.reasons if not cases else ())])
        return StudyOutcome(job.study, cases, "; ".join(said))

    def _predict(self, runs: LoadedRuns, scans: Mapping[str, Series]) -> tuple[list[CaseResult], dict[str, str]]:
        made = runs.make_pipeline(sort_earliest_first(scans), pages=True, dicom=True, identified=self.identified)
        clinic = replace(made, describe=describe_without_quotes)
        check_stamp_keys(self.folders.results)
        rows, set_aside = predict_series(
            runs.segmenter, clinic.scans, self.folders.results, clinic, describe_without_quotes
        )
        cases = [
            self._describe(clinic, {str(key): value for key, value in row.items()}) for row in rows.to_dict("records")
        ]
        return cases, set_aside | clinic.without_objects

    def _describe(self, clinic: NewScanPipeline, row: Mapping[str, Any]) -> CaseResult:
        case_id = str(row["case_id"])
        folder, series = self.folders.results / case_id, clinic.scans[case_id]
        own = make_study_stamp(case_id, series, self.folders.results)
        prior = find_latest_prior(own, read_study_stamps(self.folders.results)) if own else None
        check, _ = clinic.oof_cases.check_domain(read_features(folder))
        doubt = clinic.oof_cases.flag_uncertainty(read_severity(folder).uncertain_percent)
        flags = {OUTSIDE: check == "outside", UNCERTAIN: doubt == "unusual"}
        return CaseResult(
            **{"case_id": case_id, "files": hash_names(series), "modality": series.modality},
            severity={name: _make_plain(value) for name, value in row.items() if name != "case_id"},
            flags=[name for name, holds in flags.items() if holds],
            prior=prior.case_id if prior else "",
            objects={
                read_object_identity(path).sop: str(path.relative_to(self.folders.results))
                for path in sorted((folder / DICOM).glob("*.dcm"), key=lambda path: (path.stem == "report", path.name))
            },
        )


def load_study_predictor(names: RunNames, folders: Folders, identified: bool) -> StudyPredictor:
    """Load the runs of a node.

    Args:
        names: a run for each kind of image, and those beside.
        folders: the folders of the node.
        identified: page and sheet name the patient.

    Returns:
        what predicts a study.

    Raises:
        UserError: a run cannot be used, or two are for the same kind of image.
    """
    runs: dict[str, LoadedRuns] = {}
    for run in names.runs:
        loaded = load_runs(
            RunChoice(run, names.outcome_run, names.clinical, None, names.trust, names.device, names.fast)
        )
        if loaded.modality in runs:
            raise UserError(f"{run} is a second run for {loaded.modality}; name one run for each kind of image")
        runs[loaded.modality] = loaded
    if names.score_run:
        of_films = "CXR" if "CXR" in runs else next(iter(runs))
        runs[of_films] = add_score_run(runs[of_films], names.score_run)
    return StudyPredictor(runs, folders, identified)


def find_images(folder: Path, modalities: Container[str]) -> StudyImages:
    """Find what can be predicted of a received study.

    Args:
        folder: the files of the study; its name is the number of the study.
        modalities: the kinds of image that there is a run for.

    Returns:
        the scans, and why the other images cannot be predicted. Their case ids have the number of the study, since
        careless senders give two studies series of one UID.
    """
    if not any(folder.glob("*.dcm")):
        return StudyImages(reasons=[NO_IMAGE])
    (found,) = read_index([folder])
    scans, reasons = {}, []
    for series in found.series:
        kind = series.modality if series.modality in KINDS else "another kind of image"
        if not series.usable:
            reasons.append(f"{kind}: {explain_refusal(series)}")
        elif series.modality not in modalities:
            reasons.append(f"{kind}: {NO_RUN}")
        else:
            scans[f"{series.uid}-{folder.name}"] = series
    reasons += [REASONS.get(row.reason, row.reason) for row in found.file_rows]
    return StudyImages(scans, list(dict.fromkeys(reasons)) or ([] if scans else [NO_IMAGE]))


def hash_names(series: Series) -> str:
    """Hash the names of the files of a scan; every received file has a name of its own."""
    return hashlib.sha256("/".join(path.name for path in series.files).encode()).hexdigest()


def _make_plain(value: Any) -> Any:
    return None if pd.isna(value) else value
