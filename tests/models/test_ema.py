"""Averaged weights: their formula, and that they survive an interruption bit for bit."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kicc_ml.models.ema import AveragedWeights

DECAY = 0.9


class Noisy(pl.LightningModule):
    """Goes where its batch says; weights after each step are written down."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.layer.weight)
        self.seen: list[float] = []

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        return (self.layer.weight * batch).sum()

    def on_train_batch_end(self, *_: Any) -> None:
        self.seen.append(self.layer.weight.item())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def trained(steps: int, *callbacks: pl.Callback, ckpt_path: Path | None = None) -> Noisy:
    task = Noisy()
    quiet: dict[str, Any] = dict.fromkeys(
        ("enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False
    )
    quiet |= {"logger": False, "enable_checkpointing": bool(callbacks)}
    trainer = pl.Trainer(accelerator="cpu", max_steps=steps, callbacks=[AveragedWeights(DECAY), *callbacks], **quiet)
    torch.manual_seed(0)
    trainer.fit(task, DataLoader(torch.randn(10, 1), batch_size=1), ckpt_path=ckpt_path, weights_only=True)
    return task


def continued(average: float, seen: list[float], steps_before: int) -> float:
    """The average after the weights of further steps, by the published formula."""
    for step, weight in enumerate(seen, start=steps_before):
        kept = min(DECAY, (1 + step) / (10 + step))
        average = kept * average + (1 - kept) * weight
    return average


def test_the_final_weights_are_the_average_that_forgets_faster_while_young():
    task = trained(40)
    assert task.layer.weight.item() == pytest.approx(continued(task.seen[0], task.seen[1:], 1), rel=1e-5)
    assert task.layer.weight.item() != pytest.approx(task.seen[-1], rel=1e-3)


def test_after_an_interruption_weights_and_average_both_go_on_from_where_they_were(tmp_path: Path):
    every_epoch = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, auto_insert_metric_name=False)
    whole = trained(40, every_epoch)
    resumed = trained(40, ckpt_path=tmp_path / "1.ckpt")
    average = torch.load(tmp_path / "1.ckpt", weights_only=True)["state_dict"]["layer.weight"].item()
    assert resumed.seen[0] == whole.seen[20]
    assert resumed.layer.weight.item() == pytest.approx(continued(average, resumed.seen, 20), rel=1e-5)
