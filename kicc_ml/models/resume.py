"""A training that was interrupted goes on as if it had not been: random states, metrics, when to save.

Weights, optimizer, schedule and progress lie in Lightning's checkpoint already; what is drawn of the data depends
on the place in the training alone (:mod:`kicc_ml.data.sampling`).
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

#: An interruption costs at most this much work; a checkpoint takes about a second to write.
SAVE_EVERY = timedelta(minutes=5)

METRICS = "metrics.csv"


class RandomStates(Callback):
    """Keeps torch's random states in the checkpoint: dropout and the like draw from them."""

    def __init__(self) -> None:
        self.loaded: Mapping[str, Any] | None = None

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict) -> None:
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        checkpoint["random_states"] = {"cpu": torch.get_rng_state(), "cuda": cuda}

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict) -> None:
        self.loaded = checkpoint.get("random_states")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Not earlier: setting up may draw as well."""
        if self.loaded is None:
            return
        torch.set_rng_state(self.loaded["cpu"].cpu())
        if len(self.loaded["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([state.cpu() for state in self.loaded["cuda"]])
        self.loaded = None


def last_checkpoint(folder: Path) -> ModelCheckpoint:
    """Writes ``last.ckpt`` every ``SAVE_EVERY``, also within an epoch."""
    return ModelCheckpoint(folder, filename="last", train_time_interval=SAVE_EVERY, enable_version_counter=False)


def metrics_logger(folder: Path, ckpt_path: str | Path | None) -> CSVLogger:
    """Writes ``metrics.csv``; after an interruption, on from the rows that the checkpoint has behind it."""
    kept = _rows_before(folder / METRICS, ckpt_path)
    logger = CSVLogger(folder, name="", version="", flush_logs_every_n_steps=1)
    if kept:
        logger.experiment.metrics = kept  # making the experiment has deleted the old file
        logger.save()
    return logger


def _rows_before(path: Path, ckpt_path: str | Path | None) -> list[dict[str, Any]]:
    if ckpt_path is None or not path.is_file():
        return []
    steps = read_checkpoint(Path(ckpt_path))["global_step"]
    rows = pd.read_csv(path, dtype=str)
    return [row.dropna().to_dict() for _, row in rows[rows["step"].astype(int) < steps].iterrows()]
