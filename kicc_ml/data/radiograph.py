"""A frontal radiograph as it hangs: what is marked on it, and whether its file says that it hangs so."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case, DisplayOrientation, Series
from kicc_ml.data.mask_file import Labels, read_flat_mask
from kicc_ml.dicom.header.views import read_display_orientation
from kicc_ml.dicom.series.image_files import RADIOGRAPH_SUFFIXES

#: A piece of lung smaller than this share of the largest is a shred of drawing; the lung behind a large heart is more.
LEAST_PIECE_SHARE = 0.1


def hanging_of(series: Series) -> DisplayOrientation | None:
    """How a radiograph lies; None of a CT."""
    if series.modality != "CXR":
        return None
    return (
        "unstated"
        if series.files[0].name.lower().endswith(RADIOGRAPH_SUFFIXES)
        else read_display_orientation(series.files[0])
    )


def flat_masks(case: Case, shape_xy: Sequence[int]) -> dict[str, np.ndarray]:
    """What is marked on the radiograph of a case, by region: bool ``[x, y]`` on its pixels, whatever affine a file has.

    Where lungs are marked together they are told apart if their mask falls into two pieces.

    Raises:
        UserError: a mask of another size than the radiograph.
    """
    masks = {region: _union(paths, shape_xy, region, case.mask_labels) for region, paths in case.cxr_masks.items()}
    if "lung" in masks and not {"left_lung", "right_lung"} & set(masks):
        masks |= sides(masks["lung"])
    return masks


def sides(lung_xy: np.ndarray) -> Mapping[str, np.ndarray]:
    """``right_lung`` and ``left_lung`` of a mask in two pieces, the right one on the picture's left; else nothing."""
    pieces_xy, count = ndimage.label(lung_xy)
    sizes = np.bincount(pieces_xy.ravel(), minlength=count + 1)[1:]
    whole = 1 + np.flatnonzero(sizes >= LEAST_PIECE_SHARE * sizes.max(initial=0))
    if len(whole) != 2:
        return {}
    middles = [ndimage.center_of_mass(pieces_xy == piece)[0] for piece in whole]
    right, left = whole[np.argsort(middles)]
    return {"right_lung": pieces_xy == right, "left_lung": pieces_xy == left}


def _union(paths: Sequence[Path], shape_xy: Sequence[int], region: str, labels: Labels) -> np.ndarray:
    union_xy = np.zeros(tuple(shape_xy), bool)
    for path in paths:
        mask_xy = read_flat_mask(path, region, labels)
        if mask_xy.shape != union_xy.shape:
            raise UserError(
                f"{path}: a mask of {' x '.join(map(str, mask_xy.shape))} pixels for a radiograph of "
                f"{' x '.join(map(str, shape_xy))}; save it on the pixels of the radiograph"
            )
        union_xy |= mask_xy
    return union_xy
