"""An interrupted training, wherever it stopped, ends as the uninterrupted one: bit for bit."""

import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from safetensors.torch import load_file
from torch import nn

from kicc_ml.apps import train as script
from kicc_ml.apps.configuration import compose_configuration
from kicc_ml.core.regions import REGIONS
from kicc_ml.data.augment.transform import AugmentConfig
from kicc_ml.data.datamodule import PatchDataModule
from kicc_ml.data.own_transforms import transforms_of
from kicc_ml.models import resume
from kicc_ml.models.ema import AveragedWeights
from kicc_ml.models.resume import RandomStates, last_checkpoint, metrics_logger
from kicc_ml.models.segmentation import SegmentationTask
from tests.support.patch_batches import patches

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on checkpoints and workers

STEPS = 7  # three batches an epoch: it ends in the middle of the third


class Stopped(Exception):
    pass


class StopAt(Callback):
    """Ends a training where a power cut would: after the checkpoint of a step, before the next batch."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise Stopped


def small_task() -> SegmentationTask:
    """Dropout draws from the global random state, and batch normalisation has state of its own."""
    pl.seed_everything(5, verbose=False)
    layers = [nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.Dropout3d(0.5), nn.Conv3d(4, len(REGIONS), 1)]
    return SegmentationTask(nn.Sequential(*layers), (8, 8, 8), learning_rate=1e-2, weight_decay=1e-2)


def small_data(folder: Path, **settings: Any) -> PatchDataModule:
    return patches(folder, patches_per_epoch=6, augment=AugmentConfig(noise=1), **settings)


def train(
    folder: Path,
    data: PatchDataModule,
    checkpoint: Path | None = None,
    stop_at: int = -1,
    more: Sequence[Callback] = (),
) -> SegmentationTask:
    task = small_task()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=STEPS,
        logger=metrics_logger(folder, checkpoint),
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[
            AveragedWeights(0.9),
            RandomStates(),
            ModelCheckpoint(folder, "{step}", save_top_k=-1, every_n_train_steps=1),
            ModelCheckpoint(folder, "{epoch}-end", save_top_k=-1, save_on_train_epoch_end=True),
            ModelCheckpoint(folder, "{epoch}-validated", "val/dice", save_top_k=-1, save_on_train_epoch_end=False),
            *more,
            StopAt(stop_at),
        ],
    )
    torch.manual_seed(99 if checkpoint else 5)  # a resumed process has drawn something else before
    trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True)
    return task


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SegmentationTask]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    return folder, train(folder, small_data(folder))


@pytest.mark.parametrize(
    ("place", "workers"),
    [("step=1", 0), ("step=2", 1), ("step=3", 0), ("step=5", 0), ("epoch=0-end", 1), ("epoch=1-validated", 0)],
)
def test_resumed_anywhere_the_weights_are_those_of_the_uninterrupted_training(
    uninterrupted: tuple[Path, SegmentationTask], place: str, workers: int, tmp_path: Path
) -> None:
    folder, whole = uninterrupted
    resumed = train(tmp_path, small_data(folder, num_workers=workers), folder / f"{place}.ckpt")
    assert resumed.trainer.global_step == STEPS
    for (name, expected), tensor in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(expected, tensor), name
    optimizers = [task.optimizers().state_dict()["state"][0]["exp_avg"] for task in (whole, resumed)]
    assert torch.equal(*optimizers)


THREE_OF_OTHERS = {
    "sample": {
        "noise": {"_target_": "monai.transforms.RandGaussianNoised", "keys": "image", "prob": 0.6},
        "flip": {"_target_": "monai.transforms.RandFlipd", "keys": ["image", "mask"], "prob": 0.5, "spatial_axis": 1},
    },
    "batch": {"field": {"_target_": "monai.transforms.RandBiasFieldd", "keys": "image", "prob": 0.6}},
}


@pytest.mark.parametrize(("place", "workers"), [("step=2", 0), ("step=5", 1)])
def test_with_random_transforms_of_others_it_is_so_too(
    uninterrupted: tuple[Path, SegmentationTask], place: str, workers: int, tmp_path: Path
) -> None:
    transforms = transforms_of(THREE_OF_OTHERS)
    whole = train(tmp_path / "whole", small_data(tmp_path, transforms=transforms))
    checkpoint = tmp_path / "whole" / f"{place}.ckpt"
    resumed = train(tmp_path / "on", small_data(tmp_path, num_workers=workers, transforms=transforms), checkpoint)
    for (name, expected), tensor in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(expected, tensor), name
    without = uninterrupted[1].state_dict()
    assert any(not torch.equal(without[name], tensor) for name, tensor in whole.state_dict().items())


def test_metrics_go_on_where_the_checkpoint_was_written(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(whole, small_data(tmp_path))
    with pytest.raises(Stopped):
        train(broken, small_data(tmp_path), stop_at=5)
    train(broken, small_data(tmp_path), broken / "step=4.ckpt")  # the fifth step is done again
    tables = [pd.read_csv(folder / "metrics.csv") for folder in (whole, broken)]
    assert tables[0]["train/loss"].count() == STEPS
    pd.testing.assert_frame_equal(*tables, check_like=True, check_exact=True)


def test_a_training_that_starts_anew_starts_its_metrics_anew(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,train/loss\n0,1.0\n")
    assert metrics_logger(tmp_path, None).experiment.metrics == []
    assert not (tmp_path / "metrics.csv").exists()


def test_the_last_checkpoint_is_written_within_an_epoch_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "SAVE_EVERY", timedelta(microseconds=1))
    with pytest.raises(Stopped):
        train(tmp_path, small_data(tmp_path), stop_at=5, more=[last_checkpoint(tmp_path)])
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 5


@pytest.mark.slow
def test_a_fold_taken_up_again_by_the_script_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = ("--patients", "8", "--sites", "2", "--matrix", "48", "--slices", "24", "--seed", "3")
    command = [Path(sys.executable).with_name("kicc-ml"), "synthesize", "--preset", "demo", *size, tmp_path / "cohort"]
    subprocess.run(command, check=True)

    def fold(run: str, ckpt_path: str = "null") -> DictConfig:
        where = [f"cohort.root={tmp_path}/cohort", f"run_dir={tmp_path}/{run}", f"store_dir={tmp_path}/store"]
        small = ["data.canonical.spacing_mm=[6,6,8]", "data.patch_size=[48,48,24]", "network.channels=[4,8,8,8]"]
        steps = ["data.patches_per_epoch=6", "trainer.max_time=null", f"trainer.max_steps={STEPS}"]
        chosen = ["experiment=lesion_ct", "cohort=repository", "network=unet_light", f"ckpt_path={ckpt_path}"]
        names = script.prepare(compose_configuration("train", [*chosen, *where, *small, *steps]))
        return compose_configuration("train", [*chosen, *where, *small, *steps, f"split.fold={names[0]}"])

    monkeypatch.setattr(resume, "SAVE_EVERY", timedelta(microseconds=1))
    script.train(fold("whole"))
    with monkeypatch.context() as power_cut:
        callbacks = script.build_callbacks
        power_cut.setattr(script, "build_callbacks", lambda *given: [*callbacks(*given), StopAt(5)])
        with pytest.raises(Stopped):
            script.train(fold("broken"))
    script.train(fold("broken", ckpt_path="last"))
    whole, broken = (load_file(next(tmp_path.glob(f"{run}/*/weights.safetensors"))) for run in ("whole", "broken"))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    tables = [pd.read_csv(next(tmp_path.glob(f"{run}/*/metrics.csv"))) for run in ("whole", "broken")]
    pd.testing.assert_frame_equal(*tables, check_like=True, check_exact=True)
