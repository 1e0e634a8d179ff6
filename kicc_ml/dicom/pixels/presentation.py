"""A radiograph's stored values as its maker wants them shown, so that vendors look alike to a network.

The rule, in this order:

1. Modality LUT, or rescale slope and intercept (PS3.3 C.11.1).
2. The first VOI LUT; else the first window: a linear one cuts off what lies outside it (the stretching between
   its ends is left to whoever scales the picture), a sigmoid one is applied as a curve (PS3.3 C.11.2).
   Neither is believed where it would lose more than :data:`LOST_SHARE` of the middle of the picture to black
   or white: lungs and heart lie there, and windows are left over from another bit depth often enough.
3. MONOCHROME1 is turned over, so that air is dark.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from kicc_ml.dicom.header.stated_tags import quietly
from kicc_ml.dicom.header.values import number, numbers, text

#: A sound window takes little but bone markers and air from the middle: in the radiographs at hand under 1 %.
LOST_SHARE = 0.05
TAGS = (
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
)


@dataclass(frozen=True)
class Shown:
    """Values ``[row, column]`` as float32 with the ends of the range they can take, high values bright."""

    values: np.ndarray
    low: float
    high: float

    def turned_over(self) -> "Shown":
        return Shown(np.float32(self.low + self.high) - self.values, self.low, self.high)


def shown(path: Path, stored: np.ndarray, stored_range: tuple[int, int], inverted: bool) -> Shown:
    """Apply the rule above to ``stored`` of ``path``; what is absent, or no sound table or window, is left out."""
    tags = _tags(path)
    picture = Shown(stored.astype(np.float32), *map(float, stored_range))
    for step in (_in_modality_units, _in_voi):
        picture = step(picture, tags)
    return picture.turned_over() if inverted else picture


def _tags(path: Path) -> Dataset:
    try:
        with quietly():
            return pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(TAGS))
    except Exception:  # a damaged header raises anything; the picture can be shown without
        return Dataset()


def _in_modality_units(picture: Shown, tags: Dataset) -> Shown:
    if (table := _table(tags, "ModalityLUTSequence")) is not None:
        return table(picture)
    slope, intercept = number(tags, "RescaleSlope"), number(tags, "RescaleIntercept")
    if not slope or intercept is None:
        return picture
    ends = sorted((picture.low * slope + intercept, picture.high * slope + intercept))
    return Shown(picture.values * np.float32(slope) + np.float32(intercept), *ends)


def _in_voi(picture: Shown, tags: Dataset) -> Shown:
    view = _table(tags, "VOILUTSequence") or _window(tags)
    if view is None:
        return picture
    seen = view(picture)
    return picture if _loses_the_middle(seen) else seen


def _loses_the_middle(seen: Shown) -> bool:
    """Of the middle half of rows and columns; collimator and bare background lie around it and may be cut off."""
    rows, columns = (np.linspace(0, count, 5).astype(int)[1::2] for count in seen.values.shape)
    middle = seen.values[slice(*rows), slice(*columns)]
    at_an_end = (middle <= seen.low) | (middle >= seen.high)
    return bool(middle.size and at_an_end.mean() > LOST_SHARE)


def _window(tags: Dataset) -> Callable[[Shown], Shown] | None:
    centre, width = (_first_number(tags, name) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None or width < 1:
        return None
    if text(tags, "VOILUTFunction").upper() == "SIGMOID":
        return lambda picture: Shown(_sigmoid(picture.values, centre, width), 0.0, 1.0)
    low, high = centre - width / 2, centre + width / 2
    return lambda picture: Shown(picture.values.clip(low, high), low, high)


def _sigmoid(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    exponent = np.clip(-4 * (values - np.float32(centre)) / np.float32(width), -80, 80)  # float32 holds exp of 80
    return 1 / (1 + np.exp(exponent))


def _first_number(tags: Dataset, name: str) -> float | None:
    first = text(tags, name).split("\\")[0]
    return (numbers({name: first}, name, 1) or (None,))[0]


def _table(tags: Dataset, name: str) -> Callable[[Shown], Shown] | None:
    """The first table of a sequence of them (PS3.3 C.11.1.1.1); None where there is no sound one."""
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

    def looked_up(picture: Shown) -> Shown:
        index = np.clip(np.rint(picture.values) - first, 0, entries.size - 1).astype(np.int64)
        return Shown(entries[index], 0.0, float(2**bits - 1))

    return looked_up
