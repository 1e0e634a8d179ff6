"""DICOM files in any folders beside a public table; their headers join them to patients."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

from kicc_ml.cohort.flow import Flow
from kicc_ml.cohort.index_image import IndexRule, index_image
from kicc_ml.core.pseudonym import make_pseudonym
from kicc_ml.core.types import Case, Series
from kicc_ml.dicom.index.build import read_index


def series_by_patient(folder: Path, patient_ids: Collection[str]) -> dict[str, list[Series]]:
    """Find the usable series of each patient below a folder, by the PatientID in the headers.

    The index of the headers is kept in the user's cache folder.

    Returns:
        The series by patient id; empty if the folder has no subfolders.
    """
    if not any(entry.is_dir() for entry in folder.iterdir()):
        return {}
    (found,) = read_index([folder], cached=True)
    id_of = {
        make_pseudonym(found.key, site, patient_id): patient_id
        for site in {one.site for one in found.series}
        for patient_id in patient_ids
    }
    series: dict[str, list[Series]] = defaultdict(list)
    for one in found.series:
        if one.usable and one.patient in id_of:
            series[id_of[one.patient]].append(one)
    return dict(series)


def add_index_images(
    case: Case, images: Sequence[Series], days: Mapping[str, date | float | None], rule: IndexRule, flow: Flow
) -> Case:
    """Add the index CT and the index radiograph to a case, under the case's site and person.

    Args:
        case: the case without images.
        images: all usable series of the patient.
        days: ``admission_date``, endpoints and their ``*_date``, as far as known.
        rule: the rule that chooses the index image.
        flow: receives the kinds of images of the case, and the reasons for images that were not chosen.
    """
    taken = {}
    for modality in ("CT", "CXR"):
        image, obstacles = index_image(modality, images, days, rule)
        flow.counts.update(obstacles)
        taken[modality] = None if image is None else replace(image, site=case.site, patient=case.person)
    kinds = " and ".join(name for name, image in taken.items() if image)
    flow.counts += Counter([f"cases with {kinds or 'no image'}"])
    return replace(case, ct=taken["CT"], cxr=taken["CXR"])
