"""A volume through networks, window by window: probabilities blended by Gaussian weights."""

from collections.abc import Iterator, Sequence
from itertools import product
from math import gcd, prod

import torch
from torch import Tensor, nn

from kicc_ml.core.regions import MIRROR_CHANNELS
from kicc_ml.models.precision import fast_autocast

#: Share of a window by which neighbours overlap; with Gaussian weights, more of it costs more than it gains. Of thin
#: windows at least two voxels, so that what is the last slice of one lies within another.
WINDOW_OVERLAP, LEAST_OVERLAP = 0.25, 2

#: Voxels looked at in one pass: five slices about the lungs in 1 mm voxels, a hundred MiB in the networks built here.
VOXELS_AT_ONCE = 500_000

#: Windows keep sizes that a network can halve as often as its patch; none halves more often than this.
MOST_HALVINGS = 4

#: Weights fall off from the middle of a window with this share of its size as standard deviation (as in nnU-Net), no
#: lower than this along each axis: half precision could not hold less. A floor on their product, as MONAI has it, would
#: weigh all windows alike wherever they are thin.
WEIGHT_SIGMA, LEAST_WEIGHT = 0.125, 0.03

Look = tuple[int, ...]
#: As it lies, and left and right exchanged: networks are trained on both.
TWO_LOOKS: tuple[Look, ...] = ((), (0,))
#: Front and back as well, for files that state no geometry.
FOUR_LOOKS: tuple[Look, ...] = (*TWO_LOOKS, (1,), (0, 1))


@torch.inference_mode()
def blended_probabilities(
    networks: Sequence[nn.Module],
    image_cxyz: Tensor,
    patch_size: Sequence[int],
    channels: Sequence[int],
    looks: Sequence[Look] = ((),),
) -> Tensor:
    """Mean probability over networks and looks of the regions at ``channels``: float16 (channel, x, y, z) in 0..1.

    A look is the axes (0 = x) along which the volume is mirrored first. The volume is seen through windows of
    ``patch_size``; larger ones, as ``VOXELS_AT_ONCE`` allows, where that does not change what a network says. Only the
    logits of one pass are held.
    """
    shape = image_cxyz.shape[1:]
    fixed = any(map(depends_on_window, networks))
    window = tuple(map(int, patch_size)) if fixed else window_size(shape, patch_size)
    along_x, along_y, along_z = _weights(shape, window)
    weight_xyz = along_x[:, None, None] * along_y[:, None] * along_z
    total_cxyz = torch.zeros(len(channels), *shape, dtype=torch.float16)  # the largest thing there is
    every_place, at_once = list(_places(shape, window, not fixed)), max(1, VOXELS_AT_ONCE // prod(window))
    for first in range(0, len(every_place), at_once):
        places = every_place[first : first + at_once]
        image_bcxyz = torch.stack([_cut(image_cxyz, place, window) for place in places])
        probability_bcxyz = mean_probability(networks, image_bcxyz, looks)[:, channels].float().cpu()
        for place, probability_cxyz in zip(places, probability_bcxyz, strict=True):
            inside = tuple(slice(start, start + size) for start, size in zip(place, window, strict=True))
            kept = tuple(slice(0, min(size, n - s)) for s, size, n in zip(place, window, shape, strict=True))
            total_cxyz[:, *inside] += (probability_cxyz * weight_xyz)[:, *kept]
    return _divide_by_weights(total_cxyz, window, every_place)


def mean_probability(networks: Sequence[nn.Module], image_bcxyz: Tensor, looks: Sequence[Look]) -> Tensor:
    """Mean of the sigmoid over networks and looks, each mirrored back with its sides exchanged, one at a time."""
    device = next(iter(networks[0].parameters()), image_bcxyz).device
    image_bcxyz = image_bcxyz.to(device, torch.float32)
    mean: Tensor | None = None
    for network, look in product(networks, looks):
        axes = [axis + 2 for axis in look]
        with fast_autocast(device.type):
            logits_bcxyz = network(image_bcxyz.flip(axes) if axes else image_bcxyz)
        probability = (logits_bcxyz.flip(axes) if axes else logits_bcxyz).float().sigmoid()
        probability = probability[:, MIRROR_CHANNELS] if 0 in look else probability
        mean = probability if mean is None else mean.add_(probability)
    assert mean is not None
    return mean.div_(len(networks) * len(looks))


def depends_on_window(network: nn.Module) -> bool:
    """Whether a network normalises by all that it is shown, so that it knows windows of its patch size alone."""
    kinds = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.GroupNorm, nn.LayerNorm)
    return any(isinstance(module, kinds) for module in network.modules())


