"""Estimate of the memory that a training step needs, without allocating it."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from kicc_ml.core.regions import REGIONS
from kicc_ml.models.precision import fast_autocast
from kicc_ml.models.segmentation import training_loss

#: Copies of every weight: itself, its gradient, AdamW's two moments, the moving average, and half a copy in bf16.
WEIGHT_COPIES = 5.5

#: The number of copies of a batch (image and masks, float32) that exist while it is cut, augmented and transferred.
BATCH_COPIES = 3

#: Allocators keep more than is requested: freed blocks whose sizes do not fit the next request.
SLACK = 1.15


def training_bytes(network: nn.Module, batch_size: int, patch_size: Sequence[int]) -> int:
    """Estimate the peak memory in bytes of training ``network``, in addition to what the process and its data hold.

    The step runs on tensors without content. The tensors saved for the backward pass are summed; the gradients of the
    two largest are added, because they exist at the same time at the peak.

    Args:
        network: the network.
        batch_size: the number of patches in a batch.
        patch_size: the number of voxels along x, y, z.
    """
    rehearsed = deepcopy(network).train()
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        _empty(rehearsed, mode)
        image_bcxyz = torch.empty(batch_size, 1, *patch_size)
        mask_bcxyz = torch.empty(batch_size, len(REGIONS), *patch_size)
        known_bc = torch.ones(batch_size, len(REGIONS), dtype=torch.bool)
        weights = {parameter.untyped_storage() for parameter in rehearsed.parameters()}
        kept: dict[torch.UntypedStorage, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage not in weights:
                kept[storage] = storage.nbytes()
            return tensor

        with saved_tensors_hooks(keep, lambda tensor: tensor):
            with fast_autocast("cpu"):
                logits = rehearsed(image_bcxyz)
            training_loss(logits, mask_bcxyz, known_bc)
    parameters = sum(parameter.numel() * 4 for parameter in network.parameters())
    batch = (image_bcxyz.numel() + mask_bcxyz.numel()) * 4
    held = sum(kept.values()) + sum(sorted(kept.values())[-2:])
    return int(SLACK * (held + BATCH_COPIES * batch) + WEIGHT_COPIES * parameters)


def _empty(network: nn.Module, mode: FakeTensorMode) -> None:
    """Replace the weights of a network by tensors that have only shapes."""
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(mode.from_tensor(parameter.detach())))
        for name, buffer in module.named_buffers(recurse=False):
            module.register_buffer(name, mode.from_tensor(buffer))
