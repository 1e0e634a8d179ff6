"""Masks of all regions in one byte per voxel: bit ``c`` belongs to region ``c`` of the task.

They take a fifth of the memory of one channel per region, on disk, between processes and in the augmentation.
"""

from collections.abc import Sequence

import numpy as np
import torch

from kicc_ml.core.regions import MIRROR_CHANNELS, REGIONS
from kicc_ml.data.transfer import send


def pack(mask_cxyz: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Pack 0/1 masks, in the order of the task's regions, into uint8 ``bits_xyz``."""
    bits_xyz = np.zeros(mask_cxyz[0].shape, np.uint8)
    for channel, mask_xyz in enumerate(mask_cxyz):
        bits_xyz |= (mask_xyz > 0).astype(np.uint8) << channel
    return bits_xyz


def unpack(bits_bxyz: torch.Tensor, channels: int = len(REGIONS)) -> torch.Tensor:
    """Unpack bits to float32 0/1 ``mask_bcxyz`` (``bcxy`` from ``bxy``), one channel per bit, on the same device."""
    shape = (len(bits_bxyz), channels, *bits_bxyz.shape[1:])
    mask_bcxyz = torch.empty(shape, device=bits_bxyz.device)
    for channel in range(channels):
        torch.ne(bits_bxyz & (1 << channel), 0, out=mask_bcxyz[:, channel])
    return mask_bcxyz


def unpack_array(bits_xyz: np.ndarray, channels: int = len(REGIONS)) -> np.ndarray:
    """Unpack bits to uint8 0/1 ``mask_cxyz``, one channel per bit."""
    return np.stack([(bits_xyz >> channel) & 1 for channel in range(channels)])


def exchange_sides(bits_bxyz: torch.Tensor, mirror_channels: Sequence[int] = MIRROR_CHANNELS) -> torch.Tensor:
    """Exchange the bits of left and right regions (of the chest, the lungs); other regions stay."""
    exchanged = [
        _pack_bits([(bits >> channel) & 1 for channel in mirror_channels]) for bits in range(1 << len(mirror_channels))
    ]
    table = send(torch.tensor(exchanged, dtype=torch.uint8), bits_bxyz.device)
    return table.index_select(0, bits_bxyz.reshape(-1).int()).view_as(bits_bxyz)


def _pack_bits(known_c: list[int]) -> int:
    return sum(known << channel for channel, known in enumerate(known_c))
