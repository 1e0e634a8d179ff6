"""Scans of one patient at several times, told by what lies beside each result: pseudonyms and moved days."""

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
    """Whose scan a result is of, and when: pseudonyms, and a time whose day is moved alike for all of a patient's.

    The time is cut off to the hour: to the second it would find its row in the log of a PACS. ``key`` is the
    fingerprint of the key of these pseudonyms, "" where an earlier version wrote the file.
    """

    case_id: str
    modality: str
    patient: str
    study: str
    moved: str
    key: str = ""

    @property
    def time(self) -> datetime:
        return datetime.fromisoformat(self.moved)


def make_study_stamp(case_id: str, series: Series, out: Path) -> StudyStamp | None:
    """None where the scan says neither whose nor when it is. Pseudonyms are under the key of ``out``, so that scans of
    one patient from several folders meet.
    """
    patient_id = read_patient_id(series)
    if not patient_id or series.acquired is None:
        return None
    key = load_repository_key(out)
    patient = make_pseudonym(key, patient_id)
    moved, study = coarsen_time(key, patient, series.acquired), make_pseudonym(key, series.study)
    return StudyStamp(case_id, series.modality, patient, study, moved.isoformat(), compute_key_fingerprint(key))


def check_stamp_keys(out: Path) -> None:
    """Raises UserError where scans lie in a folder of results under another key than its own: they would not meet."""
    for fingerprint in {one.key for one in read_study_stamps(out)} - {""}:
        check_key(fingerprint, load_repository_key(out), out)


def read_patient_id(series: Series) -> str:
    """The ID as the hospital writes it, or the name of another file less its suffix; it stays in memory."""
    if is_dicom(series):
        return read_patient_identity(series.files[0]).get("ID", "")
    return series.patient


def is_dicom(series: Series) -> bool:
    return not series.files[0].name.lower().endswith((*NIFTI_SUFFIXES, *RADIOGRAPH_SUFFIXES))


def write_study_stamp(folder: Path, one: StudyStamp) -> None:
    write_json(folder / SCAN_FILE, asdict(one))


def read_study_stamps(out: Path) -> list[StudyStamp]:
    """All that lie beside the results of a folder."""
    return [_read_study_stamp(path) for path in sorted(out.glob(f"*/{SCAN_FILE}"))]


def _read_study_stamp(path: Path) -> StudyStamp:
    kept = read_json_object(path, PREDICT_AGAIN)
    try:
        one = StudyStamp(**kept)
        fits = all(isinstance(word, str) for word in kept.values()) and one.time.tzinfo is None
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} does not say whose scan it is of, and when; {PREDICT_AGAIN}") from error
    if not fits or find_name_fault(one.case_id):  # the id is followed as a folder
        raise UserError(f"{path} does not say whose scan it is of, and when; {PREDICT_AGAIN}")
    return one


def find_latest_prior(one: StudyStamp, history: Iterable[StudyStamp]) -> StudyStamp | None:
    """The latest earlier scan of the patient, of another study and the same kind."""
    earlier = [
        other
        for other in history
        if (other.patient, other.modality) == (one.patient, one.modality)
        and other.study != one.study
        and other.time < one.time
    ]
    return max(earlier, key=lambda other: other.time, default=None)


def sort_earliest_first(series: Mapping[str, Series]) -> dict[str, Series]:
    """In the order in which they were taken, those without a time first: a scan finds what is predicted before it."""
    return dict(sorted(series.items(), key=lambda item: item[1].acquired or datetime.min))
