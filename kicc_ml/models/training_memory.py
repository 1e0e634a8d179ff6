"""Estimate of the memory that a training step needs, without allocating it."""

from collections.abc import Sequence
from copy import deepcopy
from math import prod

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from kicc_ml.core.regions import REGIONS
from kicc_ml.models.checkpointing import find_blocks
from kicc_ml.models.fake_weights import leave_shapes_only
from kicc_ml.models.network_facts import patch_multiples
from kicc_ml.models.precision import fast_autocast
from kicc_ml.models.segmentation import masked_dice_cross_entropy, one_tensor, training_loss
from kicc_ml.models.task import Loss

#: Copies of every weight: itself, its gradient, AdamW's two moments, the moving average, and half a copy in bf16.
WEIGHT_COPIES = 5.5

#: The number of copies of a batch (image and masks, float32) that exist while it is cut, augmented and transferred.
BATCH_COPIES = 3

#: Allocators keep more than is requested: freed blocks whose sizes do not fit the next request.
SLACK = 1.15


#: About how many voxels along each axis the patch has on which a network is measured that the estimate cannot run.
MEASURED_VOXELS = 48


def training_bytes(
    network: nn.Module,
    batch_size: int,
    patch_size: Sequence[int],
    loss: Loss | None = None,
    regions: int = len(REGIONS),
    checkpointed: bool = False,
) -> int:
    """Estimate the peak memory in bytes of training ``network``, in addition to what the process and its data hold.

    The step runs on tensors without content. The tensors saved for the backward pass are summed; the gradients of the
    two largest are added, because they exist at the same time at the peak. A network that cannot run on such tensors,
    because it reads their values, is measured on one small patch, and the saved tensors are scaled to the batch.

    Args:
        network: the network.
        batch_size: the number of patches in a batch.
        patch_size: the number of voxels along x, y, z.
        loss: the loss of the training; None for Dice plus cross-entropy.
        regions: the number of regions, one output channel each.
        checkpointed: whether blocks are computed twice (:mod:`kicc_ml.models.checkpointing`).
    """
    loss = loss or masked_dice_cross_entropy
    try:
        kept = _rehearsed(network, batch_size, patch_size, loss, regions, checkpointed)
    except Exception:  # networks of others read values, or cannot be copied, or refuse tensors without content
        kept = _measured(network, batch_size, patch_size, loss, regions, checkpointed)
    parameters = sum(parameter.numel() * 4 for parameter in network.parameters())
    batch = batch_size * prod(patch_size) * (1 + regions) * 4
    held = sum(kept) + sum(sorted(kept)[-2:])
    return int(SLACK * (held + BATCH_COPIES * batch) + WEIGHT_COPIES * parameters)


def _rehearsed(
    network: nn.Module, batch_size: int, patch_size: Sequence[int], loss: Loss, regions: int, checkpointed: bool
) -> list[int]:
    """Compute the size in bytes of each tensor that a step saves, on tensors without content."""
    with leave_shapes_only(network) as (rehearsed, mode), mode:
        return _kept(rehearsed.train(), batch_size, patch_size, loss, regions, checkpointed)


def _measured(
    network: nn.Module, batch_size: int, patch_size: Sequence[int], loss: Loss, regions: int, checkpointed: bool
) -> list[int]:
    """Measure the same in a real step on one small patch, forward and backward, and scale it by voxels."""
    steps = patch_multiples(network)
    small = [min(size, step * max(1, MEASURED_VOXELS // step)) for size, step in zip(patch_size, steps, strict=True)]
    with torch.random.fork_rng(devices=[]):  # dropout draws random numbers
        kept = _kept(deepcopy(network).train(), 1, small, loss, regions, checkpointed, backward=True)
    scale = batch_size * prod(patch_size) / prod(small)
    return [int(size * scale) for size in kept]


def _kept(
    network: nn.Module,
    batch_size: int,
    patch_size: Sequence[int],
    loss: Loss,
    regions: int,
    checkpointed: bool,
    backward: bool = False,
) -> list[int]:
    """Run one training step and return the size in bytes of each tensor that it saves for the backward pass.

    Of blocks that are computed twice, what goes in is saved, and at the peak the inside of the largest one too.
    """
    image_bcxyz = torch.zeros(batch_size, 1, *patch_size)
    mask_bcxyz = torch.zeros(batch_size, regions, *patch_size)
    known_bc = torch.ones(batch_size, regions, dtype=torch.bool)
    weights = {parameter.untyped_storage() for parameter in network.parameters()}
    kept: dict[torch.UntypedStorage, int] = {}
    places = [kept]  # the last is where the tensors that are saved now belong
    insides: list[dict[torch.UntypedStorage, int]] = [{}]

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage not in weights:
            places[-1][storage] = storage.nbytes()
        return tensor

    def enter(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        for tensor in given:
            keep(tensor)
        places.append({})

    for block in find_blocks(network) if checkpointed else []:
        block.register_forward_pre_hook(enter)
        block.register_forward_hook(lambda *_: insides.append(places.pop()))

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        with fast_autocast("cpu"):
            logits = one_tensor(network(image_bcxyz))
        found = training_loss(logits, mask_bcxyz, known_bc, loss)
    if backward:
        found.backward()
    largest = max(insides, key=lambda inside: sum(inside.values()))
    return list((largest | kept).values())
