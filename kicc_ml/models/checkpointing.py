"""Gradient checkpointing: blocks of a network are computed a second time in the backward pass, and take less memory.

Of a block only what goes in is kept for the backward pass (Chen et al., arXiv 2016, 1604.06174).
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from monai.networks.blocks import Convolution, ResidualUnit, UnetBasicBlock, UnetResBlock, UnetUpBlock
from monai.networks.blocks.segresnet_block import ResBlock
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from kicc_ml.core.errors import UserError

#: Blocks of MONAI's networks, each of several layers.
BLOCKS = (UnetBasicBlock, UnetResBlock, UnetUpBlock, ResBlock, ResidualUnit, Convolution)


def find_blocks(network: nn.Module) -> list[nn.Module]:
    """Find the blocks of a network that can be computed twice: the outermost of ``BLOCKS``.

    A block with batch normalisation cannot: its running statistics would be updated twice.

    Raises:
        UserError: the network has no such block.
    """
    found = list(_iterate_outermost(network))
    if not found:
        raise UserError(
            f"plan.checkpointing: {type(network).__name__} has no blocks that can be computed twice; leave it out"
        )
    return found


def _iterate_outermost(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, BLOCKS) and not any(isinstance(part, _BatchNorm) for part in module.modules()):
        yield module
        return
    for part in module.children():
        yield from _iterate_outermost(part)


def compute_twice(blocks: Sequence[nn.Module]) -> None:
    """Let blocks be computed a second time in the backward pass; names of weights stay as they are.

    Args:
        blocks: parts of a network, none within another.
    """
    for block in blocks:
        block.forward = partial(_run, block.forward)


def compute_once(blocks: Sequence[nn.Module]) -> None:
    """Let blocks be computed as they were before :func:`compute_twice`."""
    for block in blocks:
        vars(block).pop("forward", None)


def _run(forward: Callable[..., Any], *given: Any) -> Any:
    return checkpoint(forward, *given, use_reentrant=False) if torch.is_grad_enabled() else forward(*given)
