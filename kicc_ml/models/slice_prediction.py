"""Prediction of a volume slice by slice: each slice is seen whole, with its own neighbours and nothing else.

What is found in a slice therefore depends neither on the part of the volume that is asked for nor on how many slices
are predicted at once, and no slice is predicted twice.
"""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from kicc_ml.core.boxes import Box, measure_box
from kicc_ml.data.transfer import take_channels
from kicc_ml.models.device_memory import place_of_volume, voxels_at_once
from kicc_ml.models.mirrors import MirrorAxes, mean_probability
from kicc_ml.models.precision import device_of

#: A slice with more pixels is seen through windows, so that memory stays bounded.
MOST_SLICE_PIXELS = 1600 * 1600

#: As many voxels of slices are cut out and put back at once on a CPU: voxels of neighbouring slices lie beside one
#: another in memory, so that slice by slice all of it would be passed over again and again. A GPU takes what it holds.
BLOCK_VOXELS = 1_000_000

#: A slice whose first answer stays below this lesion probability everywhere is not looked at in mirror images.
LEAST_LESION = 0.1


@runtime_checkable
class SliceNetwork(Protocol):
    """A network that goes slice by slice, such as :class:`kicc_ml.models.slice_unet.SliceUNet`.

    ``neighbours`` are the slices that it sees on either side of one, ``patch_multiples`` what the sizes of its input
    must be multiples of.
    """

    neighbours: int
    patch_multiples: tuple[int, int, int]

    def segment_inner_slices(self, image_bcxyz: Tensor) -> Tensor:
        """Return logits for the slices that have all their neighbours in the image."""


def go_by_slices(networks: Sequence[nn.Module], shape: Sequence[int]) -> TypeGuard[Sequence[SliceNetwork]]:
    """Tell whether networks segment slices of one kind, and whether slices of a volume are small enough.

    Args:
        networks: the networks.
        shape: the number of voxels of the volume along x, y, z.
    """
    alike = {network.neighbours if isinstance(network, SliceNetwork) else None for network in networks}
    return len(alike) == 1 and None not in alike and shape[0] * shape[1] <= MOST_SLICE_PIXELS


def predict_slices(
    networks: Sequence[SliceNetwork],
    image_cxyz: Tensor,
    channels: Sequence[int],
    tta_mirrors: Sequence[MirrorAxes],
    mirror_channels: Sequence[int],
    within: Box,
    lesion: int | None = None,
) -> Tensor:
    """Predict the regions at ``channels`` in a part of a volume: the mean probability over networks and mirror images.

    Args:
        networks: the networks.
        image_cxyz: the whole canonical image, on any device.
        channels: the channels of the regions.
        tta_mirrors: for each pass of test-time augmentation, the axes (0 = x) along which slices are mirrored.
        mirror_channels: for each channel, the channel of the same region in a mirrored patient.
        within: the part whose probabilities are asked for.
        lesion: the channel that decides which slices are looked at in mirror images too; None for all.

    Returns:
        float16 (channel, x, y, z) of the part: where the networks lie, or on the CPU if it is too large for a GPU.
    """
    middles = [MiddleSlice(network) for network in networks]
    device = device_of(middles[0])
    shape = measure_box(within)
    place = place_of_volume(2 * len(channels) * prod(shape), device)
    result_cxyz = torch.empty(len(channels), *shape, dtype=torch.float16, device=place)
    inside: Box = (within[0], within[1], slice(0, 1))
    image_cxyz = image_cxyz.to(place_of_volume(image_cxyz.nbytes, device))
    for first, image_bcxyz in _stacks(networks[0], image_cxyz, within, device):
        whole_bcxyz = mean_probability(middles, image_bcxyz, tta_mirrors[:1], mirror_channels)
        found_bcxyz = whole_bcxyz[:, :, *inside]
        chosen_b = _needs_mirrors(whole_bcxyz, lesion)
        if len(tta_mirrors) > 1 and chosen_b.any():
            shown_bcxyz = image_bcxyz[chosen_b.to(image_bcxyz.device)]
            others_bcxyz = mean_probability(middles, shown_bcxyz, tta_mirrors[1:], mirror_channels, inside)
            share = 1 - 1 / len(tta_mirrors)
            found_bcxyz[chosen_b] = found_bcxyz[chosen_b].lerp(others_bcxyz, share)
        found_bcxy = take_channels(found_bcxyz, channels)[..., 0]
        result_cxyz[..., first : first + len(found_bcxy)] = found_bcxy.permute(1, 2, 3, 0)
    return result_cxyz


class MiddleSlice(nn.Module):
    """A network that segments the middle slice of each stack, ``bcxyz`` to ``bcxy1``."""

    def __init__(self, network: SliceNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image_bcxyz: Tensor) -> Tensor:
        """Return the logits of the middle slices."""
        return self.network.segment_inner_slices(image_bcxyz)


def _needs_mirrors(first_bcxyz: Tensor, lesion: int | None) -> Tensor:
    """Tell which slices may have a lesion, by the first answer to the whole slice; all if no channel decides."""
    if lesion is None:
        return torch.ones(len(first_bcxyz), dtype=torch.bool, device=first_bcxyz.device)
    return first_bcxyz[:, lesion].amax((1, 2, 3)) >= LEAST_LESION


def slices_at_once(pixels: int, device: torch.device) -> int:
    """Choose how many slices are predicted in one pass.

    Args:
        pixels: the pixels of a slice.
        device: where the networks lie.
    """
    voxels = voxels_at_once(device) if device.type == "cuda" else BLOCK_VOXELS
    return max(1, voxels // pixels)


def _stacks(
    network: SliceNetwork, image_cxyz: Tensor, within: Box, device: torch.device
) -> Iterator[tuple[int, Tensor]]:
    """Cut each slice of a part with its neighbours, as many at once as the device takes; with the first one's place."""
    length, aside = image_cxyz.shape[3], network.neighbours
    short = [-size % step for size, step in zip(image_cxyz.shape[1:3], network.patch_multiples[:2], strict=True)]
    pixels = (image_cxyz.shape[1] + short[0]) * (image_cxyz.shape[2] + short[1])
    count = slices_at_once(pixels, device)
    for first in range(within[2].start, within[2].stop, count):
        middles = range(first, min(first + count, within[2].stop))
        beside = [[min(max(z + step, 0), length - 1) for step in range(-aside, aside + 1)] for z in middles]
        stacks_bcxyz = torch.stack([image_cxyz[..., places] for places in beside])
        yield first - within[2].start, pad(stacks_bcxyz, [0, 0, 0, short[1], 0, short[0]])
