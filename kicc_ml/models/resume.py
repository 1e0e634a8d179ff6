"""Support for continuing an interrupted training: random states, metrics, and when to save.

Lightning's checkpoint already holds weights, optimizer, schedule and progress. What is drawn from the data depends only
on the position in the training (:mod:`kicc_ml.data.sampling`).
"""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

from kicc_ml.models.fold_checkpoint import read_checkpoint

#: The most work that an interruption can cost; writing a checkpoint takes about a second.
SAVE_EVERY = timedelta(minutes=5)

METRICS = "metrics.csv"


class RandomStates(Callback):
    """A callback that stores torch's random states in the checkpoint, because dropout draws from them."""

    def __init__(self) -> None:
        self.loaded: Mapping[str, Any] | None = None

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict) -> None:
        """Write the states of torch's generators into the checkpoint."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        checkpoint["random_states"] = {"cpu": torch.get_rng_state(), "cuda": cuda}

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict) -> None:
        """Take the states from the checkpoint; they are set when training goes on."""
        self.loaded = checkpoint.get("random_states")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the random states; not earlier, because the setup may draw random numbers too."""
        if self.loaded is None:
            return
        torch.set_rng_state(self.loaded["cpu"].cpu())
        if len(self.loaded["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([state.cpu() for state in self.loaded["cuda"]])
        self.loaded = None


def last_checkpoint(folder: Path) -> ModelCheckpoint:
    """Make a callback that writes ``last.ckpt`` every ``SAVE_EVERY``, also within an epoch."""
    return ModelCheckpoint(folder, filename="last", train_time_interval=SAVE_EVERY, enable_version_counter=False)


def metrics_logger(folder: Path, ckpt_path: str | Path | None) -> CSVLogger:
    """Make a logger that writes ``metrics.csv``; a resumed training keeps the rows from before its checkpoint."""
    kept = _rows_before(folder / METRICS, ckpt_path)
    logger = CSVLogger(folder, name="", version="", flush_logs_every_n_steps=1)
    if kept:
        logger.experiment.metrics = kept  # creating the experiment has deleted the old file
        logger.save()
    return logger


def _rows_before(path: Path, ckpt_path: str | Path | None) -> list[dict[str, Any]]:
    if ckpt_path is None or not path.is_file():
        return []
    steps = read_checkpoint(Path(ckpt_path))["global_step"]
    rows = pd.read_csv(path, dtype=str)
    return [row.dropna().to_dict() for _, row in rows[rows["step"].astype(int) < steps].iterrows()]
