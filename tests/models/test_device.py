"""What is predicted stays where the network lies; only masks and counts leave a GPU, and no more is held than fits."""

from math import prod
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kicc_ml.apps import train as script
from kicc_ml.apps.configuration import compose_configuration
from kicc_ml.core.progress import StageTimer
from kicc_ml.core.regions import REGIONS
from kicc_ml.core.types import Volume
from kicc_ml.data.canonical import CanonicalCT
from kicc_ml.data.fingerprint import Fingerprint
from kicc_ml.models import device_memory, precision, segmenter
from kicc_ml.models.device_memory import PassSize, place_of_volume, voxels_at_once
from kicc_ml.models.ema import AveragedWeights
from kicc_ml.models.mirrors import TTA_LEFT_RIGHT
from kicc_ml.models.segmentation import SegmentationTask
from kicc_ml.models.segmenter import Segmenter
from kicc_ml.models.sliding_window import predict_by_sliding_window
from tests.support.fake_gpu import GPU, FakeGpu

GIB = 2**30
SHAPE, PATCH = (40, 16, 12), (16, 16, 8)
EVERY = range(len(REGIONS))


class Seen(nn.Module):
    """A convolution that notes the device and the shape of what it is given."""

    def __init__(self, device: torch.device = GPU) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, len(REGIONS), 1, device=device)
        self.devices: set[str] = set()
        self.windows: list[int] = []

    def forward(self, image_bcxyz: Tensor) -> Tensor:
        self.devices.add(image_bcxyz.device.type)
        self.windows.append(len(image_bcxyz))
        return self.conv(image_bcxyz)


def test_windows_are_blended_where_the_network_lies_and_nothing_leaves():
    network = Seen()
    with FakeGpu() as gpu:
        found = predict_by_sliding_window([network], torch.rand(1, *SHAPE), PATCH, EVERY, TTA_LEFT_RIGHT)
    assert network.devices == {"meta"}
    assert found.device.type == "meta"
    assert found.shape == (len(REGIONS), *SHAPE)
    assert gpu.left == []


def test_a_result_too_large_for_the_gpu_goes_to_the_cpu_slab_by_slab(monkeypatch: pytest.MonkeyPatch):
    result_bytes = 2 * len(REGIONS) * prod(SHAPE)
    monkeypatch.setattr(device_memory, "free_bytes", lambda _: result_bytes)  # a fifth of it is for volumes
    monkeypatch.setattr(device_memory, "taken_bytes", lambda predict, _: (result_bytes, predict()))
    monkeypatch.setattr(device_memory, "VOXELS_AT_ONCE", prod(PATCH))
    with FakeGpu() as gpu:
        found = predict_by_sliding_window([Seen()], torch.rand(1, *SHAPE), PATCH, EVERY)
    assert found.device.type == "cpu"
    assert len(gpu.left) > 1
    assert sum(gpu.left) == 2 * result_bytes  # each voxel once, in float32
    assert max(gpu.left) < result_bytes


def test_a_scan_is_converted_segmented_and_resampled_on_the_gpu_and_only_its_masks_leave(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(segmenter, "LUNGS_FIRST_VOXELS", 1)
    network, shape = Seen(), (48, 40, 32)
    scan = Volume(np.zeros(shape, np.int16), np.diag([-1.0, -1.0, 1.0, 1.0]), "hu")
    model = Segmenter([network], CanonicalCT((2.0, 2.0, 2.0)), PATCH, REGIONS, "hu", True, 0.5, ((),))
    with FakeGpu() as gpu:
        masks = model.segment_keeping(scan, {}, StageTimer())
    assert network.devices == {"meta"}
    assert set(masks) == set(REGIONS)
    voxels = prod(shape)
    lungs_at_half_resolution, lungs = voxels // 8 // 8, voxels // 8
    assert sorted(gpu.left) == [lungs_at_half_resolution, lungs, 4 * len(REGIONS) * voxels]


def test_validation_counts_on_the_gpu():
    task = SegmentationTask(Seen(), PATCH, 1e-3, 0.0)
    batch = {"image_bcxyz": torch.rand(1, 1, *SHAPE), "mask_bcxyz": torch.ones(1, len(REGIONS), *SHAPE)}
    batch["mask_known_bc"] = torch.ones(1, len(REGIONS), dtype=torch.bool)
    with FakeGpu() as gpu:
        task.validation_step({name: tensor.to(GPU) for name, tensor in batch.items()}, 0)
    assert [counted.device.type for counted in task.validation_counts] == ["meta"]
    assert gpu.left == []


def test_the_moving_average_is_on_the_device_of_the_training_although_the_network_is_not_there_yet():
    average = AveragedWeights(0.9)
    network = nn.Linear(2, 2)
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=GPU))
    average.setup(trainer, network, "fit")  # type: ignore[arg-type]
    held = average._average_model
    assert held is not None
    assert {tensor.device.type for tensor in held.module.parameters()} == {"meta"}
    with FakeGpu() as gpu:
        for _ in range(3):
            held.update_parameters(network.to(GPU))  # on meta, a step that read a value would fail
    assert int(held.n_averaged) == 3
    assert gpu.left == []


