"""A training step queues its work on a GPU and goes on: nothing in augmentation, loss or step waits for the device."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kicc_ml.core.regions import MIRROR_CHANNELS, REGIONS
from kicc_ml.data.augment.transform import AugmentConfig, apply, draw, swap_known_sides
from kicc_ml.data.region_bits import unpack
from kicc_ml.models.gpu import arrange_for_gpu
from kicc_ml.models.segmentation import SegmentationTask
from kicc_ml.models.task import LossIsNotFinite
from tests.support.fake_gpu import GPU
from tests.support.no_waiting import NoLists, NoWaiting, Waits

#: Each change in about half of the samples, but noise: torch has no random numbers for the meta device.
HALF = AugmentConfig(noise=0, rotate=0.5, blur=0.5, low_resolution=0.5, brightness=0.5, contrast=0.5, gamma=0.5)
SHAPE = (12, 10, 8)


def batch(samples: int) -> dict[str, Any]:
    return {
        "image_bcxyz": torch.zeros(samples, 1, *SHAPE, device=GPU),
        "bits_bxyz": torch.zeros(samples, *SHAPE, dtype=torch.uint8, device=GPU),
        "known_bc": torch.ones(samples, len(REGIONS), dtype=torch.bool, device=GPU),
    }


def test_augmenting_a_batch_does_not_wait():
    given, parameters = batch(8), draw(torch.Generator().manual_seed(1), 8, HALF)
    assert 0 < parameters.swap_sides_b.sum() < 8
    assert 0 < (parameters.blur_sigma_b > 0).sum() < 8
    with NoLists(), NoWaiting():
        image, bits = apply(given["image_bcxyz"], given["bits_bxyz"], parameters)
        assert bits is not None
        unpack(bits)
        swap_known_sides(given["known_bc"], parameters, MIRROR_CHANNELS)
    assert image.device.type == bits.device.type == "meta"


def test_a_training_step_does_not_wait():
    task = SegmentationTask(nn.Conv3d(1, len(REGIONS), 3, padding=1, device=GPU), SHAPE, 1e-3, 0.0)
    given = batch(2)
    samples = {"image_bcxyz": given["image_bcxyz"], "mask_known_bc": given["known_bc"], "case_id": ["a", "b"]}
    samples["mask_bcxyz"] = torch.zeros(2, len(REGIONS), *SHAPE, device=GPU)
    with NoLists(), NoWaiting():
        task.training_step(samples, 0).backward()


@pytest.mark.parametrize(
    "waits",
    [
        lambda there: there[[0, 1]],
        lambda there: there[there > 0],
        lambda there: there + torch.ones(2).to(GPU),
        lambda there: torch.tensor([1.0, 2.0], device=GPU),
        lambda there: bool(there.any()),
        lambda there: there.sum().item(),
        lambda there: there.nonzero(),
    ],
)
def test_what_waits_is_found(waits: Callable[[Tensor], Any]):
    with pytest.raises(Waits), NoLists(), NoWaiting():
        waits(torch.zeros(2, device=GPU))


class Away(Tensor):
    """A tensor of the CPU that says that it lies on a GPU."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda")


def test_a_loss_that_is_no_number_ends_the_training_one_step_later_with_the_cases_it_came_from():
    task = SegmentationTask(nn.Conv3d(1, 1, 1), SHAPE, 1e-3, 0.0)
    task.check_loss(torch.tensor(float("nan")).as_subclass(Away), ["seoul_1"])
    with pytest.raises(LossIsNotFinite, match="seoul_1"):
        task.check_loss(torch.tensor(0.5).as_subclass(Away), ["seoul_2"])


def test_no_checkpoint_is_written_after_a_loss_that_is_no_number():
    task = SegmentationTask(nn.Conv3d(1, 1, 1), SHAPE, 1e-3, 0.0)
    task.check_loss(torch.tensor(float("inf")).as_subclass(Away), ["seoul_1"])
    with pytest.raises(LossIsNotFinite, match="seoul_1"):
        task.on_save_checkpoint({})


class Recorded(torch.optim.SGD):
    """An optimizer that can fuse, and keeps whether it was asked to."""

    def __init__(self, params: Any, lr: float, fused: bool = False) -> None:
        super().__init__(params, lr)
        self.asked = fused


@pytest.mark.parametrize(
    ("kind", "clipped", "fused"), [("cuda:0", None, True), ("cuda:0", 1.0, False), ("cpu", None, False)]
)
def test_the_optimizer_is_fused_on_a_gpu_unless_gradients_are_clipped(
    kind: str, clipped: float | None, fused: bool, monkeypatch: pytest.MonkeyPatch
):
    def constant(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LambdaLR:
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)

    task = SegmentationTask(nn.Conv3d(1, 1, 1), SHAPE, 1e-3, 0.0, optimizer=Recorded, schedule=constant)
    monkeypatch.setattr(SegmentationTask, "device", torch.device(kind))
    task._trainer = SimpleNamespace(gradient_clip_val=clipped)  # type: ignore[assignment]
    assert task.configure_optimizers()["optimizer"].asked is fused  # type: ignore[attr-defined]


def test_weights_of_3_d_convolutions_have_channels_last_on_a_gpu_and_the_same_values():
    network = nn.Sequential(nn.Conv3d(2, 4, 3), nn.Conv2d(2, 4, 3))
    before = [weight.clone() for weight in network.parameters()]
    arrange_for_gpu(network, torch.device("cpu"))
    assert network[0].weight.is_contiguous()
    arrange_for_gpu(network, torch.device("cuda"))
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert all(torch.equal(one, other) for one, other in zip(before, network.parameters(), strict=True))
