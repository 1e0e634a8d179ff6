"""Process the new scans of a hospital: refuse unsuitable ones, and write pages and DICOM results of the others."""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pandas as pd

from kicc_ml.clinic.held_out_case import read_masks
from kicc_ml.clinic.outputs import (
    DICOM,
    PAGE,
    ModelProvenance,
    OofCases,
    make_display,
    make_patient_page,
    write_case_outputs,
    write_dicom_results,
)
from kicc_ml.clinic.page.listing import Entry, write_listing
from kicc_ml.clinic.page.page import PatientPage, Scan
from kicc_ml.clinic.page.scan import DisplayScan
from kicc_ml.clinic.prior_studies import (
    StudyStamp,
    find_latest_prior,
    is_dicom,
    make_study_stamp,
    read_patient_id,
    read_study_stamps,
    write_study_stamp,
)
from kicc_ml.cohort.patient_table import PatientTable, read_patients
from kicc_ml.core.errors import UserError, describe_error, find_target_error
from kicc_ml.core.schemas.versions import read_versioned, write_versioned
from kicc_ml.core.shown import make_link
from kicc_ml.core.types import Risk, Series
from kicc_ml.data.radiograph import hanging_of
from kicc_ml.dicom.header.patient_identity import read_patient_identity
from kicc_ml.dicom.series.shown_files import name_series_files
from kicc_ml.dicom.volume.read import read_volume
from kicc_ml.dicom.web.service import push as send
from kicc_ml.prediction.new_patient import OutcomeModel, outcome_model
from kicc_ml.prediction.new_radiograph_scores import ScoreModel
from kicc_ml.prediction.result import Result, has_burned_in_text
from kicc_ml.prediction.segmentation import PREDICT_AGAIN, SEVERITY_FILE, read_severity
from kicc_ml.severity.domain_shift import check_hounsfield, check_lung_fields, check_lungs, check_polarity
from kicc_ml.severity.image_features import find_lungs
from kicc_ml.severity.plain_values import severity_to_ct_features

logger = logging.getLogger(__name__)

LISTING = "index.html"
OUTCOME_FILE = "outcome.json"
SCORES_FILE = "scores.json"


@dataclass(frozen=True)
class OutcomePredictor:
    """Predicts the outcome of a new patient by a model, with a clinical table if there is one."""

    model: OutcomeModel
    patients: PatientTable | None = None

    def of(self, series: Series, result: Result) -> tuple[tuple[Risk, ...], str]:
        """Predict the risks of a patient, and describe what they were predicted from.

        Raises:
            UserError: it is ambiguous which row of the clinical table belongs to the scan.
        """
        values = self.patients.of(series.files[0].resolve(), read_patient_id(series)) if self.patients else {}
        image = {{"CT": "ct", "CXR": "cxr"}[series.modality]: result.volume}
        known = dict(values) | (severity_to_ct_features(result.severity) if series.modality == "CT" else {})
        return self.model.risks(image, known), self.model.basis(image, known)


def load_outcomes(run: Path | None, table: Path | None, trust: Collection[str] = ()) -> OutcomePredictor | None:
    """Load the predictor of outcomes; None without an outcome run.

    Args:
        run: the run folder of an outcome experiment.
        table: a clinical table.
        trust: packages whose parts the run may name.

    Raises:
        UserError: there is a clinical table but no outcome run, or the run needs a table and there is none.
    """
    if run is None:
        if table is not None:
            raise UserError("--clinical needs a run that predicts outcomes; name it with --outcome-run")
        return None
    model = outcome_model(run, trust)
    if table is None and not model.folds:
        raise UserError(f"{run} predicts from the clinical table alone; name the table with --clinical")
    return OutcomePredictor(model, read_patients(table) if table else None)


