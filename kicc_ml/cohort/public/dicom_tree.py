"""DICOM files that lie beside a public table in whatever folders an archive made: joined by what their headers say."""

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
    """The usable series of each patient below a folder, by the PatientID of the headers; none where it has no folders.

    What was read of headers is kept in the user's cache folder.
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


def with_images(
    case: Case, images: Sequence[Series], days: Mapping[str, date | float | None], rule: IndexRule, flow: Flow
) -> Case:
    """The case with its index CT and radiograph, as images of its hospital; ``flow`` counts them, and why not others.

    ``days`` holds ``admission_date``, endpoints and their ``*_date`` as far as they are known.
    """
    taken = {}
    for modality in ("CT", "CXR"):
        image, obstacles = index_image(modality, images, days, rule)
        flow.counts.update(obstacles)
        taken[modality] = None if image is None else replace(image, site=case.site, patient=case.person)
    kinds = " and ".join(name for name, image in taken.items() if image)
    flow.counts += Counter([f"cases with {kinds or 'no image'}"])
    return replace(case, ct=taken["CT"], cxr=taken["CXR"])
