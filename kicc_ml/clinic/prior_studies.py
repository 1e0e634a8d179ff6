"""Find the prior studies of a patient by the pseudonyms and shifted days that are stored beside each result."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import write_json
from kicc_ml.core.path_names import find_name_fault
from kicc_ml.core.pseudonym import check_key, coarsen_time, compute_key_fingerprint, load_repository_key, make_pseudonym
from kicc_ml.core.received import read_json_object
from kicc_ml.core.types import Series
from kicc_ml.dicom.header.patient_identity import read_patient_identity
from kicc_ml.dicom.series.image_files import NIFTI_SUFFIXES, RADIOGRAPH_SUFFIXES
from kicc_ml.prediction.segmentation import PREDICT_AGAIN

SCAN_FILE = "scan.json"


@dataclass(frozen=True)
class StudyStamp:
    """Pseudonyms of the patient and study of a result, and its shifted time.

    All days of one patient are shifted by the same number. The time is cut off to the hour, because the exact second
    would identify the scan in the log of a PACS. ``key`` is the fingerprint of the key of these pseudonyms; it is "" if
    an earlier version wrote the file.
    """

    case_id: str
    modality: str
    patient: str
    study: str
    moved: str
    key: str = ""

    @property
    def time(self) -> datetime:
        """Return the moved date and time of the study."""
        return datetime.fromisoformat(self.moved)


def make_study_stamp(case_id: str, series: Series, out: Path) -> StudyStamp | None:
    """Make the stamp of a scan; None if the scan states no patient or no time.

    The pseudonyms use the key of ``out``, so that scans of one patient from several input folders match.
    """
    patient_id = read_patient_id(series)
    if not patient_id or series.acquired is None:
        return None
    key = load_repository_key(out)
    patient = make_pseudonym(key, patient_id)
    moved, study = coarsen_time(key, patient, series.acquired), make_pseudonym(key, series.study)
    return StudyStamp(case_id, series.modality, patient, study, moved.isoformat(), compute_key_fingerprint(key))


def check_stamp_keys(out: Path) -> None:
    """Check that the results of a folder use the folder's own key, because other pseudonyms would never match.

    Raises:
        UserError: a result was written under another key.
    """
    for fingerprint in {stamp.key for stamp in read_study_stamps(out)} - {""}:
        check_key(fingerprint, load_repository_key(out), out)


def read_patient_id(series: Series) -> str:
    """Read the hospital's patient ID, or for other files the name without suffix; it is never written to disk."""
    if is_dicom(series):
        return read_patient_identity(series.files[0]).get("ID", "")
    return series.patient


def is_dicom(series: Series) -> bool:
    """Decide by the file name whether a scan is DICOM."""
    return not series.files[0].name.lower().endswith((*NIFTI_SUFFIXES, *RADIOGRAPH_SUFFIXES))


def write_study_stamp(folder: Path, stamp: StudyStamp) -> None:
    """Write the stamp beside the result in ``folder``."""
    write_json(folder / SCAN_FILE, asdict(stamp))


def read_study_stamps(out: Path) -> list[StudyStamp]:
    """Read the stamps of all results of a folder.

    Raises:
        UserError: a file is damaged.
    """
    return [_read_study_stamp(path) for path in sorted(out.glob(f"*/{SCAN_FILE}"))]


def _read_study_stamp(path: Path) -> StudyStamp:
    values = read_json_object(path, PREDICT_AGAIN)
    try:
        stamp = StudyStamp(**values)
        fits = all(isinstance(value, str) for value in values.values()) and stamp.time.tzinfo is None
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} does not say whose scan it is of, and when; {PREDICT_AGAIN}") from error
    if not fits or find_name_fault(stamp.case_id):  # the id is used as the name of a folder
        raise UserError(f"{path} does not say whose scan it is of, and when; {PREDICT_AGAIN}")
    return stamp


def find_latest_prior(own: StudyStamp, stamps: Iterable[StudyStamp]) -> StudyStamp | None:
    """Find the latest earlier scan of the same patient and modality in another study."""
    earlier = [
        other
        for other in stamps
        if (other.patient, other.modality) == (own.patient, own.modality)
        and other.study != own.study
        and other.time < own.time
    ]
    return max(earlier, key=lambda other: other.time, default=None)


def sort_earliest_first(series: Mapping[str, Series]) -> dict[str, Series]:
    """Sort scans by acquisition time, those without a time first, so that a prior scan is predicted before the next."""
    return dict(sorted(series.items(), key=lambda item: item[1].acquired or datetime.min))
