"""One picture that stands for a series: the radiograph itself, the middle slice of a CT."""

from functools import cache

import numpy as np
from PIL import Image

from kicc_ml.core.types import Series
from kicc_ml.dicom.pixels.read import read_image
from kicc_ml.dicom.series.image_files import NIFTI_SUFFIXES
from kicc_ml.dicom.volume.read import read_volume

#: Enough to know an image again, too little to see anything on it.
THUMBNAIL_PIXELS = 32


def read_preview(series: Series) -> np.ndarray:
    """Grey values ``[x, y]``; of a CT in DICOM only the middle slice is read, with the values as stored.

    Raises UserError where it cannot be read.
    """
    if series.modality != "CT":
        return read_volume(series).array
    if series.origin or series.files[0].name.lower().endswith(NIFTI_SUFFIXES):
        array_xyz = read_volume(series).array
        return array_xyz[..., array_xyz.shape[2] // 2]
    middle = series.slices // 2
    if series.frames:
        return read_image(series.files[0], series.frames[middle]).stored.T
    return read_image(series.files[middle]).stored.T


@cache
def make_thumbnail(series: Series) -> np.ndarray:
    """The picture as means of ``THUMBNAIL_PIXELS`` x ``THUMBNAIL_PIXELS`` equal parts ``[x, y]``, whatever its shape.

    Raises UserError where it cannot be read.
    """
    picture = Image.fromarray(read_preview(series).T.astype(np.float32))
    return np.asarray(picture.resize((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.BOX)).T
