"""Masks and display orientation of a frontal radiograph."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case, DisplayOrientation, Series
from kicc_ml.data.mask_file import Labels, read_flat_mask
from kicc_ml.dicom.header.views import read_display_orientation
from kicc_ml.dicom.series.image_files import RADIOGRAPH_SUFFIXES

#: A piece smaller than this share of the largest piece of lung is a drawing error; a lung behind a large heart is
#: larger.
LEAST_PIECE_SHARE = 0.1


def hanging_of(series: Series) -> DisplayOrientation | None:
    """Read the display orientation of a radiograph; None for a CT."""
    if series.modality != "CXR":
        return None
    return (
        "unstated"
        if series.files[0].name.lower().endswith(RADIOGRAPH_SUFFIXES)
        else read_display_orientation(series.files[0])
    )


def flat_masks(case: Case, shape_xy: Sequence[int]) -> dict[str, np.ndarray]:
    """Read the masks of a case's radiograph by region: bool ``[x, y]`` on its pixels; affines of the files are ignored.

    A mask of both lungs is divided into sides if it consists of two pieces.

    Raises:
        UserError: a mask has another size than the radiograph.
    """
    masks = {region: _union(paths, shape_xy, region, case.mask_labels) for region, paths in case.cxr_masks.items()}
    if "lung" in masks and not {"left_lung", "right_lung"} & set(masks):
        masks |= divide_lungs(masks["lung"])
    return masks


def divide_lungs(lung_xy: np.ndarray) -> Mapping[str, np.ndarray]:
    """Divide a lung mask of two pieces into ``right_lung`` (left in the picture) and ``left_lung``; else return {}."""
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
