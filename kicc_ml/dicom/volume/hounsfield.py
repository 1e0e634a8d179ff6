"""Convert the stored values of a CT slice to Hounsfield units, in 16 bits if they are integers."""

from pathlib import Path

import numpy as np

from kicc_ml.core.types import HU_CEILING, HU_FLOOR
from kicc_ml.dicom.header.terms import HOUNSFIELD
from kicc_ml.dicom.pixels.read import Image
from kicc_ml.dicom.series.geometry import NotAVolume

#: Maximum slope and intercept; scanners use slopes near 1 and intercepts of some thousands.
MAX_RESCALE = 1e5


class NotWholeError(Exception):
    """Slope or intercept of a slice is not an integer, although the output has integers."""


def write_hounsfield(image: Image, path: Path, out: np.ndarray) -> None:
    """Write the Hounsfield units of a slice, slope x stored + intercept (PS3.3 C.11.1.1.2), into an array.

    Values are clipped, and padding becomes -1024. Nothing is inverted: MONOCHROME1 concerns the display of a CT only.

    Args:
        image: the slice.
        path: its file, for errors.
        out: array ``[row, column]`` to write into, int16 or float32.

    Raises:
        NotAVolume: the values are not HU, or the shapes differ.
        NotWholeError: ``out`` has integers, but the HU are not integers.
    """
    if not image.slope or image.intercept is None:
        raise NotAVolume("no_rescale", f"{path}: no rescale slope and intercept, its values are not HU")
    if image.rescale_type not in HOUNSFIELD or max(abs(image.slope), abs(image.intercept)) > MAX_RESCALE:
        raise NotAVolume("not_hu", f"{path}: rescaled by {image.slope:g} and {image.intercept:g} to values not in HU")
    if image.stored.shape != out.shape:
        raise NotAVolume("split_matrix", f"{path}: {image.stored.shape} pixels where the series has {out.shape}")
    if out.dtype.kind == "i" and not (image.slope.is_integer() and image.intercept.is_integer()):
        raise NotWholeError
    if image.slope == 1 and out.dtype.kind == "i" and _fits_16_bits(image.stored.dtype, image.intercept):
        _write_shifted(image.stored, int(image.intercept), out)
    else:
        np.clip(image.stored * image.slope + image.intercept, HU_FLOOR, HU_CEILING, out=out, casting="unsafe")
    if image.padding and max(image.padding) * image.slope + image.intercept > HU_FLOOR:  # else it is at the floor
        out[find_padding(image)] = HU_FLOOR


def _fits_16_bits(kind: np.dtype, intercept: float) -> bool:
    """Whether 16-bit stored values can give HU within the limits, so that others can be clipped before the addition."""
    limits = np.iinfo(kind)
    return kind.itemsize == 2 and limits.min <= HU_CEILING - intercept and HU_FLOOR - intercept <= limits.max


def _write_shifted(stored: np.ndarray, intercept: int, out: np.ndarray) -> None:
    """Write ``stored + intercept`` in 16-bit arithmetic, after clipping what would exceed the limits of HU."""
    limits = np.iinfo(stored.dtype)
    floor, ceiling = (int(np.clip(end - intercept, limits.min, limits.max)) for end in (HU_FLOOR, HU_CEILING))
    if floor > limits.min:
        stored = np.maximum(stored, stored.dtype.type(floor), out=out.view(stored.dtype))
    if ceiling < limits.max:
        stored = np.minimum(stored, stored.dtype.type(ceiling), out=out.view(stored.dtype))
    np.add(stored.view(np.int16), np.array(intercept).astype(np.int16), out=out)  # sums wrap around into place


def find_padding(image: Image) -> np.ndarray:
    """Return where stored values are padding."""
    low, high = sorted(image.padding or (0, 0))
    return (image.stored >= low) & (image.stored <= high)