@dataclass(frozen=True)
class NewScanPipeline:
    """Checks a predicted scan, and writes its page and its DICOM results for the PACS, as requested.

    ``identified`` prints name, ID and study date, for use inside the hospital. ``push`` is the address of a
    DICOMweb service that takes the objects. ``scans`` are the scans predicted together, by case id; a page shows the
    patient's prior scan beside the new one. ``intake_s`` is the time, in seconds, to find and check one scan.
    ``without_objects`` holds the reason for each case whose DICOM results could not be made, as ``describe`` says it of
    the error and the names to show for its files; its masks are written.
    """

    oof_cases: OofCases
    model: ModelProvenance
    report: bool = False
    dicom: bool = False
    identified: bool = False
    push: str = ""
    outcomes: OutcomePredictor | None = None
    score_model: ScoreModel | None = None
    scans: Mapping[str, Series] = field(default_factory=dict)
    intake_s: float = 0.0
    without_objects: dict[str, str] = field(default_factory=dict)
    describe: Callable[[Exception, Mapping[Path, str]], str] = describe_error

    @property
    def keeps_probability(self) -> bool:
        """Return whether probability maps are kept: DICOM objects are made from them."""
        return self.dicom

    def is_whole(self, series: Series, folder: Path) -> bool:
        """Decide whether a folder holds every file that is written for this scan."""
        wanted = {
            PAGE: self.report or self.dicom,
            f"{DICOM}/report.dcm": self.dicom and not _explain_missing_study(series),
            OUTCOME_FILE: self.outcomes is not None,
            SCORES_FILE: self.score_model is not None,
        }
        return all((folder / name).exists() for name, is_wanted in wanted.items() if is_wanted)

    def __call__(self, series: Series, result: Result, folder: Path) -> None:
        """Check a predicted scan, and write its files into ``folder``.

        Raises:
            UnsuitableImage: the values are not HU of a chest, no lungs were found, or a radiograph may be a negative.
            TargetError: ``folder`` cannot be written.
        """
        if result.volume.units == "hu":
            check_hounsfield(result.volume)
        check_lungs(result.severity.lung_ml)
        if result.hanging:
            check_polarity(result.volume)
            check_lung_fields(find_lungs(result.masks))
        result.stages.seconds["intake, by scan"] = round(self.intake_s, 3)
        own = make_study_stamp(result.case_id, series, folder.parent)
        with result.stages("outcome"):
            risks, risks_from = self.outcomes.of(series, result) if self.outcomes else ((), "")
        scores = self.score_model.scores(result.volume) if self.score_model else ()
        if self.report or self.dicom:
            with result.stages("page and sheet"):
                shown = replace(result, burned_in=self._is_hidden(series))
                page = self._make_page(series, shown, own, folder.parent)
                page = replace(page, risks=risks, risks_from=risks_from, scores=scores)
                write_case_outputs(folder, shown, page)
            with result.stages("DICOM"):
                self._write_for_pacs(series, result, page, folder, own)
        if self.outcomes:
            found = {"predicted_from": risks_from, "risks": [asdict(risk) for risk in risks]}
            write_versioned(folder / OUTCOME_FILE, "outcome", found)
        if self.score_model:
            write_versioned(folder / SCORES_FILE, "scores", {"scores": [asdict(score) for score in scores]})
        if own:
            write_study_stamp(folder, own)

    def _make_page(self, series: Series, result: Result, own: StudyStamp | None, out: Path) -> PatientPage:
        identity = read_patient_identity(series.files[0]) if self.identified and is_dicom(series) else {}
        page = make_patient_page(result, self.oof_cases, self.model, identity)
        before = find_latest_prior(own, read_study_stamps(out)) if own else None
        previous = self._make_prior_scan(own, before, out) if own and before else None
        return replace(page, previous=previous, seconds=dict(result.stages.seconds))

    def _make_prior_scan(self, own: StudyStamp, before: StudyStamp, out: Path) -> Scan:
        """Make the prior scan: with its map if its files are present, else only its values and the link to its page."""
        folder, series = out / before.case_id, self.scans.get(before.case_id)
        display = self._make_display(series, folder) if series else None
        link = f"../{make_link(Path(before.case_id) / PAGE)}" if (folder / PAGE).is_file() else ""
        return Scan(display, read_severity(folder), days_before=(own.time - before.time).days, link=link)

    def _make_display(self, series: Series, folder: Path) -> DisplayScan:
        hidden = self._is_hidden(series)
        scan = read_volume(series)
        return make_display(scan, read_masks(folder, scan), hanging_of(series), burned_in=hidden)

    def _is_hidden(self, series: Series) -> bool:
        """Decide whether the image is hidden: burned-in text may be a name, which only an identified page may show."""
        return has_burned_in_text(series) and not self.identified

    def _write_for_pacs(
        self, series: Series, result: Result, page: PatientPage, folder: Path, own: StudyStamp | None
    ) -> None:
        if not self.dicom:
            return
        if because := _explain_missing_study(series):
            logger.warning("%s %s, so there is no study to which its results can be added", result.case_id, because)
            return
        try:
            written = write_dicom_results(folder, result, page, series, self.model, own.patient if own else "")
        except (
            Exception
        ) as error:  # headers are wrong in many ways, and the other results of a patient are still written
            if fault := find_target_error(error, folder):
                raise fault from error
            because = self.describe(error, name_series_files(series))
            self.without_objects[result.case_id] = f"no DICOM objects: {because}"
            logger.warning("%s: %s", result.case_id, self.without_objects[result.case_id])
            return
        if self.push:
            send(self.push, written)


def _explain_missing_study(series: Series) -> str:
    """Explain why DICOM objects cannot refer to a scan; "" if they can."""
    if not is_dicom(series):
        return "is not DICOM"
    return "has a SeriesInstanceUID for each slice" if "uid_per_slice" in series.reasons else ""


def list_patients(out: Path) -> Path:
    """Write the list of all patients of a folder of predictions (or of a run), worst first, and return its path.

    Raises:
        UserError: the folder holds no prediction.
    """
    folders = sorted(path.parent for path in out.rglob(SEVERITY_FILE) if path.is_file())
    if not folders:
        raise UserError(f"{out} holds no prediction (no {SEVERITY_FILE}); run kicc-ml predict, or give a run folder")
    stamps = {stamp.case_id: stamp for stamp in read_study_stamps(out)}
    return write_listing(out / LISTING, [_make_entry(folder, out, stamps) for folder in folders])


def _make_entry(folder: Path, out: Path, stamps: Mapping[str, StudyStamp]) -> Entry:
    page, own = folder / PAGE, stamps.get(folder.name)
    before = find_latest_prior(own, stamps.values()) if own else None
    return Entry(
        folder.name,
        read_severity(folder),
        make_link(page.relative_to(out)) if page.is_file() else "",
        read_severity(out / before.case_id) if before else None,
    )


def make_risk_table(out: Path) -> pd.DataFrame:
    """Make the table of the risks of all patients of a folder: ``case_id endpoint probability low high clinical``."""
    rows = [
        {"case_id": path.parent.name, **risk}
        for path in sorted(out.glob(f"*/{OUTCOME_FILE}"))
        for risk in read_versioned(path, "outcome", PREDICT_AGAIN).get("risks", ())
    ]
    return pd.DataFrame(rows, columns=["case_id", "endpoint", "probability", "low", "high", "clinical"])
