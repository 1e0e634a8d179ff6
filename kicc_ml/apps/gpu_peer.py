"""The training step of nnU-Net, where it is installed, beside ours in ``python -m kicc_ml.apps.gpu_check``."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

#: Folders that nnU-Net reads from the environment; here they are empty ones that go again.
FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
DATASET, CONFIGURATION = "Dataset999_Check", "3d_fullres"
LABELS = {"background": 0, "lung": 1, "lesion": 2}
CONVOLUTIONS_A_LEVEL = 2


def has_nnunet() -> bool:
    """Tell whether nnU-Net is installed."""
    return find_spec("nnunetv2") is not None


@contextmanager
def make_nnunet_step(
    patch: Sequence[int], batch: int, filters: Sequence[int], device: torch.device
) -> Iterator[Callable[[], Any]]:
    """Make a step of nnU-Net's trainer on one constant batch, as its trainer ``Benchmark_5epochs_noDataLoading`` does.

    It is compiled on a GPU, as nnU-Net does by itself.

    Args:
        patch: the number of voxels along x, y, z.
        batch: the number of patches.
        filters: the channels of each level of the network.
        device: where the step runs.

    Yields:
        A function that does one step.
    """
    with TemporaryDirectory() as folder, _folders_in(Path(folder)), redirect_stdout(StringIO()):
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

        described = {"labels": LABELS, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz", "numTraining": 1}
        trainer = nnUNetTrainer(_make_plans(patch, batch, filters), CONFIGURATION, 0, described, device)
        trainer.initialize()
        trainer.network.train()
        constant = {
            "data": torch.rand(batch, 1, *patch, device=trainer.device),
            "target": [
                torch.randint(len(LABELS), (batch, 1, *(round(n * by) for n, by in zip(patch, scale, strict=True)))).to(
                    trainer.device, torch.float32
                )
                for scale in trainer._get_deep_supervision_scales()
            ],
        }
        yield lambda: trainer.train_step(constant)


def _make_plans(patch: Sequence[int], batch: int, filters: Sequence[int]) -> dict[str, Any]:
    """Make the plans of nnU-Net for cubes of equal voxels, with the network that it plans for them."""
    levels = len(filters)
    network = {
        "n_stages": levels,
        "features_per_stage": list(filters),
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * levels,
        "strides": [[1, 1, 1]] + [[2, 2, 2]] * (levels - 1),
        "n_conv_per_stage": [CONVOLUTIONS_A_LEVEL] * levels,
        "n_conv_per_stage_decoder": [CONVOLUTIONS_A_LEVEL] * (levels - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    configuration = {
        "data_identifier": CONFIGURATION,
        "batch_size": batch,
        "patch_size": list(patch),
        "spacing": [1.0, 1.0, 1.0],
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "batch_dice": False,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": network,
            "_kw_requires_import": ["conv_op", "norm_op", "nonlin"],
        },
    }
    return {
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "continue_training": False,
        "label_manager": "LabelManager",
        "configurations": {CONFIGURATION: configuration},
    }


@contextmanager
def _folders_in(root: Path) -> Iterator[None]:
    """Let nnU-Net's folders lie in ``root``, with one empty file by which it tells how its data are stored."""
    before = {name: os.environ.get(name) for name in FOLDERS}
    stored = root / "nnUNet_preprocessed" / DATASET / CONFIGURATION
    stored.mkdir(parents=True)
    (stored / "a.npz").touch()
    try:
        os.environ.update({name: str(root / name) for name in FOLDERS})
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
