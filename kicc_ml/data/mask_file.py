"""Which voxels a mask file marks. A file that does not say so beyond doubt is refused: nothing is guessed.

A mask has two values, 0 and one more (1, 255, ...), up to rounding; NaN marks nothing. A file of several labels is read
where the user states what each label is (setting ``masks.labels``, for example ``{1: lesion, 2: consolidation}``).
Everything else is refused by name: a mask that was interpolated, the image itself, the labels of other organs.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from kicc_ml.core.errors import UserError
from kicc_ml.core.regions import with_parts
from kicc_ml.core.types import Series, Volume
from kicc_ml.dicom.series.image_files import RADIOGRAPH_SUFFIXES, read_nifti, read_radiograph, strip_suffix

Labels = Mapping[int, str]
NO_LABELS: Labels = MappingProxyType({})

#: A mask, bool ``[x, y, z]`` (of a flat radiograph ``[x, y]``), and its affine_ras (4 x 4).
PlacedMask = tuple[np.ndarray, np.ndarray]

#: How names of masks in DICOM end.
DICOM_SUFFIX = ".dcm"

#: Share of the largest value by which two values may differ and be one: masks of floats carry rounding.
ROUNDING = 1e-3
#: How many of the values of a refused file the error names.
NAMED_VALUES = 5


def read_mask(path: Path, region: str = "", labels: Labels = NO_LABELS) -> tuple[np.ndarray, np.ndarray]:
    """Read the mask of a region.

    Args:
        path: a NIfTI file.
        region: what the mask is of; a file of that name may have any two values.
        labels: what each value of a file of several labels stands for.

    Returns:
        bool ``[x, y, z]`` and the RAS affine (4 x 4).

    Raises:
        UserError: the file cannot be read, or does not say which voxels are marked.
    """
    array_xyz, affine_ras = read_nifti(path)
    return marked(array_xyz, path, region, labels), affine_ras


def read_placed_masks(
    files: Mapping[str, Path], labels: Mapping[str, Labels], series: Series | None, volume: Volume
) -> dict[str, PlacedMask]:
    """Read mask files of a CT by region: NIfTI, DICOM Segmentation or RT Structure Set.

    Args:
        files: a file for each region; one may hold several.
        labels: for each region what the values (segments, structures) of its file stand for, where that was stated.
        series: the CT, by which masks in DICOM are known to be its own.
        volume: what was read from it.

    Raises:
        UserError: a file cannot be read, or holds no such region.
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

    assert series is not None  # whoever has masks in DICOM has the CT that they were drawn on
    return read_drawn_masks(path, labels, series, volume)


def read_flat_mask(path: Path, region: str = "", labels: Labels = NO_LABELS) -> np.ndarray:
    """Read the mask of a radiograph, bool ``[x, y]``, from NIfTI, PNG or JPEG; raises as :func:`read_mask`."""
    if path.name.lower().endswith(RADIOGRAPH_SUFFIXES):
        return marked(read_radiograph(path), path, region, labels)
    mask_xyz, _ = read_mask(path, region, labels)
    return mask_xyz[..., 0] if mask_xyz.shape[2] == 1 else mask_xyz


def marked(values: np.ndarray, path: Path, region: str = "", labels: Labels = NO_LABELS) -> np.ndarray:
    """Where ``values``, of any shape, mark ``region``, as bool; see the module for what is refused."""
    values = np.nan_to_num(values) if values.dtype.kind == "f" else values
    two = _two_values(values)
    if two is not None and (not labels or strip_suffix(path) == region):
        return two
    if labels:
        return _labelled(values, path, region, labels)
    raise UserError(
        f"the mask {path.name} holds {_in_words(values)}, where a mask has two values, 0 and 1; cut an interpolated "
        "mask at one half, save one region in each file, or state what its labels are: "
        "masks.labels={1: lesion, 2: consolidation}"
    )


def _two_values(values: np.ndarray) -> np.ndarray | None:
    """Where the higher of two values is; None where there are others, or none that is 0."""
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
            f"{', '.join(map(str, sorted(labels)))} only; state what the others are, or leave them out of the file"
        )
    return np.isin(whole, [value for value, name in labels.items() if name in with_parts(region)])


def _in_words(values: np.ndarray) -> str:
    distinct = np.unique(values)
    named = ", ".join(f"{value:g}" for value in distinct[:NAMED_VALUES])
    return f"{len(distinct)} value{'s' * (len(distinct) != 1)} ({named}{', ...' * (len(distinct) > NAMED_VALUES)})"