def window_size(shape: Sequence[int], patch_size: Sequence[int]) -> tuple[int, ...]:
    """The patch, grown along each axis to the whole volume while a window stays below ``VOXELS_AT_ONCE``.

    Along z it grows as far as that allows. A network that was trained on a size can take any multiple of the powers of
    two in it.
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
    """Along each axis, steps that the strides of a network which takes such patches divide."""
    return [gcd(int(size), 2**MOST_HALVINGS) for size in patch_size]


def _weights(shape: Sequence[int], window: Sequence[int]) -> list[Tensor]:
    """How much the voxels of a window count along each axis; alike along an axis that one window covers."""
    along = []
    for length, size in zip(shape, window, strict=True):
        away = (torch.arange(size) - (size - 1) / 2) / (WEIGHT_SIGMA * size)
        along.append(torch.exp(-0.5 * away**2).clamp(min=LEAST_WEIGHT) if size < length else torch.ones(size))
    return along


def _divide_by_weights(total_cxyz: Tensor, window: Sequence[int], places: Sequence[tuple[int, ...]]) -> Tensor:
    """The weighted mean from the weighted sum, in place. Windows stand in rows, so weights divide axis by axis."""
    shape = total_cxyz.shape[1:]
    for axis, along in enumerate(_weights(shape, window)):
        sums = torch.zeros(max(place[axis] for place in places) + window[axis])
        for start in {place[axis] for place in places}:
            sums[start : start + window[axis]] += along
        total_cxyz /= sums[: shape[axis]].to(total_cxyz.dtype).view(-1, *[1] * (2 - axis))
    return total_cxyz


def _places(shape: Sequence[int], window: Sequence[int], aligned: bool) -> Iterator[tuple[int, ...]]:
    """First voxels of windows that cover a volume, overlapping by at least ``WINDOW_OVERLAP``.

    ``aligned`` begins them in steps that strides divide, the last one reaching beyond the volume by less than a step: a
    network with strides answers otherwise when what it sees is moved by less.
    """
    steps = strides_divide(window) if aligned else [1, 1, 1]
    return product(*(window_starts(*axis) for axis in zip(shape, window, steps, strict=True)))


def window_starts(length: int, size: int, step: int) -> list[int]:
    """First voxels of the windows of ``size`` that cover an axis: multiples of ``step``, halved where it is long."""
    while step > max(1, WINDOW_OVERLAP * size):
        step //= 2
    overlap = max(WINDOW_OVERLAP * size, LEAST_OVERLAP)
    stride = max(step, int(size - overlap) // step * step)
    last = -(-max(length - size, 0) // step) * step
    return [*range(0, last, stride), last]


def _cut(image_cxyz: Tensor, place: Sequence[int], window: Sequence[int]) -> Tensor:
    """One window; beyond the end of a smaller volume is air (0)."""
    part = image_cxyz[:, *(slice(start, start + size) for start, size in zip(place, window, strict=True))]
    short = [size - n for size, n in zip(window, part.shape[1:], strict=True)]
    return nn.functional.pad(part, [0, short[2], 0, short[1], 0, short[0]]) if any(short) else part
