"""Sliding-window prediction of a volume: probabilities of windows are blended with Gaussian weights."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product, zip_longest
from math import gcd, prod

import torch
from torch import Tensor, nn

from kicc_ml.core.regions import MIRROR_CHANNELS
from kicc_ml.data.transfer import take_channels
from kicc_ml.models.device_memory import PassSize, place_of_volume, voxels_at_once
from kicc_ml.models.precision import inference_autocast
from kicc_ml.models.window_blend import WindowBlend

#: The overlap of neighbouring windows as a share of a window; with Gaussian weights, more costs more than it gains.
#: At least two voxels, so that the last slice of a thin window is inside another window.
WINDOW_OVERLAP, LEAST_OVERLAP = 0.25, 2

#: Networks halve the resolution at most this often; window sizes stay divisible as often as the patch size is.
MOST_HALVINGS = 4

MirrorAxes = tuple[int, ...]
#: The original and its left-right mirror image: networks are trained on both.
TTA_LEFT_RIGHT: tuple[MirrorAxes, ...] = ((), (0,))
#: Mirror images along the front-back axis as well, for files that state no geometry.
TTA_LEFT_RIGHT_FRONT_BACK: tuple[MirrorAxes, ...] = (*TTA_LEFT_RIGHT, (1,), (0, 1))


@torch.inference_mode()
def predict_by_sliding_window(
    networks: Sequence[nn.Module],
    image_cxyz: Tensor,
    patch_size: Sequence[int],
    channels: Sequence[int],
    tta_mirrors: Sequence[MirrorAxes] = ((),),
    mirror_channels: Sequence[int] = MIRROR_CHANNELS,
) -> Tensor:
    """Predict the regions at ``channels``: the mean probability over networks and mirror images.

    Windows have the size ``patch_size``, or larger, as far as the device allows, if that does not change the output of
    the networks. Everything is computed where the networks lie; only the logits of one pass and the sums of one slab of
    windows are held there.

    Args:
        networks: the networks.
        image_cxyz: the canonical image, on any device.
        patch_size: the number of voxels of a training patch along x, y, z.
        channels: the channels of the regions.
        tta_mirrors: for each pass of test-time augmentation, the axes (0 = x) along which the volume is mirrored.
        mirror_channels: for each channel, the channel of the same region in a mirrored patient.

    Returns:
        float16 (channel, x, y, z) from 0 to 1: where the networks lie, or on the CPU if it is too large for a GPU.
    """
    shape = image_cxyz.shape[1:]
    device = next(iter(networks[0].parameters()), image_cxyz).device
    fixed = any(map(depends_on_window, networks))
    window = tuple(map(int, patch_size)) if fixed else window_size(shape, patch_size, voxels_at_once(device))
    image_cxyz = image_cxyz.to(place_of_volume(image_cxyz.nbytes, device))
    blend = WindowBlend(len(channels), shape, window, _starts(shape, window, not fixed), device)
    passes = PassSize(window, device)
    for places, following in _slabs(blend.starts, blend.axis):
        for some in _in_passes(places, passes):
            image_bcxyz = torch.stack([_cut(image_cxyz, place, window) for place in some])
            found_bcxyz = passes.run(partial(mean_probability, networks, image_bcxyz, tta_mirrors, mirror_channels))
            for place, found_cxyz in zip(some, take_channels(found_bcxyz, channels), strict=True):
                blend.add(place, found_cxyz)
        blend.finish_slab(places[0][blend.axis], following)
    return blend.result_cxyz


def mean_probability(
    networks: Sequence[nn.Module],
    image_bcxyz: Tensor,
    tta_mirrors: Sequence[MirrorAxes],
    mirror_channels: Sequence[int] = MIRROR_CHANNELS,
) -> Tensor:
    """Compute the mean sigmoid over networks and mirror images; each output is mirrored back, its sides exchanged.

    Args:
        networks: the networks to average over.
        image_bcxyz: the windows.
        tta_mirrors: for each pass of test-time augmentation, the axes (0 = x) to mirror.
        mirror_channels: for each channel, the channel that takes its place in a mirror image.

    Returns:
        Probabilities ``bcxyz``, 0 to 1.
    """
    device = next(iter(networks[0].parameters()), image_bcxyz).device
    image_bcxyz = image_bcxyz.to(device, torch.float32)
    mean: Tensor | None = None
    for network, mirror_axes in product(networks, tta_mirrors):
        axes = [axis + 2 for axis in mirror_axes]
        with inference_autocast(device.type):
            logits_bcxyz = network(image_bcxyz.flip(axes) if axes else image_bcxyz)
        probability = (logits_bcxyz.flip(axes) if axes else logits_bcxyz).float().sigmoid()
        probability = take_channels(probability, mirror_channels) if 0 in mirror_axes else probability
        mean = probability if mean is None else mean.add_(probability)
    assert mean is not None
    return mean.div_(len(networks) * len(tta_mirrors))


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
