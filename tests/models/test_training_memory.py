"""Predicted memory against what the operating system counts in a process that trains."""

import subprocess
import sys
from pathlib import Path

import pytest

#: How far the prediction may lie from the peak that was measured.
TOLERANCE = 0.25

ROOT = Path(__file__).resolve().parents[2]

#: Trains two steps in a fresh process, so that the peak is that of the training. Prints predicted and measured bytes.
TRAINING = """
import copy, resource, sys, torch
from kicc_ml.models.checkpointing import compute_twice, find_blocks
from kicc_ml.models.training_memory import training_bytes
from kicc_ml.models.networks import build_own_network
from kicc_ml.models.segmentation import SegmentationTask
from tests.support.peak_memory import read_peak_bytes

network = build_own_network({settings}, {{"in_channels": 1, "out_channels": 5}})
before = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
predicted = before + training_bytes(network, {batch}, {patch}, checkpointed={twice})
if {twice}:
    compute_twice(find_blocks(network))
task = SegmentationTask(network, {patch}, 1e-3, 0.0)
task.log = lambda *_, **__: None
average = copy.deepcopy(task)
optimizer = torch.optim.AdamW(task.parameters())
for _ in range(2):
    batch = {{
        "image_bcxyz": torch.rand({batch}, 1, *{patch}),
        "mask_bcxyz": (torch.rand({batch}, 5, *{patch}) > 0.5).float(),
        "mask_known_bc": torch.ones({batch}, 5, dtype=torch.bool),
        "case_id": ["a"] * {batch},
    }}
    optimizer.zero_grad()
    task.training_step(batch, 0).backward()
    optimizer.step()
print(predicted, read_peak_bytes())
"""

SLICES = {"_target_": "kicc_ml.models.slice_unet.SliceUNet"}
LIGHT = {
    "_target_": "monai.networks.nets.UNet",
    **{"spatial_dims": 3, "channels": [16, 32, 64, 128], "strides": [2, 2, 2], "num_res_units": 0},
}
DEEP = {
    "_target_": "monai.networks.nets.DynUNet",
    **{"spatial_dims": 3, "kernel_size": [3] * 4, "strides": [1, 2, 2, 2], "upsample_kernel_size": [2] * 3},
    **{"filters": [16, 32, 64, 128], "res_block": True, "deep_supervision": True, "deep_supr_num": 2},
}


#: Networks of MONAI that this project does not list, each with a batch and a patch.
UNLISTED = (
    (
        {
            "_target_": "monai.networks.nets.AttentionUnet",
            **{"spatial_dims": 3, "channels": [16, 32, 64], "strides": [2, 2]},
        },
        2,
        [64, 64, 64],
    ),
    ({"_target_": "monai.networks.nets.MedNeXt", "spatial_dims": 3, "init_filters": 8}, 2, [64, 64, 32]),
    ({"_target_": "monai.networks.nets.SwinUNETR", "feature_size": 12}, 1, [64, 64, 32]),
)


def train(settings: dict, batch: int, patch: list[int], twice: bool = False) -> tuple[int, int]:
    """The bytes that were predicted of a training in a process of its own, and those that it took."""
    code = TRAINING.format(settings=settings, batch=batch, patch=patch, twice=twice)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    predicted, measured = map(int, done.stdout.split())
    return predicted, measured


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize(
    ("settings", "batch", "patch"),
    [
        pytest.param(SLICES, 4, [192, 192, 8], marks=pytest.mark.slow),
        pytest.param(SLICES, 12, [192, 192, 8], marks=pytest.mark.slow),
        pytest.param(LIGHT, 4, [128, 128, 64], marks=pytest.mark.slow),
        pytest.param(DEEP, 2, [128, 128, 48], marks=pytest.mark.slow),
        *(pytest.param(settings, batch, patch, marks=pytest.mark.slow) for settings, batch, patch in UNLISTED),
    ],
)
def test_a_trainings_peak_memory_is_predicted_within_a_quarter(settings: dict, batch: int, patch: list[int]):
    predicted, measured = train(settings, batch, patch)
    assert predicted == pytest.approx(measured, rel=TOLERANCE)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_blocks_that_are_computed_twice_take_less_memory_and_it_is_predicted():
    wide = DEEP | {"filters": [32, 64, 128, 256]}
    _, once = train(wide, 2, [96, 96, 48])
    predicted, twice = train(wide, 2, [96, 96, 48], twice=True)
    assert predicted == pytest.approx(twice, rel=TOLERANCE)
    assert twice < 0.85 * once  # of the whole process, libraries included
