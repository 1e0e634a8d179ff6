"""MIDRC-RICORD-1A: public CT in HU from four hospitals, with outlines of lesions, in the layout of TCIA or IDC."""

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

from kicc_ml.cohort.flow import Cohort, Flow
from kicc_ml.cohort.public.mdai import Annotations, Outline, mask_of, read_annotations
from kicc_ml.cohort.public.nifti_files import existing_folder
from kicc_ml.core.errors import UserError
from kicc_ml.core.progress import track
from kicc_ml.core.pseudonym import load_repository_key, make_pseudonym
from kicc_ml.core.shown import format_count
from kicc_ml.core.types import Case, Series
from kicc_ml.core.user_folders import get_cache_folder
from kicc_ml.dicom.index.build import index_repository
from kicc_ml.dicom.series.image_files import write_nifti
from kicc_ml.dicom.series.slices import read_patient_id, read_slices

logger = logging.getLogger(__name__)

PATIENT = re.compile(r"MIDRC-RICORD-1A-(\w+)-\d+", re.IGNORECASE)
ANNOTATIONS = "*annotations*.json"
#: Labels of lesion outlines, in small letters.
LESION = ("infectious opacity", "infectious tib/micronodules")
#: Other published labels. A label that is in neither list is reported as unknown.
OTHER = ("infectious cavity", "atelectasis", "other noninfectious opacity", "noninfectious nodule/mass")
#: A part of the name of each cached mask: raise it when the conversion of outlines to voxels changes.
MASK_VERSION = 1
#: TCIA names folders by this many last digits of the SeriesInstanceUID.
UID_DIGITS = 5


def ricord1a(root: str | Path | None, index_cache: str | Path | None = None) -> Cohort:
    """Read one case per annotated CT series. The hospital is the middle part of the PatientID.

    The folder holds DICOM files at any depth and one ``*annotations*.json`` of MD.ai. A voxel is lesion if at least
    half of the annotators of its series outlined it as infectious opacity or infectious TIB/micronodules. A series with
    only other outlines is known to have no lesion. Lungs are not marked. Masks are made once and kept in the user's
    cache folder.

    Args:
        root: the folder of images and annotations.
        index_cache: the parquet file that caches the DICOM index.

    Source:
        Tsai EB et al., Radiology 2021;299:E204; TCIA 10.7937/VTW4-X588 (CC BY-NC 4.0).

    Raises:
        UserError: the folder or the annotations are missing, or no annotated series is a usable volume.
    """
    folder = existing_folder(root, "ricord1a")
    annotations = read_annotations(_annotation_file(folder))
    key = load_repository_key(folder)
    outlines_of = {make_pseudonym(key, uid): (uid, outlines) for uid, outlines in annotations.outlines.items()}
    series = [
        one for one in index_repository(folder, Path(index_cache) if index_cache else None) if one.modality == "CT"
    ]
    flow = Flow(rows=len(series), unit="CT series in the folder")
    annotated = [one for one in series if one.uid in outlines_of]
    usable = _one_per_uid([one for one in annotated if one.usable and not one.frames])
    flow.excluded["no outline"] = len(series) - len(annotated)
    flow.excluded["refused by the index, or a shorter part of a series"] = len(annotated) - len(usable)
    flow.counts["annotated series that are not in the folder"] = len(set(outlines_of) - {one.uid for one in series})
    _count_labels(annotations, flow, folder)
    cases = [_case(one, *outlines_of[one.uid]) for one in track(usable, "outlines to masks")]
    if not cases:
        raise UserError(
            f"{folder} holds none of the {len(outlines_of)} annotated series as a usable volume; it should hold the "
            "images of MIDRC-RICORD-1A as DICOM: kicc-ml index says what each series is"
        )
    flow.cases = len(cases)
    flow.log()
    return Cohort(sorted(cases, key=lambda case: case.case_id), flow)


def _one_per_uid(series: Sequence[Series]) -> list[Series]:
    """Select the acquisition with the most slices for each SeriesInstanceUID."""
    return list({one.uid: one for one in sorted(series, key=lambda one: one.slices)}.values())


def _annotation_file(folder: Path) -> Path:
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and _is_annotations(path)]
    if len(found) != 1:
        shown = f": {', '.join(map(str, found))}" if found else ""
        raise UserError(
            f"{folder} holds {len(found)} files {ANNOTATIONS}{shown}; lay MIDRC-RICORD-1a_annotations_labelgroup_all_"
            "2020-Dec-8.json of TCIA there, which IDC does not have"
        )
    return found[0]


def _is_annotations(path: Path) -> bool:
    return path.name[0] != "." and path.suffix.lower() == ".json" and "annotations" in path.name.lower()


def _count_labels(annotations: Annotations, flow: Flow, folder: Path) -> None:
    """Count the annotations that are not used in the flow; warn of unpublished labels."""
    labels = Counter(one.label for outlines in annotations.outlines.values() for one in outlines)
    if unknown := sorted(set(labels) - set(LESION) - set(OTHER)):
        logger.warning("%s: labels that are not published, taken for no lesion: %s", folder, ", ".join(unknown))
    flow.counts.update(annotations.not_used)


def _case(series: Series, uid: str, outlines: Sequence[Outline]) -> Case:
    patient = read_patient_id(series)
    found = PATIENT.fullmatch(patient)
    if not found:
        raise UserError(f"{series.files[0]}: PatientID is none of MIDRC-RICORD-1A; take other images out of the folder")
    masks = {"lesion": _mask(series, outlines)}
    return Case(f"{patient}_{uid[-UID_DIGITS:]}", found[1], person=patient, ct=series, masks=masks)


def _mask(series: Series, outlines: Sequence[Outline]) -> Path:
    """Return the path of the cached mask of a series; make the mask first if it is missing."""
    path = get_cache_folder() / "masks" / "ricord1a" / f"{_digest(series, outlines)}.nii.gz"
    if path.is_file():
        return path
    slices = read_slices(series)
    slice_of = {sop_uid: number for number, sop_uid in enumerate(slices.sop_uids)}
    if lost := sum(one.sop_uid not in slice_of for one in outlines):
        logger.warning(
            "%s: %s on slices that are not there, not used", series.files[0].parent, format_count(lost, "outline")
        )
    mask_xyz = mask_of(outlines, LESION, slice_of, (series.columns, series.rows, series.slices))
    write_nifti(path, mask_xyz, slices.affine_ras)
    return path


def _digest(series: Series, outlines: Sequence[Outline]) -> str:
    """Compute a file name for a mask from everything that determines its voxels."""
    states = [(str(path), (state := path.stat()).st_size, state.st_mtime_ns) for path in series.files]
    identity = [MASK_VERSION, LESION, [astuple(one) for one in outlines], states]
    return hashlib.sha256(json.dumps(identity).encode("utf-8", "surrogatepass")).hexdigest()[:32]