@pytest.mark.parametrize(("free", "windows"), [(10_000, 5), (900, 1), (10**9, device_memory.MAX_WINDOWS_AT_ONCE)])
def test_after_the_first_pass_as_many_windows_go_at_once_as_the_free_memory_holds(
    free: int, windows: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(device_memory, "free_bytes", lambda _: free)
    monkeypatch.setattr(device_memory, "taken_bytes", lambda predict, _: (1000, predict()))
    passes = PassSize((8, 8, 8), GPU)
    assert passes.windows == 1
    passes.run(lambda: torch.zeros(1))
    assert passes.windows == windows


def test_what_the_process_has_freed_itself_counts_as_free(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3 * GIB, 8 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 4 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 1 * GIB)
    cuda = torch.device("cuda")
    assert device_memory.free_bytes(cuda) == 6 * GIB
    assert device_memory.free_bytes(torch.device("cpu")) is None
    assert place_of_volume(GIB, cuda) == cuda
    assert place_of_volume(2 * GIB, cuda) == torch.device("cpu")
    assert voxels_at_once(cuda) == 6 * GIB // 2 // device_memory.ASSUMED_BYTES_A_VOXEL


@pytest.mark.parametrize(
    ("there_is_one", "accelerator", "allowed"),
    [(True, "auto", 7.2), (True, "gpu", 7.2), (True, "cpu", 16.0), (False, "auto", 16.0)],
)
def test_a_training_is_planned_for_no_more_memory_than_its_gpu_has(
    there_is_one: bool, accelerator: str, allowed: float, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there_is_one)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1 * GIB, 8 * GIB))
    assert device_memory.bound_by_card(16.0, accelerator) == pytest.approx(allowed)
    assert device_memory.bound_by_card(4.0, accelerator) == 4.0


def test_the_plan_of_a_fold_is_made_for_the_memory_of_its_gpu_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    given: list[float] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1 * GIB, 8 * GIB))
    monkeypatch.setattr(script, "fingerprint", lambda cases: Fingerprint(0, (), None, None, None, 0))
    monkeypatch.setattr(script, "make_plan", lambda found, settings, memory_gib: given.append(memory_gib) or {})
    script.apply_plan(compose_configuration("train", ["experiment=lesion_ct_gpu"]), [])
    assert given == [pytest.approx(7.2)]
    assert "this GPU allows 7.2 GiB" in capsys.readouterr().err


def test_an_autocast_of_the_training_is_kept_where_bf16_gains_nothing(monkeypatch: pytest.MonkeyPatch):
    """A GPU without bf16 is trained with trainer.precision=16-mixed."""
    monkeypatch.setattr(precision, "fast_bf16", lambda _: False)
    layer, image = nn.Linear(2, 2), torch.rand(1, 2)
    with torch.autocast("cpu", torch.float16), precision.fast_autocast("cpu"):
        assert layer(image).dtype == torch.float16
    with precision.fast_autocast("cpu"):
        assert layer(image).dtype == torch.float32


@pytest.mark.parametrize(
    ("bf16", "capability", "dtype"),
    [(True, (8, 0), torch.bfloat16), (False, (7, 5), torch.float16), (False, (6, 1), None)],
)
def test_a_gpu_predicts_in_the_shortest_format_that_it_is_fast_in(
    bf16: bool, capability: tuple[int, int], dtype: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(precision, "make_autocast", lambda kind, dtype=None: (kind, dtype))
    assert precision.inference_autocast("cuda") == ("cuda", dtype)
