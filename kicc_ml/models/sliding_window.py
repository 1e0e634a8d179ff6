"""Sliding-window prediction of a volume: probabilities of windows are blended with Gaussian weights."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product, zip_longest
from math import gcd, prod

import torch
from torch import Tensor, nn

from kicc_ml.core.boxes import Box, make_whole_box, measure_box
from kicc_ml.core.regions import MIRROR_CHANNELS
from kicc_ml.data.transfer import take_channels
from kicc_ml.models.device_memory import PassSize, place_of_volume, voxels_at_once
from kicc_ml.models.mirrors import MirrorAxes, mean_probability
from kicc_ml.models.slice_prediction import go_by_slices, predict_slices
from kicc_ml.models.window_blend import WindowBlend

#: The overlap of neighbouring windows as a share of a window; with Gaussian weights, more costs more than it gains.
#: At least two voxels, so that the last slice of a thin window is inside another window.
WINDOW_OVERLAP, LEAST_OVERLAP = 0.25, 2

#: Networks halve the resolution at most this often; window sizes stay divisible as often as the patch size is.
MOST_HALVINGS = 4


@torch.inference_mode()
def predict_by_sliding_window(
    networks: Sequence[nn.Module],
    image_cxyz: Tensor,
    patch_size: Sequence[int],
    channels: Sequence[int],
    tta_mirrors: Sequence[MirrorAxes] = ((),),
    mirror_channels: Sequence[int] = MIRROR_CHANNELS,
    within: Box | None = None,
    lesion: int | None = None,
) -> Tensor:
    """Predict the regions at ``channels``: the mean probability over networks and mirror images.

    Windows lie on a grid that begins with the volume, and those that do not meet ``within`` are left out: what is found
    in a part of a volume is what is found there in the whole. Networks that go slice by slice are shown whole slices
    (:func:`predict_slices`). For all others, windows have the size ``patch_size``, or larger, as far as the device
    allows, if that does not change the output of the networks. Everything is computed where the networks lie; only the
    logits of one pass and the sums of one slab of windows are held there.

    Args:
        networks: the networks.
        image_cxyz: the canonical image, on any device.
        patch_size: the number of voxels of a training patch along x, y, z.
        channels: the channels of the regions.
        tta_mirrors: for each pass of test-time augmentation, the axes (0 = x) along which the volume is mirrored.
        mirror_channels: for each channel, the channel of the same region in a mirrored patient.
        within: the part of the volume whose probabilities are asked for; None for the whole.
        lesion: the channel of lesions, if slices without any need no mirror images; None if all are mirrored.

    Returns:
        float16 (channel, x, y, z) from 0 to 1: where the networks lie, or on the CPU if it is too large for a GPU.
    """
    shape = image_cxyz.shape[1:]
    within = within or make_whole_box(shape)
    if go_by_slices(networks, shape):
        return predict_slices(networks, image_cxyz, channels, tta_mirrors, mirror_channels, within, lesion)
    device = next(iter(networks[0].parameters()), image_cxyz).device
    fixed = any(map(depends_on_window, networks))
    window = tuple(map(int, patch_size)) if fixed else window_size(shape, patch_size, voxels_at_once(device))
    starts = _starts_within(_starts(shape, window, not fixed), window, within)
    reached = _reached_box(starts, window, shape)
    image_cxyz = image_cxyz[:, *reached]
    image_cxyz = image_cxyz.to(place_of_volume(image_cxyz.nbytes, device))
    moved = [[start - side.start for start in along] for along, side in zip(starts, reached, strict=True)]
    blend = WindowBlend(len(channels), measure_box(reached), window, moved, device)
    passes = PassSize(window, device)
    for places, following in _slabs(blend.starts, blend.axis):
        for some in _in_passes(places, passes):
            image_bcxyz = torch.stack([_cut(image_cxyz, place, window) for place in some])
            found_bcxyz = passes.run(partial(mean_probability, networks, image_bcxyz, tta_mirrors, mirror_channels))
            for place, found_cxyz in zip(some, take_channels(found_bcxyz, channels), strict=True):
                blend.add(place, found_cxyz)
        blend.finish_slab(places[0][blend.axis], following)
    return blend.result_cxyz[:, *_moved_box(within, reached)]


def depends_on_window(network: nn.Module) -> bool:
    """Tell whether a network normalises over its whole input, so that it only works on windows of its patch size."""
    kinds = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.GroupNorm, nn.LayerNorm)
    return any(isinstance(module, kinds) for module in network.modules())


def window_size(shape: Sequence[int], patch_size: Sequence[int], voxels: int) -> tuple[int, ...]:
    """Enlarge the patch along each axis to the whole volume while a window stays within ``voxels``.

    Along z it grows as far as that allows. A network that was trained on a patch size accepts sizes that are divisible
    by the same powers of two.
    """
    window = [int(size) for size in patch_size]
    for axis, (length, step) in enumerate(zip(shape, strides_divide(patch_size), strict=True)):
        whole = -(-int(length) // step) * step
        room = max(voxels, prod(window)) * window[axis] // prod(window)
        if whole <= room:
            window[axis] = whole
        elif axis == 2:
            window[axis] = max(window[axis], room // step * step)
    return tuple(window)


def strides_divide(patch_size: Sequence[int]) -> list[int]:
    """Compute, for each axis, a step that is divisible by the strides of a network that takes such patches."""
    return [gcd(int(size), 2**MOST_HALVINGS) for size in patch_size]


def _starts(shape: Sequence[int], window: Sequence[int], aligned: bool) -> list[list[int]]:
    """List, for each axis, the first voxels of windows that cover it and overlap by at least ``WINDOW_OVERLAP``.

    With ``aligned``, windows begin at multiples of the network's strides, and the last one extends beyond the volume by
    less than a step: a network with strides gives another result if its input moves by less than a stride.
    """
    steps = strides_divide(window) if aligned else [1, 1, 1]
    return [window_starts(*axis) for axis in zip(shape, window, steps, strict=True)]


def _starts_within(starts: Sequence[Sequence[int]], window: Sequence[int], within: Box) -> list[list[int]]:
    """Leave out, along each axis, the windows that do not meet a part of the volume."""
    return [
        [start for start in along if start < side.stop and start + size > side.start]
        for along, size, side in zip(starts, window, within, strict=True)
    ]


def _reached_box(starts: Sequence[Sequence[int]], window: Sequence[int], shape: Sequence[int]) -> Box:
    """Find the part of the volume that windows cover."""
    return tuple(
        slice(along[0], min(along[-1] + size, int(length)))
        for along, size, length in zip(starts, window, shape, strict=True)
    )


def _moved_box(box: Box, reached: Box) -> Box:
    """Count the voxels of a box from the beginning of another."""
    return tuple(slice(own.start - all_.start, own.stop - all_.start) for own, all_ in zip(box, reached, strict=True))


def _slabs(starts: Sequence[Sequence[int]], axis: int) -> Iterator[tuple[list[tuple[int, ...]], int | None]]:
    """List the windows of each slab along an axis, with the start of the slab that follows."""
    for start, following in zip_longest(starts[axis], starts[axis][1:]):
        within = [[start] if one == axis else firsts for one, firsts in enumerate(starts)]
        yield list(product(*within)), following


def _in_passes(places: Sequence[tuple[int, ...]], passes: PassSize) -> Iterator[Sequence[tuple[int, ...]]]:
    """Divide windows into passes, whose size may change after each."""
    first = 0
    while first < len(places):
        yield (some := places[first : first + passes.windows])
        first += len(some)


def window_starts(length: int, size: int, step: int) -> list[int]:
    """List the first voxels of windows of ``size`` that cover an axis: multiples of ``step``, halved if it is long."""
    while step > max(1, WINDOW_OVERLAP * size):
        step //= 2
    overlap = max(WINDOW_OVERLAP * size, LEAST_OVERLAP)
    stride = max(step, int(size - overlap) // step * step)
    last = -(-max(length - size, 0) // step) * step
    return [*range(0, last, stride), last]


def _cut(image_cxyz: Tensor, place: Sequence[int], window: Sequence[int]) -> Tensor:
    """Cut one window; voxels beyond the end of the volume are air (0)."""
    part = image_cxyz[:, *(slice(start, start + size) for start, size in zip(place, window, strict=True))]
    short = [size - n for size, n in zip(window, part.shape[1:], strict=True)]
    return nn.functional.pad(part, [0, short[2], 0, short[1], 0, short[0]]) if any(short) else part
