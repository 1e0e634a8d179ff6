"""What the tasks have in common: four hooks that a task of one's own may replace, as in torchgeo."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from kicc_ml.core.errors import UserError
from kicc_ml.models.schedule import decayed

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


class LossIsNotFinite(UserError, FloatingPointError):
    """The loss of a training step is NaN or infinite."""


class Task(pl.LightningModule):
    """A network in training.

    Args:
        network: what is trained.
        learning_rate, weight_decay: handed to ``optimizer`` where it has such a parameter and states none.
        loss: of logits, labels and which of these are known; see ``configs/loss``.
        optimizer: called with the parameters to train.
        schedule: called with the optimizer; one that has a parameter ``task`` is given this task too.
    """

    #: By which logged value the best weights are selected, and whether the most or the least is best.
    monitor: str
    monitor_mode: str

    def __init__(
        self,
        network: nn.Module,
        learning_rate: float,
        weight_decay: float,
        loss: Loss,
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
        schedule: Callable[..., Any] = decayed,
    ) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.optimizer = optimizer
        self.schedule = schedule
        self._unread: tuple[Tensor, Sequence[str]] | None = None
        self.configure_models(network)
        self.configure_losses(loss)
        self.configure_metrics()

    def configure_models(self, network: nn.Module) -> None:
        """Set ``self.network``; its weights are what a run keeps."""
        self.network = network

    def configure_losses(self, loss: Loss) -> None:
        """Set ``self.loss``."""
        self.loss = loss

    def configure_metrics(self) -> None:
        """Set what validation counts in."""

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return the optimizer and what its learning rate follows."""
        return _scheduled(_optimizer(self), self)

    def check_loss(self, loss: Tensor, case_ids: Sequence[str]) -> None:
        """Raise LossIsNotFinite, with the cases that it came from, for a loss that is no number.

        Off the CPU it is raised at the next step, or before a checkpoint is written: to read a loss, the process would
        have to wait for the step that it belongs to.
        """
        if loss.device.type == "cpu":
            return refuse_not_finite(loss, case_ids)
        self.check_last_loss()
        self._unread = (loss.detach(), case_ids)

    def check_last_loss(self) -> None:
        """Raise LossIsNotFinite if the last loss, which was not read yet, is no number."""
        unread, self._unread = self._unread, None
        if unread is not None:
            refuse_not_finite(*unread)

    def on_train_epoch_end(self) -> None:
        """End the run where the last loss is no number."""
        self.check_last_loss()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """End the run before a network with a loss that is no number is saved."""
        self.check_last_loss()


def refuse_not_finite(loss: Tensor, case_ids: Sequence[str]) -> None:
    """Raises LossIsNotFinite, with the cases that it came from, where a loss is no number."""
    if not torch.isfinite(loss).all():
        raise LossIsNotFinite(
            f"the loss is {loss.detach().mean().item()} on {', '.join(case_ids)}; lower model.learning_rate, mend a "
            "loss, network or transform of your own, or leave these cases out"
        )


def _optimizer(task: Task) -> torch.optim.Optimizer:
    stated = task.optimizer.keywords if isinstance(task.optimizer, partial) else {}
    offered: dict[str, Any] = {"lr": task.learning_rate, "weight_decay": task.weight_decay}
    if task.device.type == "cuda" and not _is_clipped(task):
        offered["fused"] = True  # one kernel for all weights
    taken = {name: value for name, value in offered.items() if name in _parameters(task.optimizer)}
    return task.optimizer(task.parameters(), **{name: value for name, value in taken.items() if name not in stated})


def _is_clipped(task: Task) -> bool:
    """Tell whether gradients are clipped, which Lightning refuses for fused optimizers in mixed precision."""
    return task._trainer is not None and bool(task._trainer.gradient_clip_val)


def _scheduled(optimizer: torch.optim.Optimizer, task: Task) -> OptimizerLRSchedulerConfig:
    """A scheduler is stepped every batch, but one that waits for a plateau every epoch."""
    made = task.schedule(optimizer, **({"task": task} if "task" in _parameters(task.schedule) else {}))
    if isinstance(made, dict):
        return made  # type: ignore[return-value]
    waits = isinstance(made, torch.optim.lr_scheduler.ReduceLROnPlateau)
    interval = "epoch" if waits else "step"
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": made, "interval": interval, "monitor": task.monitor, "strict": False},
    }


def _parameters(part: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(part).parameters)
