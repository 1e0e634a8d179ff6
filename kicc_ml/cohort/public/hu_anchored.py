"""A training cohort in HU: public scans with grey values mapped to HU, and synthetic scans.

It is for users who have no public scans in HU with lesion masks.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from kicc_ml.cohort.flow import Cohort, Flow
from kicc_ml.cohort.public.images import covid_ct_seg
from kicc_ml.cohort.repository import repository
from kicc_ml.core.errors import UserError
from kicc_ml.core.progress import track
from kicc_ml.core.types import Case
from kicc_ml.data.mask_file import read_mask
from kicc_ml.dicom.series.image_files import make_nifti_series, write_nifti
from kicc_ml.dicom.series.nifti_file import read_nifti
from kicc_ml.synthetic.repository import synthesize

#: The HU to which grey values are mapped: about healthy lung at full inspiration, and muscle. Rough values of our own.
LUNG_HU, MUSCLE_HU = -850.0, 50.0

#: Voxels outside the lungs with at least this share of the highest grey value are body; most of them are muscle.
BODY_SHARE = 0.4


def hu_ct(root: str | Path | None, folder: str | Path, patients: int, sites: int, seed: int) -> Cohort:
    """Read the public scans with lesion masks, mapped to HU, and add synthetic scans in true HU.

    Each volume of :func:`kicc_ml.cohort.public.images.covid_ct_seg` is mapped linearly: its healthy lung becomes
    ``LUNG_HU``, its muscle ``MUSCLE_HU``. The histogram equalisation of the published files is not undone.

    Args:
        root: the folder of public data.
        folder: the folder for the mapped copies and the synthetic repository (preset ``demo``); both are written once.
        patients: the number of synthetic patients.
        sites: the number of synthetic hospitals.
        seed: the seed of the synthetic repository.

    Raises:
        UserError: see ``covid_ct_seg`` and ``synthesize``; or a volume has no healthy lung.
    """
    real = covid_ct_seg(root)
    anchored = [_anchored(case, Path(folder) / "anchored") for case in track(real, "anchoring", len(real))]
    synthesize(Path(folder) / "synthetic", "demo", seed, patients=patients, sites=sites)
    return _with_synthetic(anchored, Path(folder))


def written_hu_ct(root: str | Path | None, folder: str | Path) -> Cohort:
    """Read the cohort that :func:`hu_ct` wrote into ``folder``; write nothing.

    Raises:
        UserError: see ``covid_ct_seg``; or a copy is missing.
    """
    anchored = [_read_copy(case, Path(folder) / "anchored") for case in covid_ct_seg(root)]
    return _with_synthetic(anchored, Path(folder))


def _with_synthetic(anchored: list[Case], folder: Path) -> Cohort:
    synthetic = [case for case in repository(folder / "synthetic") if case.ct is not None]
    cases = [*anchored, *synthetic]
    return Cohort(cases, Flow(rows=len(cases), cases=len(cases), unit="scans"))


def _read_copy(case: Case, folder: Path) -> Case:
    """Replace the scan of a case with its copy in HU. Raises UserError if the copy is missing."""
    assert case.ct is not None
    (path,) = case.ct.files
    if not (copy := folder / path.name).is_file():
        raise UserError(f"{copy} is missing; name the folder that cohort=hu_ct wrote: cohort.folder=DIR")
    return replace(
        case, ct=make_nifti_series(copy, site=case.site, patient=case.case_id, units="hu", spacing_known=False)
    )


def _anchored(case: Case, folder: Path) -> Case:
    """Replace the scan of a case with its copy in HU; write the copy first if it is missing."""
    if case.ct is None or not case.ct.usable:
        raise UserError(f"{case.case_id}: its scan cannot be read as a volume; is the file whole?")
    (path,) = case.ct.files
    copy = folder / path.name
    if not copy.is_file():
        grey_xyz, affine_ras = read_nifti(path)
        lung_xyz, lesion_xyz = (read_mask(case.masks[region])[0] for region in ("lung", "lesion"))
        try:
            write_nifti(copy, anchored_hu(grey_xyz, lung_xyz, lesion_xyz), affine_ras)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
    return _read_copy(case, folder)


def anchored_hu(grey_xyz: np.ndarray, lung_xyz: np.ndarray, lesion_xyz: np.ndarray) -> np.ndarray:
    """Map grey values to HU: median healthy lung to ``LUNG_HU``, median body outside the lung to ``MUSCLE_HU``.

    Args:
        grey_xyz: grey values.
        lung_xyz: mask of the lungs.
        lesion_xyz: mask of the lesions.

    Returns:
        int16 HU ``[x, y, z]``.

    Raises:
        UserError: the scan has no healthy lung or no body, or its lung is not darker than its body.
    """
    healthy = grey_xyz[lung_xyz & ~lesion_xyz]
    body = grey_xyz[~lung_xyz & (grey_xyz > BODY_SHARE * grey_xyz.max())]
    if not healthy.size or not body.size or (muscle := float(np.median(body))) <= (lung := float(np.median(healthy))):
        raise UserError("a scan without healthy lung darker than its body cannot be anchored to HU; leave it out")
    slope = (MUSCLE_HU - LUNG_HU) / (muscle - lung)
    return np.rint(LUNG_HU + slope * (grey_xyz - lung)).clip(-1024, 3071).astype(np.int16)
