"""A network that tells tissues by their grey value, and a phantom in which it is always right."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from kicc_ml.core.regions import REGIONS
from kicc_ml.data.canonical import CanonicalCT
from kicc_ml.models.segmenter import Segmenter

#: What the phantom below is made of, in HU.
SOFT, RIGHT, LEFT, LESION = 40, -900, -800, -300
WINDOW = (-1024.0, 600.0)


def unit(hu: float) -> float:
    """HU on the scale of the network's input."""
    return (hu - WINDOW[0]) / (WINDOW[1] - WINDOW[0])


class ByValue(nn.Module):
    """Tells tissues by their grey value, sides by the half of the window; ``sure`` is the size of its logits."""

    BANDS: Mapping[str, tuple[float, float]] = {
        **{"lung": (-950, -200), "left_lung": (-950, -200), "right_lung": (-950, -200)},
        **{"lesion": (-400, -200), "consolidation": (-250, -200)},
    }

    def __init__(self, sure: float = 8.0) -> None:
        super().__init__()
        self.sure = sure

    def forward(self, image_bcxyz: Tensor) -> Tensor:
        inside = [(image_bcxyz > unit(low)) & (image_bcxyz < unit(high)) for low, high in map(self.BANDS.get, REGIONS)]
        logits = self.sure * (torch.cat(inside, dim=1).float() * 2 - 1)
        middle = image_bcxyz.shape[2] // 2  # canonical x grows to the patient's left
        logits[:, REGIONS.index("left_lung"), :middle] = -self.sure
        logits[:, REGIONS.index("right_lung"), middle:] = -self.sure
        return logits


def phantom_ras() -> np.ndarray:
    """HU along RAS axes: x grows to the patient's right, z to the head."""
    hu = np.full((24, 16, 12), SOFT, np.int16)
    hu[3:10, 4:12, 2:10] = LEFT
    hu[14:21, 4:12, 2:10] = RIGHT
    hu[4:8, 5:9, 3:6] = LESION  # in the left lung, low
    return hu


def segmenter(*networks: nn.Module, regions: Sequence[str] = REGIONS, units: str = "hu") -> Segmenter:
    """Segments with ``networks``, or with one that is always right."""
    canonical = CanonicalCT(spacing_mm=None, window_hu=WINDOW)
    return Segmenter(networks or (ByValue(),), canonical, (32, 32, 16), regions, units, True, 0.5)  # type: ignore[arg-type]
