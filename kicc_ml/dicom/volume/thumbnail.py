"""Make a small picture of a series: of a radiograph itself, of a CT its middle slice."""

from functools import cache

import numpy as np
from PIL import Image

from kicc_ml.core.types import Series
from kicc_ml.dicom.pixels.read import read_image
from kicc_ml.dicom.series.image_files import NIFTI_SUFFIXES
from kicc_ml.dicom.volume.read import read_volume

#: Side of a thumbnail: enough to recognise the same image, too little to see details.
THUMBNAIL_PIXELS = 32


def read_preview(series: Series) -> np.ndarray:
    """Read the grey values ``[x, y]`` of a radiograph or of the middle slice of a CT.

    Of a DICOM CT only the middle slice is read, with its values as stored.

    Raises:
        UserError: the image cannot be read.
    """
    if series.modality != "CT" or series.origin or series.files[0].name.lower().endswith(NIFTI_SUFFIXES):
        array_xyz = read_volume(series).array
        return array_xyz[..., array_xyz.shape[2] // 2]
    middle = series.slices // 2
    if series.frames:
        return read_image(series.files[0], series.frames[middle]).stored.T
    return read_image(series.files[middle]).stored.T


@cache
def make_thumbnail(series: Series) -> np.ndarray:
    """Make a thumbnail ``[x, y]`` of a series: means of ``THUMBNAIL_PIXELS`` x ``THUMBNAIL_PIXELS`` equal parts.

    Raises UserError where it cannot be read.
    """
    picture = Image.fromarray(read_preview(series).T.astype(np.float32))
    return np.asarray(picture.resize((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.BOX)).T
