"""What a network says of itself to whoever plans its training; one that says nothing is tried.

A network of one's own may have

- ``patch_multiples``: what a patch must be a multiple of along x, y and z;
- ``slices_of_patch``: of a network that goes slice by slice, how many slices one answer is made of;
- ``planned_strides``, a static method: the strides (x, y, z) of each level in the form its constructor takes.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import singledispatch
from itertools import product
from math import prod
from typing import Any

import torch
from monai.networks.nets import DynUNet, SegResNet, UNet
from torch import nn

from kicc_ml.core.errors import UserError
from kicc_ml.models.fake_weights import leave_shapes_only

Strides = Sequence[Sequence[int]]

#: What a network is tried with, the least first, and the shortest side of a patch that it is shown.
TRIED_MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
TRIED_VOXELS = 24
#: Largest patch that is really computed, where shapes alone do not tell: seconds on one core.
MAX_REAL_VOXELS = 96**3
#: Samples of a batch with which a patch is tried: batch normalisation refuses one alone.
LEAST_SAMPLES = 2


@singledispatch
def patch_multiples(network: nn.Module) -> tuple[int, int, int]:
    """Find what a patch must be a multiple of along x, y and z.

    Raises:
        UserError: the network does not say, and takes no patch that it is shown.
    """
    said = getattr(network, "patch_multiples", None)
    if said is not None:
        x, y, z = (int(step) for step in said)
        return x, y, z
    return _tried_multiples(network)


@patch_multiples.register
def _(network: UNet) -> tuple[int, int, int]:
    return _product(network.strides)


@patch_multiples.register
def _(network: DynUNet) -> tuple[int, int, int]:
    return _product(network.strides)


@patch_multiples.register
def _(network: SegResNet) -> tuple[int, int, int]:
    step = 2 ** (len(network.blocks_down) - 1)
    return step, step, step


def slices_of_patch(network: nn.Module) -> int | None:
    """Return how many slices a slice-by-slice network sees at once; None for one that goes through volumes."""
    return getattr(network, "slices_of_patch", None)


def planned_strides(network: Any, strides: Strides) -> Any:
    """Strides (x, y, z) from level to level, in the form that a class of networks takes them."""
    own: Callable[[Strides], Any] | None = getattr(network, "planned_strides", None)
    if own is not None:
        return own(strides)
    if isinstance(network, type) and issubclass(network, DynUNet):
        return [[1, 1, 1], *strides]
    return list(strides)


def require_patch(network: nn.Module, patch_size: Sequence[int]) -> None:
    """Refuse patches that a network cannot be trained on, before anything is trained.

    Some take a size when they predict that they refuse in training: their deepest level has one voxel left, which a
    normalisation over voxels makes nothing of.

    Args:
        network: a network that segments; it stays as it is.
        patch_size: the number of voxels along x, y, z.

    Raises:
        UserError: with what the network says.
    """
    try:
        with leave_shapes_only(network) as (without_weights, mode), mode, torch.no_grad():
            without_weights.train()(torch.empty(LEAST_SAMPLES, 1, *patch_size))
    except Exception as error:  # networks of others refuse a size in many ways, or read values
        if (said := _real_fault(network, patch_size)) is None:
            return
        raise UserError(
            f"{type(network).__name__} cannot be trained on patches of data.patch_size={list(patch_size)}: {said}; "
            "give another data.patch_size, or data.patch_size=planned with more plan.memory_gib"
        ) from error


def _real_fault(network: nn.Module, patch_size: Sequence[int]) -> str | None:
    """What a network says against a real patch in training; None where it takes it, or it is too large to try."""
    if prod(patch_size) > MAX_REAL_VOXELS:
        return None
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):  # dropout draws random numbers
            deepcopy(network).train()(torch.zeros(LEAST_SAMPLES, 1, *patch_size))
    except Exception as error:
        return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return None


def _product(strides: Sequence[int | Sequence[int]]) -> tuple[int, int, int]:
    levels = [[level] * 3 if isinstance(level, int) else list(level) for level in strides]
    x, y, z = (prod(level[axis] for level in levels) for axis in range(3))
    return x, y, z


def _tried_multiples(network: nn.Module) -> tuple[int, int, int]:
    """Try the least multiples that the network takes: alike along all axes first, then axis by axis."""
    alike = next((step for step in TRIED_MULTIPLES if not _fault(network, (step, step, step))), None)
    if alike is None:
        said = _fault(network, (TRIED_MULTIPLES[-1],) * 3)
        raise UserError(
            f"{type(network).__name__} gives no logit at every voxel of any patch that it was shown ({said}); a "
            "network of your own takes (batch, in_channels, x, y, z) and gives (batch, out_channels, x, y, z)"
        )
    steps = [alike] * 3
    for axis, step in _smaller(alike):
        if steps[axis] == alike and not _fault(network, [step if one == axis else n for one, n in enumerate(steps)]):
            steps[axis] = step
    return steps[0], steps[1], steps[2]


def _smaller(step: int) -> Iterator[tuple[int, int]]:
    return product(range(3), [one for one in TRIED_MULTIPLES if one < step])


def _fault(network: nn.Module, steps: Sequence[int]) -> str:
    """Why a network does not answer at each voxel of a patch of odd multiples of ``steps``; "" where it does."""
    size = [step * max(3, -(-TRIED_VOXELS // step) | 1) for step in steps]
    try:
        answer = _answer(network, size)
    except Exception as error:  # networks of others refuse a size in many ways
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
    if answer is None:
        return "it gives no tensor"
    return "" if list(answer.shape[2:]) == size else f"of {size} voxels it gives {list(answer.shape[2:])}"


@torch.no_grad()
def _answer(network: nn.Module, size: Sequence[int]) -> torch.Tensor | None:
    try:
        with leave_shapes_only(network) as (without_weights, mode), mode:
            answer = without_weights.eval()(torch.empty(1, 1, *size))
    except Exception:  # the size is wrong, or the network reads values; only a real answer tells which
        if prod(size) > MAX_REAL_VOXELS:
            raise
        was_training = network.training
        answer = network.eval()(torch.zeros(1, 1, *size))
        network.train(was_training)
    return answer if isinstance(answer, torch.Tensor) else None
