"""A checkpoint when a cluster, or a user, ends a training before its time."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch.multiprocessing import ProcessExitedException

from kicc_ml.core.shown import say

#: Slurm sends one of these some time before it ends a job (``--signal``); which one, a cluster chooses.
ANNOUNCEMENTS = (signal.SIGUSR1, signal.SIGUSR2)
#: What shells report of a process that SIGTERM, or Ctrl-C, has ended.
TERMINATED, INTERRUPTED = 128 + signal.SIGTERM, 128 + signal.SIGINT
#: What a signal asks for; the highest counts.
NOTHING, SAVE, SAVE_AND_STOP, SAVE_AFTER_CTRL_C = range(4)
ASKED_BY: dict[int, int] = {signal.SIGTERM: SAVE_AND_STOP, signal.SIGINT: SAVE_AFTER_CTRL_C}


class SaveOnSignal(Checkpoint):
    """Writes ``last.ckpt`` after the training step in which a signal arrived, or after the next.

    A Checkpoint is called last by Lightning, when all that belongs to the step has been done.

    After SIGUSR1 and SIGUSR2 the training goes on. After SIGTERM it ends, and the process with status ``TERMINATED``;
    Slurm sends SIGTERM at a time limit, at ``scancel`` and when another job takes the place of this one. Ctrl-C does
    the same with status ``INTERRUPTED``; pressed again, it ends the process at once. Of several processes that train
    together all save in the same step, whichever was told.

    Args:
        path: where the checkpoint is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked = NOTHING
        self.stopping = NOTHING

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note signals during the block, also in a process that waits for those that train."""
        before = self._listen()
        try:
            yield
            if (asked := max(self.stopping, self.asked)) >= SAVE_AND_STOP:  # it came in the last step, or later
                raise SystemExit(_status(asked))
        except ProcessExitedException as error:  # one of several processes that train together
            if error.exit_code in (TERMINATED, -signal.SIGTERM):
                raise SystemExit(TERMINATED) from error
            if error.exit_code == INTERRUPTED:
                raise SystemExit(INTERRUPTED) from error
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen in the process that trains, in place of Lightning, which would end without a checkpoint."""
        self._listen()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stop if the checkpoint has been written; not before, because Lightning notes the metrics of a step later."""
        if self.stopping:
            if trainer.is_global_zero:
                by = "Ctrl-C" if self.stopping == SAVE_AFTER_CTRL_C else "SIGTERM"
                way = "the same command with ckpt_path=last goes on there"
                say(f"stopped by {by} at step {trainer.global_step}; {way}", to_stderr=True)
            raise SystemExit(_status(self.stopping))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if any of the processes was asked to, after the last step of an epoch one step later.

        From a checkpoint between that step and its validation, Lightning would go on without the validation.
        """
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._save_if_asked(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save in a training whose epochs have one step; it goes on with steps counted one too high in the metrics."""
        if trainer.num_training_batches == 1:
            self._save_if_asked(trainer)

    def _save_if_asked(self, trainer: pl.Trainer) -> None:
        asked = self._asked_of_any(trainer)
        at_end = trainer.should_stop or trainer.global_step == trainer.max_steps
        if asked != NOTHING and not at_end:  # Lightning does nothing more with a training that has ended
            self.asked = NOTHING
            trainer.save_checkpoint(self.path)
            self.stopping = asked if asked >= SAVE_AND_STOP else NOTHING

    def _listen(self) -> dict[signal.Signals, Any]:
        if threading.current_thread() is not threading.main_thread():  # Python leaves signals to the main thread
            return {}
        return {number: signal.signal(number, self._note) for number in (*ANNOUNCEMENTS, signal.SIGTERM, signal.SIGINT)}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self.asked = max(self.asked, ASKED_BY.get(number, SAVE))

    def _asked_of_any(self, trainer: pl.Trainer) -> int:
        if trainer.world_size == 1:
            return self.asked
        asked = torch.tensor(self.asked, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(asked, reduce_op="max"))


def _status(asked: int) -> int:
    return INTERRUPTED if asked == SAVE_AFTER_CTRL_C else TERMINATED
