"""A callback and a logger that leave something behind."""

import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only


class CountBatches(pl.Callback):
    """Writes how many batches were trained on into the fold's folder."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.batches = 0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.batches += 1
        Path(trainer.default_root_dir, self.file).write_text(str(self.batches))


class JsonLines(Logger):
    """One line of JSON for each step that is logged."""

    def __init__(self, save_dir: str | Path) -> None:
        super().__init__()
        self.path = Path(save_dir) / "my_log.jsonl"

    @property
    def name(self) -> str:
        return "json_lines"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        pass

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")
