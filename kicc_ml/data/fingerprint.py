"""Statistics of a fold's training cases before resampling, from which a training is planned."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kicc_ml.core.errors import UserError
from kicc_ml.core.progress import track
from kicc_ml.core.types import Case, Volume
from kicc_ml.data.canonical import lps_grid
from kicc_ml.data.masks import read_masks
from kicc_ml.dicom.volume.read import read_volume

#: The number of cases that are read, evenly chosen: medians need no more, and each case takes about a second.
CASES_READ = 20

#: The number of grey values kept per case, so that a large scan counts no more than a small one.
VALUES_PER_CASE = 20_000


@dataclass(frozen=True)
class Fingerprint:
    """Medians over the cases that were read; axes are x to the left, y to the back, z to the head.

    Attributes:
        cases: the number of cases read.
        shape: the number of voxels along each axis.
        spacing_mm: the voxel size in mm; None if no file states one.
        foreground_hu: percentiles 0.5, 50 and 99.5 of the grey values in any mask; None if no case has HU and a mask.
        lesion_voxels: the number of lesion voxels of the scans that have a lesion; None if none has.
        lesion_free: the number of scans known to have no lesion.
    """

    cases: int
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None
    foreground_hu: tuple[float, ...] | None
    lesion_voxels: float | None
    lesion_free: int


@dataclass(frozen=True)
class _ScanFingerprint:
    shape: tuple[int, ...]
    spacing_mm: np.ndarray | None
    foreground_hu: np.ndarray
    lesion_voxels: int | None


def fingerprint(cases: Sequence[Case]) -> Fingerprint:
    """Compute the fingerprint of exactly these cases; a case that cannot be read is skipped.

    Raises:
        UserError: no case can be read.
    """
    with_ct = [case for case in cases if case.ct is not None]
    chosen = (
        [with_ct[i] for i in sorted({*np.linspace(0, len(with_ct) - 1, CASES_READ).astype(int)})] if with_ct else []
    )
    measured = [_measure_scan(case) for case in track(chosen, description="planning")]
    scans = [scan for scan in measured if isinstance(scan, _ScanFingerprint)]
    if not scans:
        reason = f"; {chosen[0].case_id}: {measured[0]}" if measured else ""
        raise UserError(f"none of {len(with_ct)} training CTs can be read, so nothing can be planned{reason}")
    spacings = [scan.spacing_mm for scan in scans if scan.spacing_mm is not None]
    values = np.concatenate([scan.foreground_hu for scan in scans])
    lesions = [scan.lesion_voxels for scan in scans if scan.lesion_voxels is not None]
    return Fingerprint(
        cases=len(scans),
        shape=tuple(np.median([scan.shape for scan in scans], axis=0).astype(int).tolist()),
        spacing_mm=tuple(np.median(spacings, axis=0).tolist()) if spacings else None,
        foreground_hu=tuple(np.percentile(values, (0.5, 50, 99.5)).tolist()) if values.size else None,
        lesion_voxels=float(np.median([count for count in lesions if count])) if any(lesions) else None,
        lesion_free=sum(count == 0 for count in lesions),
    )


def _measure_scan(case: Case) -> _ScanFingerprint | Exception:
    """Measure a scan; the error where it cannot be read."""
    assert case.ct is not None
    try:
        volume = read_volume(case.ct)
        masks = {region: array for region, (array, _) in read_masks(case, volume).items()}
    except (UserError, OSError, ValueError, RuntimeError) as error:
        return error  # the store reports the reason once, when it prepares the case
    grid = lps_grid(volume.affine_ras, volume.array.shape)
    spacing_mm = np.linalg.norm(grid.affine_ras[:3, :3], axis=0) if volume.spacing_known else None
    lesion_voxels = int(masks["lesion"].astype(bool).sum()) if "lesion" in masks else None
    return _ScanFingerprint(grid.shape, spacing_mm, _foreground_hu(volume, masks), lesion_voxels)


def _foreground_hu(volume: Volume, masks: dict[str, np.ndarray]) -> np.ndarray:
    """Select grey values inside any mask, evenly thinned; empty if they are not HU."""
    if volume.units != "hu" or not masks:
        return np.zeros(0)
    on_grid = [mask.astype(bool) for mask in masks.values() if mask.shape == volume.array.shape]
    values = volume.array[np.logical_or.reduce(on_grid)] if on_grid else np.zeros(0)
    return values[:: max(1, len(values) // VALUES_PER_CASE)].astype(float)
