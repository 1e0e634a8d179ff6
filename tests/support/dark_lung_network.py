"""A network for radiographs that takes for lung what is dark, in which half of the height is opaque."""

import torch
from torch import Tensor, nn

from kicc_ml.data.canonical import CanonicalCXR
from kicc_ml.models.segmenter import Segmenter

SIZE, EDGE = 80, 12
LEARNT = ("lung", "left_lung", "right_lung", "lesion")


class DarkIsLung(nn.Module):
    """Takes for lung what is darker than the middle of the scale, away from the edge; the lower half is opaque."""

    def forward(self, image_bcxyz: Tensor) -> Tensor:
        x, y = (torch.arange(size) for size in image_bcxyz.shape[2:4])
        inside = ((x > EDGE) & (x < len(x) - EDGE))[:, None] & ((y > EDGE) & (y < len(y) - EDGE))
        lung = (image_bcxyz < 0.5) & inside[..., None]
        left = (x >= len(x) // 2)[:, None, None]
        opaque = (y > len(y) // 2)[:, None]
        return 8 * (torch.cat([lung, lung & left, lung & ~left, lung & opaque, lung & ~lung], dim=1).float() * 2 - 1)


def dark_lung_segmenter() -> Segmenter:
    """Segments radiographs by :class:`DarkIsLung`."""
    return Segmenter((DarkIsLung(),), CanonicalCXR(SIZE), (SIZE, SIZE, 1), LEARNT, "arbitrary", False, 0.5)
