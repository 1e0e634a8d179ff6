"""Reading of mask files; a file that does not state beyond doubt which voxels it marks is refused.

A mask has two values, 0 and one other (1, 255, ...), except for rounding; NaN marks nothing. A file with several labels
is read if the user states the meaning of each (setting ``masks.labels``, for example
``{1: lesion, 2: consolidation}``). Everything else is refused with a description: an interpolated mask, the image
itself, labels of other organs.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from kicc_ml.core.errors import UserError
from kicc_ml.core.help_pages import MASKS
from kicc_ml.core.regions import with_parts
from kicc_ml.core.types import Series, Volume
from kicc_ml.dicom.series.image_files import RADIOGRAPH_SUFFIXES, read_radiograph, strip_suffix
from kicc_ml.dicom.series.nifti_file import read_nifti

Labels = Mapping[int, str]
NO_LABELS: Labels = MappingProxyType({})

#: A mask, bool ``[x, y, z]`` (``[x, y]`` of a flat radiograph), and its affine_ras (4 x 4).
PlacedMask = tuple[np.ndarray, np.ndarray]

#: The suffix of masks in DICOM.
DICOM_SUFFIX = ".dcm"

#: Two values that differ by less than this share of the largest value count as equal: float masks have rounding errors.
ROUNDING = 1e-3
#: The number of values that the error message of a refused file shows.
NAMED_VALUES = 5


def read_mask(path: Path, region: str = "", labels: Labels = NO_LABELS) -> tuple[np.ndarray, np.ndarray]:
    """Read the mask of a region.

    Args:
        path: a NIfTI file.
        region: the region of the mask. A file with this name may have any two values.
        labels: the meaning of each value in a file with several labels.

    Returns:
        bool ``[x, y, z]`` and the RAS affine (4 x 4).

    Raises:
        UserError: the file cannot be read, or does not state which voxels are marked.
    """
    array_xyz, affine_ras = read_nifti(path)
    return find_marked_voxels(array_xyz, path, region, labels), affine_ras


def read_placed_masks(
    files: Mapping[str, Path], labels: Mapping[str, Labels], series: Series | None, volume: Volume
) -> dict[str, PlacedMask]:
    """Read mask files of a CT by region: NIfTI, DICOM Segmentation or RT Structure Set.

    Args:
        files: the file of each region; one file may hold several regions.
        labels: for each region, the stated meaning of the values (segments, structures) of its file.
        series: the CT, to check that masks in DICOM belong to it.
        volume: the volume read from the CT.

    Raises:
        UserError: a file cannot be read, or lacks the region.
    """
    in_dicom = {path: region for region, path in files.items() if path.suffix.lower() == DICOM_SUFFIX}
    drawn = {
        path: _read_drawn(path, labels.get(region, NO_LABELS), series, volume) for path, region in in_dicom.items()
    }
    masks: dict[str, PlacedMask] = {}
    for region, path in files.items():
        if path not in drawn:
            masks[region] = read_mask(path, region, labels.get(region, NO_LABELS))
        elif region in drawn[path]:
            masks[region] = (drawn[path][region], volume.affine_ras)
        else:
            raise UserError(f"{path}: has no segment or structure {region.replace('_', ' ')}")
    return masks


def _read_drawn(path: Path, labels: Labels, series: Series | None, volume: Volume) -> dict[str, np.ndarray]:
    from kicc_ml.dicom.results.drawn_masks import read_drawn_masks  # highdicom takes a second to import

    assert series is not None  # a case with masks in DICOM has the CT on which they were drawn
    return read_drawn_masks(path, labels, series, volume)


def read_flat_mask(path: Path, region: str = "", labels: Labels = NO_LABELS) -> np.ndarray:
    """Read the mask of a radiograph, bool ``[x, y]``, from NIfTI, PNG or JPEG. Raises as :func:`read_mask`."""
    if path.name.lower().endswith(RADIOGRAPH_SUFFIXES):
        return find_marked_voxels(read_radiograph(path), path, region, labels)
    mask_xyz, _ = read_mask(path, region, labels)
    return mask_xyz[..., 0] if mask_xyz.shape[2] == 1 else mask_xyz


def find_marked_voxels(values: np.ndarray, path: Path, region: str = "", labels: Labels = NO_LABELS) -> np.ndarray:
    """Find where ``values``, of any shape, mark ``region``, as bool; the module says which values are refused.

    Args:
        values: the values of the file.
        path: the file, for error messages.
        region: the region to find.
        labels: the region that each value means; empty for a file of two values.
    """
    values = np.nan_to_num(values) if values.dtype.kind == "f" else values
    two = _two_values(values)
    if two is not None and (not labels or strip_suffix(path) == region):
        return two
    if labels:
        return _labelled(values, path, region, labels)
    raise UserError(
        f"the mask {path.name} holds {_in_words(values)}, where a mask has two values, 0 and 1; cut an interpolated "
        "mask at one half, save one region in each file, or state what its labels are: "
        "masks.labels={1: lesion, 2: consolidation}",
        page=MASKS,
    )


def _two_values(values: np.ndarray) -> np.ndarray | None:
    """Find where the higher of two values is; None if there are other values, or no 0."""
    top = float(values.max(initial=0))
    tolerance = ROUNDING * top
    inside = values >= top - tolerance if top > 0 else np.zeros(values.shape, bool)
    outside = np.abs(values) <= tolerance
    whole = bool((inside | outside).all())
    return inside if whole and bool(outside.any()) else None


def _labelled(values: np.ndarray, path: Path, region: str, labels: Labels) -> np.ndarray:
    whole = np.rint(values)
    found = {int(value) for value in np.unique(whole)} - {0}
    if not np.allclose(values, whole, atol=ROUNDING) or found - set(labels):
        raise UserError(
            f"the mask {path.name} holds {_in_words(values)}, of which masks.labels explains "
            f"{', '.join(map(str, sorted(labels)))} only; state what the others are, or leave them out of the file",
            page=MASKS,
        )
    return np.isin(whole, [value for value, name in labels.items() if name in with_parts(region)])


def _in_words(values: np.ndarray) -> str:
    distinct = np.unique(values)
    named = ", ".join(f"{value:g}" for value in distinct[:NAMED_VALUES])
    return f"{len(distinct)} value{'s' * (len(distinct) != 1)} ({named}{', ...' * (len(distinct) > NAMED_VALUES)})"
