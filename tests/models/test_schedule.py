"""The learning rate follows the budget that is spent first."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, Timer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kicc_ml.models.schedule import WARM_UP, budget_spent, decayed, rate_factor


def test_the_rate_rises_to_its_peak_then_falls_to_nothing():
    factor = np.array([rate_factor(spent) for spent in np.linspace(0, 1, 401)])
    peak = int(factor.argmax())
    assert 0 < factor[0] < 0.1
    assert peak / 400 == pytest.approx(WARM_UP, abs=0.01)
    assert factor[peak] > 0.95
    assert (np.diff(factor[: peak + 1]) > 0).all()
    assert (np.diff(factor[peak:]) < 0).all()
    assert factor[-1] == 0


class Clock(Timer):
    """A timer whose hands are set by the test."""

    def __init__(self, elapsed: float, total: float) -> None:
        super().__init__(timedelta(seconds=total))
        self.hands = (elapsed, total - elapsed)

    def time_elapsed(self, stage: Any = None) -> float:
        return self.hands[0]

    def time_remaining(self, stage: Any = None) -> float:
        return self.hands[1]


def trainer(*, step: int = 0, max_steps: int = -1, epoch: int = 0, max_epochs: int = -1, clock: Clock | None = None):
    progress = SimpleNamespace(current=SimpleNamespace(completed=0))
    return SimpleNamespace(
        global_step=step,
        max_steps=max_steps,
        max_epochs=max_epochs,
        current_epoch=epoch,
        num_training_batches=10,
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress)),
        callbacks=[clock] if clock else [],
    )


@pytest.mark.parametrize(
    ("state", "share"),
    [
        ({}, 0.0),
        ({"step": 25, "max_steps": 100}, 0.25),
        ({"epoch": 3, "max_epochs": 4}, 0.75),
        ({"clock": Clock(30, 60)}, 0.5),
        ({"step": 25, "max_steps": 100, "clock": Clock(30, 60)}, 0.5),
        ({"step": 80, "max_steps": 100, "clock": Clock(30, 60)}, 0.8),
        ({"step": 120, "max_steps": 100}, 1.0),
        ({"clock": Clock(61, 60)}, 1.0),
    ],
)
def test_the_larger_share_of_steps_epochs_and_minutes_counts(state: dict[str, Any], share: float):
    assert budget_spent(trainer(**state)) == pytest.approx(share)


class Line(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        return self.layer(batch).square().mean()

    def configure_optimizers(self) -> Any:
        return decayed(torch.optim.SGD(self.parameters(), lr=0.1), self)


class Rates(Callback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.mark.parametrize("budget", [{"max_steps": 60, "max_epochs": -1}, {"max_epochs": 6}])
def test_a_training_ends_at_almost_no_rate_whatever_its_budget_is_counted_in(budget: dict[str, int]):
    rates = Rates()
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    pl.Trainer(accelerator="cpu", enable_model_summary=False, callbacks=[rates], **quiet, **budget).fit(
        Line(), DataLoader(torch.ones(10, 1))
    )
    assert len(rates.seen) == 60
    assert max(rates.seen) > 0.09
    assert rates.seen[-1] < 0.005
