"""Blocks that are computed twice: the same gradients and names, and larger patches where memory is short."""

from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from kicc_ml.core.errors import UserError
from kicc_ml.core.regions import REGIONS
from kicc_ml.models.checkpointing import compute_once, compute_twice, find_blocks
from kicc_ml.models.networks import build_network
from kicc_ml.models.segmentation import SegmentationTask, one_tensor
from kicc_ml.training.checkpointed_blocks import CheckpointedBlocks

SIZES = {"in_channels": 1, "out_channels": len(REGIONS)}
DYNUNET = {
    "_target_": "monai.networks.nets.DynUNet",
    **{"spatial_dims": 3, "kernel_size": [3] * 4, "strides": [1, 2, 2, 2], "upsample_kernel_size": [2] * 3},
    **{"filters": [4, 8, 8, 8], "res_block": True, "deep_supervision": True, "deep_supr_num": 2, "dropout": 0.2},
}
UNET = {
    "_target_": "monai.networks.nets.UNet",
    **{"spatial_dims": 3, "channels": [4, 8, 8], "strides": [2, 2], "num_res_units": 2, "dropout": 0.2},
}
SEGRESNET = {
    "_target_": "monai.networks.nets.SegResNet",
    **{"spatial_dims": 3, "init_filters": 8, "blocks_down": [1, 2], "blocks_up": [1]},
}


def step(network: nn.Module) -> tuple[Tensor, list[Tensor]]:
    """The output of a training step and the gradient of each weight."""
    network.zero_grad()
    torch.manual_seed(1)
    answer = one_tensor(network.train()(torch.rand(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))))
    answer.square().mean().backward()
    return answer.detach(), [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]


@pytest.mark.parametrize("settings", [DYNUNET, UNET, SEGRESNET], ids=["dynunet", "unet", "segresnet"])
def test_outputs_gradients_and_names_are_the_same_whether_blocks_are_computed_once_or_twice(settings: dict[str, Any]):
    torch.manual_seed(0)
    network = build_network(settings, SIZES)
    names = list(network.state_dict())
    once = step(network)
    runs: list[nn.Module] = []
    convolutions = [[part for part in block.modules() if isinstance(part, nn.Conv3d)] for block in find_blocks(network)]
    inner = max(convolutions, key=len)[0]  # of several: what the last one gives is not needed again
    inner.register_forward_hook(lambda module, *_: runs.append(module))
    compute_twice(blocks := find_blocks(network))
    twice = step(network)
    assert len(runs) == 2
    assert list(network.state_dict()) == names
    torch.testing.assert_close(twice, once)
    compute_once(blocks)
    step(network)
    assert len(runs) == 3


def test_a_network_without_such_blocks_is_refused_with_the_setting_to_leave_out():
    with pytest.raises(UserError, match=r"plan\.checkpointing: Conv3d has no blocks"):
        find_blocks(nn.Conv3d(1, 1, 1))


def test_batch_normalisation_is_not_computed_twice_since_it_would_count_a_batch_twice():
    blocks = find_blocks(build_network(UNET | {"norm": "batch"}, SIZES))
    assert not any(isinstance(part, nn.BatchNorm3d) for block in blocks for part in block.modules())


def fitted(plan: dict[str, Any]) -> tuple[list[bool], list[bool]]:
    """Whether each block is computed twice during a fit, and after it."""
    task = SegmentationTask(build_network(DYNUNET, SIZES), (16, 16, 16), 1e-3, 0.0)
    callback = CheckpointedBlocks(plan)
    trainer: Any = SimpleNamespace()
    blocks = find_blocks(task.network)
    callback.on_fit_start(trainer, task)
    during = ["forward" in vars(block) for block in blocks]
    callback.on_fit_end(trainer, task)
    return during, ["forward" in vars(block) for block in blocks]


@pytest.mark.parametrize(
    ("plan", "twice"), [({"checkpointing": True}, True), ({"checkpointing": False}, False), ({}, False)]
)
def test_blocks_are_computed_twice_during_a_fit_that_asks_for_it_and_not_after(plan: dict[str, Any], twice: bool):
    during, after = fitted(plan)
    assert set(during) == {twice}
    assert not any(after)


def test_another_value_is_refused_and_other_tasks_are_left_alone():
    with pytest.raises(UserError, match=r"plan\.checkpointing=sometimes is none of true, false and planned"):
        CheckpointedBlocks({"checkpointing": "sometimes"})
    trainer: Any = SimpleNamespace()
    CheckpointedBlocks({"checkpointing": True}).on_fit_start(trainer, pl.LightningModule())
