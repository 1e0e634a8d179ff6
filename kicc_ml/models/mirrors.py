"""Test-time augmentation: the mean over networks and mirror images of what they are shown."""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn

from kicc_ml.core.boxes import Box
from kicc_ml.core.regions import MIRROR_CHANNELS
from kicc_ml.data.transfer import take_channels
from kicc_ml.models.precision import inference_autocast

MirrorAxes = tuple[int, ...]
#: The original and its left-right mirror image: networks are trained on both.
TTA_LEFT_RIGHT: tuple[MirrorAxes, ...] = ((), (0,))
#: Mirror images along the front-back axis as well, for files that state no geometry.
TTA_LEFT_RIGHT_FRONT_BACK: tuple[MirrorAxes, ...] = (*TTA_LEFT_RIGHT, (1,), (0, 1))


def mean_probability(
    networks: Sequence[nn.Module],
    image_bcxyz: Tensor,
    tta_mirrors: Sequence[MirrorAxes],
    mirror_channels: Sequence[int] = MIRROR_CHANNELS,
    inside: Box | None = None,
) -> Tensor:
    """Compute the mean sigmoid over networks and mirror images; each output is mirrored back, its sides exchanged.

    Args:
        networks: the networks to average over.
        image_bcxyz: the windows.
        tta_mirrors: for each pass of test-time augmentation, the axes (0 = x) to mirror.
        mirror_channels: for each channel, the channel that takes its place in a mirror image.
        inside: the part of each window whose probabilities are asked for; None for all of it.

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
        if inside is not None:
            logits_bcxyz = logits_bcxyz[:, :, *_mirrored_box(inside, logits_bcxyz.shape[2:], mirror_axes)]
        probability = (logits_bcxyz.flip(axes) if axes else logits_bcxyz).float().sigmoid()
        probability = take_channels(probability, mirror_channels) if 0 in mirror_axes else probability
        mean = probability if mean is None else mean.add_(probability)
    assert mean is not None
    return mean.div_(len(networks) * len(tta_mirrors))


def _mirrored_box(box: Box, shape: Sequence[int], mirror_axes: MirrorAxes) -> Box:
    """Find where a part of a window lies in a mirror image of the window."""
    return tuple(
        slice(size - side.stop, size - side.start) if axis in mirror_axes else side
        for axis, (side, size) in enumerate(zip(box, shape, strict=True))
    )
