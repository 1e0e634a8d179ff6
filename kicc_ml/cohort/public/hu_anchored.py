"""A training cohort in HU where no lesion masks in HU are public: grey values anchored, with synthetic scans beside."""

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
from kicc_ml.dicom.series.image_files import make_nifti_series, read_nifti, write_nifti
from kicc_ml.synthetic.repository import synthesize

#: What grey values are tied to: about the HU of healthy lung at full breath, and of muscle. Ours, and rough.
LUNG_HU, MUSCLE_HU = -850.0, 50.0

#: Voxels outside the lungs as bright as this share of the range are body, not air; muscle is most of them.
BODY_SHARE = 0.4


def hu_ct(root: str | Path | None, folder: str | Path, patients: int, sites: int, seed: int) -> Cohort:
    """The public lesion masks with their scans anchored to HU, and synthetic scans, true HU with both sides.

    Each volume of :func:`kicc_ml.cohort.public.images.covid_ct_seg` is mapped by the straight line that puts its
    healthy lung at ``LUNG_HU`` and its muscle at ``MUSCLE_HU``; the equalisation that it went through is not undone.
    Copies and the synthetic repository (preset ``demo`` of ``patients`` at ``sites`` hospitals) are written below
    ``folder`` once.

    Raises:
        UserError: see ``covid_ct_seg`` and ``synthesize``; a volume without healthy lung.
    """
    real = covid_ct_seg(root)
    anchored = [_anchored(case, Path(folder) / "anchored") for case in track(real, "anchoring", len(real))]
    synthesize(Path(folder) / "synthetic", "demo", seed, patients=patients, sites=sites)
    return _with_synthetic(anchored, Path(folder))


def written_hu_ct(root: str | Path | None, folder: str | Path) -> Cohort:
    """The same, of a ``folder`` that :func:`hu_ct` has written; nothing is written.

    Raises:
        UserError: see ``covid_ct_seg``; a copy is not there.
    """
    anchored = [_read_copy(case, Path(folder) / "anchored") for case in covid_ct_seg(root)]
    return _with_synthetic(anchored, Path(folder))


def _with_synthetic(anchored: list[Case], folder: Path) -> Cohort:
    synthetic = [case for case in repository(folder / "synthetic") if case.ct is not None]
    cases = [*anchored, *synthetic]
    return Cohort(cases, Flow(rows=len(cases), cases=len(cases), unit="scans"))


def _read_copy(case: Case, folder: Path) -> Case:
    """The case with the copy of its scan in HU."""
    assert case.ct is not None
    (path,) = case.ct.files
    if not (copy := folder / path.name).is_file():
        raise UserError(f"{copy} is missing; name the folder that cohort=hu_ct wrote: cohort.folder=DIR")
    return replace(
        case, ct=make_nifti_series(copy, site=case.site, patient=case.case_id, units="hu", spacing_known=False)
    )


def _anchored(case: Case, folder: Path) -> Case:
    """The case with a copy of its scan in HU, written unless it is there."""
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
    """Grey values as int16 HU: healthy lung (median) at ``LUNG_HU``, muscle (median of the body) at ``MUSCLE_HU``.

    Raises UserError where the lung is not the darker of the two, or one of them is not there.
    """
    healthy = grey_xyz[lung_xyz & ~lesion_xyz]
    body = grey_xyz[~lung_xyz & (grey_xyz > BODY_SHARE * grey_xyz.max())]
    if not healthy.size or not body.size or (muscle := float(np.median(body))) <= (lung := float(np.median(healthy))):
        raise UserError("a scan without healthy lung darker than its body cannot be anchored to HU; leave it out")
    slope = (MUSCLE_HU - LUNG_HU) / (muscle - lung)
    return np.rint(LUNG_HU + slope * (grey_xyz - lung)).clip(-1024, 3071).astype(np.int16)
