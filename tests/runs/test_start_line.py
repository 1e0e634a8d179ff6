"""What is said when a command starts: device, number format, network, patch, batch and time, each as it is."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import nn

from kicc_ml.apps.configuration import compose_configuration, convert_to_plain
from kicc_ml.data.canonical import CanonicalCT
from kicc_ml.models.precision import device_of
from kicc_ml.models.segmenter import Segmenter
from kicc_ml.runs import start_line
from kicc_ml.runs.plan import fill_plan
from kicc_ml.runs.start_line import describe_device, describe_network, describe_prediction, describe_training

PLAN: dict[str, Any] = {"spacing_mm": [1, 1, 5], "window_hu": [-1000, 100], "patch_size": [64, 48, 3]}


@pytest.fixture(autouse=True)
def without_bf16(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose convolutions are no faster in bf16, so that the words do not depend on this one."""
    with monkeypatch.context() as patched:
        patched.setattr(start_line, "fast_bf16", lambda kind: kind == "cuda")
        yield


def settings(*overrides: str) -> dict[str, Any]:
    return fill_plan(convert_to_plain(compose_configuration("train", ["experiment=lesion_ct", *overrides])), PLAN)


def trainer(**given: Any) -> pl.Trainer:
    return pl.Trainer(logger=False, enable_checkpointing=False, max_epochs=-1, accelerator="cpu", **given)


def test_a_training_says_network_patch_batch_device_format_and_time():
    said = describe_training(settings(), trainer(max_time=timedelta(minutes=10)))
    assert said.startswith("SliceUNet, patches of 64 x 48 x 3 voxels, batches of 8, on cpu in 32-true; ")
    assert "the clock: 10 minutes" in said
    assert "GiB more" in said


def test_a_training_on_another_device_names_that_device_and_its_precision():
    elsewhere = SingleDeviceStrategy(device=torch.device("meta"))
    said = describe_training(settings(), trainer(max_steps=7, strategy=elsewhere, precision="bf16-mixed"))
    assert "on meta in bf16-mixed; the learning rate follows 7 steps" in said


def test_convolutions_in_another_format_than_the_rest_are_said():
    assert describe_device("cuda", "32-true") == "cuda in 32-true (convolutions in bf16)"
    assert describe_device("cuda", "bf16-mixed") == "cuda in bf16-mixed"
    assert describe_device("cpu") == "cpu in 32-true"


def test_a_prediction_counts_the_networks_of_all_plans_and_the_mirror_images():
    def segmenter(networks: int, *companions: Segmenter) -> Segmenter:
        layers = [nn.Conv3d(1, 1, 1) for _ in range(networks)]
        return Segmenter(layers, CanonicalCT(), (32, 32, 16), ("lesion",), "hu", True, 0.5, companions=companions)

    said = describe_prediction(segmenter(2, segmenter(1)))
    assert said == "3 Conv3ds, patches of 32 x 32 x 16 voxels, 1 mirror image, on cpu in 32-true"


@pytest.mark.parametrize("stated", [{}, {"network": None, "data": {"batch_size": 8}}, {"network": [], "data": 3}])
def test_settings_without_a_network_are_said_to_have_none(stated: dict[str, Any]):
    assert describe_network(stated) == "no network"


def test_a_network_without_parameters_works_on_the_processor():
    assert device_of(nn.Identity()).type == "cpu"
    segmenter = Segmenter([nn.Identity()], CanonicalCT(), (8, 8, 8), ("lesion",), "hu", True, 0.5)
    assert describe_prediction(segmenter).endswith("on cpu in 32-true")
