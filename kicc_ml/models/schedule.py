"""A learning rate schedule over the training budget: steps, epochs or minutes, whichever is spent first."""

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig

from kicc_ml.core.shown import format_count

WARM_UP = 0.03  # share of the budget over which the rate rises from zero
FIRST_STEP = 0.001  # so that the rate of the first step is not zero
POWER = 0.9  # polynomial decay as in nnU-Net (Isensee et al., Nat Methods 2021)


def budget_spent(trainer: pl.Trainer) -> float:
    """Compute the spent share of the training budget, 0..1: the largest of steps, epochs and (``max_time``) minutes."""
    shares = [0.0]
    if trainer.max_steps and trainer.max_steps > 0:
        shares.append(trainer.global_step / trainer.max_steps)
    if trainer.max_epochs and trainer.max_epochs > 0:
        batches = trainer.num_training_batches
        epochs = trainer.current_epoch
        within = trainer.fit_loop.epoch_loop.batch_progress.current.completed / batches if batches else 0.0
        shares.append((epochs + min(within, 1.0)) / trainer.max_epochs)
    if (timer := _clock(trainer)) is not None:
        elapsed, remaining = timer.time_elapsed(), timer.time_remaining()
        shares.append(elapsed / max(elapsed + (remaining or 0.0), 1e-9))
    return min(1.0, max(shares))


def budget_in_words(trainer: pl.Trainer) -> str:
    """Describe the training budget in words, for the user."""
    limits = {what: getattr(trainer, f"max_{what}s") or 0 for what in ("step", "epoch")}
    parts = [format_count(count, what) for what, count in limits.items() if count > 0]
    if (timer := _clock(trainer)) is not None:
        seconds = (timer.time_elapsed() or 0.0) + (timer.time_remaining() or 0.0)
        parts.append(f"the clock: {seconds / 60:.4g} minutes")
    return " or ".join(parts) + ", whichever is spent first" * (len(parts) > 1)


def is_limited_by_time(trainer: pl.Trainer) -> bool:
    """Tell whether a training ends by the clock."""
    return _clock(trainer) is not None


def _clock(trainer: pl.Trainer) -> Timer | None:
    """Find the timer that ends a training under ``max_time``; None if there is none."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    timer = next((one for one in callbacks if isinstance(one, Timer)), None)
    return None if timer is None or timer.time_remaining() is None else timer


def rate_factor(spent: float) -> float:
    """Compute the rate as a factor of the peak rate: linear warm-up, then polynomial decay to zero."""
    return min((spent + FIRST_STEP) / WARM_UP, 1.0) * (1.0 - spent) ** POWER


def decayed(optimizer: torch.optim.Optimizer, task: pl.LightningModule) -> OptimizerLRSchedulerConfig:
    """Build the result of ``configure_optimizers``: the optimizer and its schedule, updated every batch."""
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: rate_factor(budget_spent(task.trainer)))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
