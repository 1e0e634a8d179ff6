"""Sliding-window prediction of a volume: probabilities of windows are blended with Gaussian weights."""

from collections.abc import Iterator, Sequence
from itertools import product
from math import gcd, prod

import torch
from torch import Tensor, nn

from kicc_ml.core.regions import MIRROR_CHANNELS
from kicc_ml.models.precision import fast_autocast

#: The overlap of neighbouring windows as a share of a window; with Gaussian weights, more costs more than it gains.
#: At least two voxels, so that the last slice of a thin window is inside another window.
WINDOW_OVERLAP, LEAST_OVERLAP = 0.25, 2

#: Voxels predicted in one pass: five slices around the lungs in 1 mm voxels, a hundred MiB in the networks built here.
VOXELS_AT_ONCE = 500_000

#: Networks halve the resolution at most this often; window sizes stay divisible as often as the patch size is.
MOST_HALVINGS = 4

#: Weights decrease from the middle of a window; this share of its size is the standard deviation (as in nnU-Net). The
#: lowest weight is per axis, because half precision cannot hold smaller ones. MONAI limits their product instead, which
#: would give all voxels of a thin window the same weight.
WEIGHT_SIGMA, LEAST_WEIGHT = 0.125, 0.03

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

    Windows have the size ``patch_size``, or larger up to ``VOXELS_AT_ONCE`` if that does not change the output of the
    networks. Only the logits of one pass are held in memory.

    Args:
        networks: the networks.
        image_cxyz: the canonical image.
        patch_size: the number of voxels of a training patch along x, y, z.
        channels: the channels of the regions.
        tta_mirrors: for each pass of test-time augmentation, the axes (0 = x) along which the volume is mirrored.
        mirror_channels: for each channel, the channel of the same region in a mirrored patient.

    Returns:
        float16 (channel, x, y, z) from 0 to 1.
    """
    shape = image_cxyz.shape[1:]
    fixed = any(map(depends_on_window, networks))
    window = tuple(map(int, patch_size)) if fixed else window_size(shape, patch_size)
    along_x, along_y, along_z = _weights(shape, window)
    weight_xyz = along_x[:, None, None] * along_y[:, None] * along_z
    total_cxyz = torch.zeros(len(channels), *shape, dtype=torch.float16)  # the largest tensor of all
    every_place, at_once = list(_places(shape, window, not fixed)), max(1, VOXELS_AT_ONCE // prod(window))
    for first in range(0, len(every_place), at_once):
        places = every_place[first : first + at_once]
        image_bcxyz = torch.stack([_cut(image_cxyz, place, window) for place in places])
        probability_bcxyz = (
            mean_probability(networks, image_bcxyz, tta_mirrors, mirror_channels)[:, channels].float().cpu()
        )
        for place, probability_cxyz in zip(places, probability_bcxyz, strict=True):
            inside = tuple(slice(start, start + size) for start, size in zip(place, window, strict=True))
            kept = tuple(slice(0, min(size, n - s)) for s, size, n in zip(place, window, shape, strict=True))
            total_cxyz[:, *inside] += (probability_cxyz * weight_xyz)[:, *kept]
    return _divide_by_weights(total_cxyz, window, every_place)


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
        with fast_autocast(device.type):
            logits_bcxyz = network(image_bcxyz.flip(axes) if axes else image_bcxyz)
        probability = (logits_bcxyz.flip(axes) if axes else logits_bcxyz).float().sigmoid()
        probability = probability[:, mirror_channels] if 0 in mirror_axes else probability
        mean = probability if mean is None else mean.add_(probability)
    assert mean is not None
    return mean.div_(len(networks) * len(tta_mirrors))


def depends_on_window(network: nn.Module) -> bool:
    """Tell whether a network normalises over its whole input, so that it only works on windows of its patch size."""
    kinds = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.GroupNorm, nn.LayerNorm)
    return any(isinstance(module, kinds) for module in network.modules())


def window_size(shape: Sequence[int], patch_size: Sequence[int]) -> tuple[int, ...]:
    """Enlarge the patch along each axis to the whole volume while a window stays below ``VOXELS_AT_ONCE``.

    Along z it grows as far as that allows. A network that was trained on a patch size accepts sizes that are divisible
    by the same powers of two.
    """
    window = [int(size) for size in patch_size]
    for axis, (length, step) in enumerate(zip(shape, strides_divide(patch_size), strict=True)):
        whole = -(-int(length) // step) * step
        room = max(VOXELS_AT_ONCE, prod(window)) * window[axis] // prod(window)
        if whole <= room:
            window[axis] = whole
        elif axis == 2:
            window[axis] = max(window[axis], room // step * step)
    return tuple(window)


def strides_divide(patch_size: Sequence[int]) -> list[int]:
    """Compute, for each axis, a step that is divisible by the strides of a network that takes such patches."""
    return [gcd(int(size), 2**MOST_HALVINGS) for size in patch_size]


def _weights(shape: Sequence[int], window: Sequence[int]) -> list[Tensor]:
    """Compute the weights of a window along each axis; equal weights along an axis that one window covers."""
    along = []
    for length, size in zip(shape, window, strict=True):
        away = (torch.arange(size) - (size - 1) / 2) / (WEIGHT_SIGMA * size)
        along.append(torch.exp(-0.5 * away**2).clamp(min=LEAST_WEIGHT) if size < length else torch.ones(size))
    return along


def _divide_by_weights(total_cxyz: Tensor, window: Sequence[int], places: Sequence[tuple[int, ...]]) -> Tensor:
    """Divide the weighted sum by the weights, in place. Windows form a grid, so this is done axis by axis."""
    shape = total_cxyz.shape[1:]
    for axis, along in enumerate(_weights(shape, window)):
        sums = torch.zeros(max(place[axis] for place in places) + window[axis])
        for start in {place[axis] for place in places}:
            sums[start : start + window[axis]] += along
        total_cxyz /= sums[: shape[axis]].to(total_cxyz.dtype).view(-1, *[1] * (2 - axis))
    return total_cxyz


def _places(shape: Sequence[int], window: Sequence[int], aligned: bool) -> Iterator[tuple[int, ...]]:
    """List the first voxels of windows that cover a volume and overlap by at least ``WINDOW_OVERLAP``.

    With ``aligned``, windows begin at multiples of the network's strides, and the last one extends beyond the volume by
    less than a step: a network with strides gives another result if its input moves by less than a stride.
    """
    steps = strides_divide(window) if aligned else [1, 1, 1]
    return product(*(window_starts(*axis) for axis in zip(shape, window, steps, strict=True)))


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
