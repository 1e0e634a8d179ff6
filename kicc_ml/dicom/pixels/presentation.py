"""Convert the stored values of a radiograph to display values, so that vendors look similar to a network.

The rule, in this order:

1. Modality LUT, or rescale slope and intercept (PS3.3 C.11.1).
2. The first VOI LUT, else the first window (PS3.3 C.11.2). A linear window clips values (they are scaled later), a
   sigmoid window is applied as a curve. Both are ignored if they would turn more than :data:`MAX_LOST_SHARE` of the
   middle of the picture black or white: lungs and heart lie there, and some windows belong to another bit depth.
3. MONOCHROME1 is inverted, so that air is dark.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from kicc_ml.dicom.header.stated_tags import suppress_warnings
from kicc_ml.dicom.header.values import read_number, read_numbers, read_text

#: Largest share of the middle that a valid window may clip; in the radiographs used for tests it is below 1 %.
MAX_LOST_SHARE = 0.05
TAGS = (
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
)


@dataclass(frozen=True)
class DisplayedImage:
    """Values ``[row, column]`` as float32 with the bounds of their possible range; high values are bright."""

    values: np.ndarray
    low: float
    high: float

    def invert(self) -> "DisplayedImage":
        """Return the image with bright and dark exchanged."""
        return DisplayedImage(np.float32(self.low + self.high) - self.values, self.low, self.high)


def apply_presentation(path: Path, stored: np.ndarray, stored_range: tuple[int, int], inverted: bool) -> DisplayedImage:
    """Convert stored values to display values by the rule of this module. Missing or invalid steps are skipped.

    Args:
        path: the file, for its tables and windows.
        stored: stored values ``[row, column]``.
        stored_range: lowest and highest value that fit into the stored bits.
        inverted: whether high stored values are dark (MONOCHROME1).
    """
    tags = _read_tags(path)
    picture = DisplayedImage(stored.astype(np.float32), *map(float, stored_range))
    for step in (_apply_modality_lut, _apply_voi_lut):
        picture = step(picture, tags)
    return picture.invert() if inverted else picture


def _read_tags(path: Path) -> Dataset:
    try:
        with suppress_warnings():
            return pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(TAGS))
    except Exception:  # a damaged header raises anything; the picture can be shown without
        return Dataset()


def _apply_modality_lut(picture: DisplayedImage, tags: Dataset) -> DisplayedImage:
    if (table := _make_lut(tags, "ModalityLUTSequence")) is not None:
        return table(picture)
    slope, intercept = read_number(tags, "RescaleSlope"), read_number(tags, "RescaleIntercept")
    if not slope or intercept is None:
        return picture
    ends = sorted((picture.low * slope + intercept, picture.high * slope + intercept))
    return DisplayedImage(picture.values * np.float32(slope) + np.float32(intercept), *ends)


def _apply_voi_lut(picture: DisplayedImage, tags: Dataset) -> DisplayedImage:
    view = _make_lut(tags, "VOILUTSequence") or _make_window(tags)
    if view is None:
        return picture
    seen = view(picture)
    return picture if _loses_the_middle(seen) else seen


def _loses_the_middle(seen: DisplayedImage) -> bool:
    """Whether too much is clipped in the middle half of rows and columns; around it lie collimator and background."""
    rows, columns = (np.linspace(0, count, 5).astype(int)[1::2] for count in seen.values.shape)
    middle = seen.values[slice(*rows), slice(*columns)]
    at_an_end = (middle <= seen.low) | (middle >= seen.high)
    return bool(middle.size and at_an_end.mean() > MAX_LOST_SHARE)


def _make_window(tags: Dataset) -> Callable[[DisplayedImage], DisplayedImage] | None:
    centre, width = (_read_first_number(tags, name) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None or width < 1:
        return None
    if read_text(tags, "VOILUTFunction").upper() == "SIGMOID":
        return lambda picture: DisplayedImage(_apply_sigmoid(picture.values, centre, width), 0.0, 1.0)
    low, high = centre - width / 2, centre + width / 2
    return lambda picture: DisplayedImage(picture.values.clip(low, high), low, high)


def _apply_sigmoid(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    exponent = np.clip(-4 * (values - np.float32(centre)) / np.float32(width), -80, 80)  # float32 holds exp of 80
    return 1 / (1 + np.exp(exponent))


def _read_first_number(tags: Dataset, name: str) -> float | None:
    first = read_text(tags, name).split("\\")[0]
    return (read_numbers({name: first}, name, 1) or (None,))[0]


def _make_lut(tags: Dataset, name: str) -> Callable[[DisplayedImage], DisplayedImage] | None:
    """Make a function that applies the first lookup table (PS3.3 C.11.1.1.1); None if there is no valid one."""
    try:
        (item, *_) = tags.get(name) or [Dataset()]
        count, first, bits = (int(part) for part in item.LUTDescriptor)
        data = item.LUTData
        entries = np.frombuffer(data, "<u2") if isinstance(data, bytes) else np.asarray(data, np.uint16)
    except Exception:  # absent, or of any wrong type
        return None
    entries = entries[: count or 2**16].astype(np.float32)
    if entries.size < 2 or not 8 <= bits <= 16:
        return None

    def looked_up(picture: DisplayedImage) -> DisplayedImage:
        index = np.clip(np.rint(picture.values) - first, 0, entries.size - 1).astype(np.int64)
        return DisplayedImage(entries[index], 0.0, float(2**bits - 1))

    return looked_up
