"""A training that is told to end leaves a checkpoint, from which it goes on as if nothing had happened."""

import os
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn

from kicc_ml.core.regions import REGIONS
from kicc_ml.models.ema import AveragedWeights
from kicc_ml.models.resume import RandomStates, metrics_logger
from kicc_ml.models.segmentation import SegmentationTask
from kicc_ml.training.interruption import SaveOnSignal
from tests.support.patch_batches import patches

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on checkpoints and workers

STEPS = 7  # three batches an epoch
TOLD = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)


class SendTo(Callback):
    """Sends a signal to this process in the middle of a step, as a cluster does."""

    def __init__(self, number: int, step: int) -> None:
        self.number, self.step = number, step

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


def train(folder: Path, *more: Callback, checkpoint: Path | None = None) -> SegmentationTask:
    pl.seed_everything(5, verbose=False)
    layers = [nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.Dropout3d(0.5), nn.Conv3d(4, len(REGIONS), 1)]
    task = SegmentationTask(nn.Sequential(*layers), (8, 8, 8), learning_rate=1e-2, weight_decay=1e-2)
    saving = SaveOnSignal(folder / "last.ckpt")
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1}
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=STEPS,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        callbacks=[AveragedWeights(0.9), RandomStates(), *more, saving],
        logger=metrics_logger(folder, checkpoint),
        **quiet,
    )
    torch.manual_seed(99 if checkpoint else 5)  # a resumed process has drawn something else before
    with saving.listening():
        trainer.fit(task, patches(folder, patches_per_epoch=6), ckpt_path=checkpoint, weights_only=True)
    return task


def weights(task: SegmentationTask) -> list[torch.Tensor]:
    return list(task.state_dict().values())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[torch.Tensor], pd.DataFrame]:
    """Weights and metrics."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return weights(train(folder)), pd.read_csv(folder / "metrics.csv")


def test_ctrl_c_saves_ends_with_its_own_status_and_says_how_to_go_on(
    undisturbed: tuple[list[torch.Tensor], pd.DataFrame], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        train(tmp_path, SendTo(signal.SIGINT, 3))
    assert ended.value.code == 130
    assert "stopped by Ctrl-C at step 4; the same command with ckpt_path=last goes on" in capsys.readouterr().err
    resumed = train(tmp_path, checkpoint=tmp_path / "last.ckpt")
    for whole, continued in zip(undisturbed[0], weights(resumed), strict=True):
        torch.testing.assert_close(continued, whole, rtol=0, atol=0)


class PressTwice(SendTo):
    """Presses Ctrl-C again before the step has ended."""

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        super().on_train_batch_start(trainer)
        super().on_train_batch_start(trainer)


def test_ctrl_c_pressed_twice_ends_at_once(tmp_path: Path):
    with pytest.raises((SystemExit, KeyboardInterrupt)) as ended:
        train(tmp_path, PressTwice(signal.SIGINT, 3))
    assert getattr(ended.value, "code", 1) == 1
    assert not (tmp_path / "last.ckpt").exists()


@pytest.mark.parametrize("step", [0, 2, 4])
def test_a_terminated_training_goes_on_from_the_step_it_was_in(
    undisturbed: tuple[list[torch.Tensor], pd.DataFrame], step: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as ended:
        train(tmp_path, SendTo(signal.SIGTERM, step))
    assert ended.value.code == 143
    at = step + 2 if step == 2 else step + 1  # the third is the last of an epoch, and its validation comes first
    assert f"stopped by SIGTERM at step {at}" in capsys.readouterr().err
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == at
    resumed = weights(train(tmp_path, checkpoint=tmp_path / "last.ckpt"))
    assert all(torch.equal(one, other) for one, other in zip(undisturbed[0], resumed, strict=True))
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "metrics.csv"), undisturbed[1], check_like=True, check_exact=True
    )


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_training_whose_end_is_announced_saves_and_goes_on(
    undisturbed: tuple[list[torch.Tensor], pd.DataFrame], number: int, tmp_path: Path
):
    told = weights(train(tmp_path, SendTo(number, 3)))
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 4
    assert all(torch.equal(one, other) for one, other in zip(undisturbed[0], told, strict=True))


def test_a_training_that_is_terminated_in_its_last_step_writes_nothing_that_could_not_go_on(tmp_path: Path):
    with pytest.raises(SystemExit, match="143"):
        train(tmp_path, SendTo(signal.SIGTERM, STEPS - 1))
    assert not (tmp_path / "last.ckpt").exists()


def test_before_and_after_a_training_signals_mean_what_they_did(tmp_path: Path):
    before = [signal.getsignal(number) for number in TOLD]
    train(tmp_path)
    assert [signal.getsignal(number) for number in TOLD] == before
    assert not (tmp_path / "last.ckpt").exists()


def test_a_signal_after_the_last_step_ends_the_process(tmp_path: Path):
    saving = SaveOnSignal(tmp_path / "last.ckpt")
    with pytest.raises(SystemExit, match="143"), saving.listening():
        os.kill(os.getpid(), signal.SIGTERM)
