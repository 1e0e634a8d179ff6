"""What a plan learns of networks that it does not know, against what they do."""

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets import AttentionUnet, DynUNet, SegResNet, UNet
from torch import nn

from kicc_ml.core.errors import UserError
from kicc_ml.models.network_facts import patch_multiples, planned_strides, require_patch, slices_of_patch
from kicc_ml.models.networks import build_own_network
from kicc_ml.models.slice_unet import SliceUNet
from kicc_ml.models.training_memory import training_bytes

SIZES = {"in_channels": 1, "out_channels": 5}


@pytest.fixture(autouse=True)
def lab(monkeypatch: pytest.MonkeyPatch) -> None:
    """``myLab`` is installed."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "support")


def mine(name: str) -> nn.Module:
    return build_own_network({"_target_": f"myLab.networks.{name}", "width": 4}, SIZES)


@pytest.mark.parametrize(
    ("network", "steps"),
    [
        (UNet(3, 1, 2, (4, 8, 8), (2, 2), num_res_units=0), (4, 4, 4)),
        (UNet(3, 1, 2, (4, 8, 8), ((2, 2, 1), (2, 2, 2)), num_res_units=0), (4, 4, 2)),
        (DynUNet(3, 1, 2, [3] * 3, [1, 2, [2, 2, 1]], [2, [2, 2, 1]], filters=[4, 4, 4]), (4, 4, 2)),
        (SegResNet(3, 8, 1, 2, blocks_down=(1, 1, 1), blocks_up=(1, 1)), (4, 4, 4)),
        (SliceUNet(1, 2, (4, 8), (2,)), (2, 2, 1)),
    ],
    ids=["unet", "flat unet", "dynunet", "segresnet", "slices"],
)
def test_what_a_network_says_is_what_it_takes(network: nn.Module, steps: tuple[int, int, int]):
    assert patch_multiples(network) == steps
    size = [step * 5 for step in steps]
    assert network.eval()(torch.zeros(1, 1, *size)).shape[2:] == torch.Size(size)


def test_a_network_that_says_nothing_is_tried():
    unknown = AttentionUnet(3, 1, 2, channels=(4, 8, 8), strides=(2, 2))
    assert patch_multiples(unknown) == (4, 4, 4)
    assert patch_multiples(mine("TwoScales")) == (2, 2, 2)


def test_one_that_reads_values_is_tried_with_values():
    assert patch_multiples(mine("ReadsValues")) == (2, 2, 2)


def test_one_of_ones_own_may_say_it():
    network = mine("TwoScales")
    network.patch_multiples = (8, 8, 2)  # type: ignore[assignment]
    assert patch_multiples(network) == (8, 8, 2)


def test_one_that_answers_no_patch_is_refused():
    with pytest.raises(
        UserError, match=r"Flatten gives no logit at every voxel .*of \[192, 192, 192\] voxels it gives"
    ):
        patch_multiples(nn.Flatten())


def test_what_a_network_refuses_while_it_is_tried_is_not_printed(capfd: pytest.CaptureFixture):
    unknown = AttentionUnet(3, 1, 2, channels=(4, 8, 8), strides=(2, 2))
    patch_multiples(unknown)
    assert capfd.readouterr() == ("", "")


def test_the_memory_of_one_that_reads_values_is_measured_and_near_what_shapes_say():
    patch, batch = [64, 64, 32], 3
    said, measured = (training_bytes(mine(name), batch, patch) for name in ("TwoScales", "ReadsValues"))
    assert measured == pytest.approx(said, rel=0.25)
    assert measured != said


def test_strides_are_planned_in_the_form_that_a_class_takes():
    class Mine(nn.Module):
        @staticmethod
        def planned_strides(strides: Any) -> Any:
            return tuple(max(level) for level in strides)

    levels = [[2, 2, 1], [2, 2, 2]]
    assert planned_strides(UNet, levels) == levels
    assert planned_strides(DynUNet, levels) == [[1, 1, 1], *levels]
    assert planned_strides(SliceUNet, levels) == [2, 2]
    assert planned_strides(Mine, levels) == (2, 2)
    assert planned_strides(build_own_network, levels) == levels


def test_only_a_network_that_goes_slice_by_slice_says_how_many():
    assert slices_of_patch(SliceUNet(1, 2, (4, 8), (2,), neighbours=2)) == 5
    assert slices_of_patch(mine("TwoScales")) is None


class DeepestLevel(nn.Module):
    """Halves a patch five times and normalises what is left: of a small patch one voxel, which training refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.norm = nn.AvgPool3d(32), nn.InstanceNorm3d(1)

    def forward(self, image_bcxyz: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(self.norm(self.pool(image_bcxyz)), image_bcxyz.shape[2:])


@pytest.mark.parametrize(
    ("network", "patch", "said"),
    [
        (AttentionUnet(3, 1, 2, channels=(4, 8, 8), strides=(2, 2)), (16, 18, 16), "must match"),
        (DeepestLevel(), (32, 32, 32), "Expected more than 1 spatial element"),
        (UNet(3, 1, 2, (4, 8, 8), (2, 2), num_res_units=0), (16, 16, 6), "must match"),
    ],
    ids=["attention", "one voxel is left", "unet"],
)
def test_patches_that_a_network_cannot_be_trained_on_are_one_sentence_before_anything_is_trained(
    network: nn.Module, patch: tuple[int, int, int], said: str
):
    with pytest.raises(UserError, match=rf"cannot be trained on patches of data.patch_size=.*{said}") as refused:
        require_patch(network, patch)
    assert "\n" not in str(refused.value)


def test_trying_a_patch_changes_neither_the_network_nor_random_numbers():
    torch.manual_seed(1)
    network = SliceUNet(1, 2, (4, 8), (2,), dropout=0.5)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    others = ((DeepestLevel(), (64, 32, 32)), (mine("ReadsValues"), (16, 16, 16)))
    state = torch.get_rng_state()
    for one, patch in ((network, (16, 16, 8)), *others):
        require_patch(one, patch)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
