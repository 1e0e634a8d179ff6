"""Helpers of test_cross_validation and test_combinations."""

import sys
from pathlib import Path

from omegaconf import DictConfig

from kicc_ml.runs.lay_down import STARTED


class Recorder:
    """Stands for the three stages of a sweep and keeps what each was given."""

    def __init__(self, *folds: str) -> None:
        self.folds = folds
        self.prepared: list[DictConfig] = []
        self.jobs: list[list[str]] = []
        self.finished: list[DictConfig] = []
        self.started: list[list[str]] = []

    def prepare(self, cfg: DictConfig) -> tuple[str, ...]:
        self.prepared.append(cfg)
        return self.folds

    def job(self) -> None:
        self.jobs.append(sys.argv[1:])
        self.started.append(sorted(path.parent.name for path in Path.cwd().rglob(STARTED)))

    def finish(self, parts: list[DictConfig]) -> int:
        self.finished += parts
        return 0
