"""What a fold's training cases look like, before anything is resampled: the ground of its plan."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kicc_ml.core.errors import UserError
from kicc_ml.core.progress import track
from kicc_ml.core.types import Case, Volume
from kicc_ml.data.canonical import lps_grid
from kicc_ml.data.masks import read_masks
from kicc_ml.dicom.volume.read import read_volume

#: Cases that are read, spread evenly over the fold's own: medians need no more, and each takes about a second.
CASES_READ = 20

#: Grey values kept per case, so that a large scan counts no more than a small one.
VALUES_PER_CASE = 20_000


@dataclass(frozen=True)
class Fingerprint:
    """Medians over the cases that were read, x to the left, y to the back, z to the head.

    ``spacing_mm`` is None where no file states one, and ``foreground_hu`` (percentiles 0.5, 50, 99.5 of the grey values
    in any mask) where none is in HU or none has a mask. ``lesion_voxels`` of the scans that have a lesion mask.
    """

    cases: int
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None
    foreground_hu: tuple[float, ...] | None
    lesion_voxels: float | None
    lesion_free: int


@dataclass(frozen=True)
class _Look:
    shape: tuple[int, ...]
    spacing_mm: np.ndarray | None
    foreground_hu: np.ndarray
    lesion_voxels: int | None


def fingerprint(cases: Sequence[Case]) -> Fingerprint:
    """The fingerprint of the cases handed over, and of no others; a case that cannot be read is passed over.

    Raises UserError where none can be read.
    """
    with_ct = [case for case in cases if case.ct is not None]
    chosen = (
        [with_ct[i] for i in sorted({*np.linspace(0, len(with_ct) - 1, CASES_READ).astype(int)})] if with_ct else []
    )
    looks = [look for case in track(chosen, description="planning") if (look := _look(case)) is not None]
    if not looks:
        raise UserError(f"none of {len(with_ct)} training CTs can be read, so nothing can be planned")
    spacings = [look.spacing_mm for look in looks if look.spacing_mm is not None]
    values = np.concatenate([look.foreground_hu for look in looks])
    lesions = [look.lesion_voxels for look in looks if look.lesion_voxels is not None]
    return Fingerprint(
        cases=len(looks),
        shape=tuple(np.median([look.shape for look in looks], axis=0).astype(int).tolist()),
        spacing_mm=tuple(np.median(spacings, axis=0).tolist()) if spacings else None,
        foreground_hu=tuple(np.percentile(values, (0.5, 50, 99.5)).tolist()) if values.size else None,
        lesion_voxels=float(np.median([count for count in lesions if count])) if any(lesions) else None,
        lesion_free=sum(count == 0 for count in lesions),
    )


def _look(case: Case) -> _Look | None:
    assert case.ct is not None
    try:
        volume = read_volume(case.ct)
        masks = {region: array for region, (array, _) in read_masks(case, volume).items()}
    except (UserError, OSError, ValueError, RuntimeError):
        return None  # the store will say why, once, when it prepares the case
    grid = lps_grid(volume.affine_ras, volume.array.shape)
    spacing_mm = np.linalg.norm(grid.affine_ras[:3, :3], axis=0) if volume.spacing_known else None
    lesion_voxels = int(masks["lesion"].astype(bool).sum()) if "lesion" in masks else None
    return _Look(grid.shape, spacing_mm, _foreground_hu(volume, masks), lesion_voxels)


def _foreground_hu(volume: Volume, masks: dict[str, np.ndarray]) -> np.ndarray:
    """Grey values inside any mask, evenly thinned; empty where they are no HU."""
    if volume.units != "hu" or not masks:
        return np.zeros(0)
    on_grid = [mask.astype(bool) for mask in masks.values() if mask.shape == volume.array.shape]
    values = volume.array[np.logical_or.reduce(on_grid)] if on_grid else np.zeros(0)
    return values[:: max(1, len(values) // VALUES_PER_CASE)].astype(float)
