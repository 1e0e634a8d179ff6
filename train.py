"""Train every fold of a split, predict what each fold held out, report. ``python train.py --help`` for the settings.

    python train.py                                              the synthetic demonstration
    python train.py experiment=lesion_ct cohort=repository cohort.root=DIR
    python train.py experiment=lesion_ct split.fold=NAME         one fold
"""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
import torch
import yaml
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from rich.console import Console

from evaluate import evaluate_runs
from kicc_ml.data.splits import read_splits, write_splits
from kicc_ml.data.store import VolumeStore
from kicc_ml.launch import build, plain, sweep_folds, with_clear_errors
from kicc_ml.models.networks import build_network
from kicc_ml.records import Split, UserError
from kicc_ml.runs import CONFIG, PREDICTIONS, fold_folder, save_network, write_json, write_table

SPLIT = "split.json"
QUARANTINE = "quarantine.json"
#: Settings that say where and how a run goes on, not what it is: they may differ when a sweep is taken up again.
NOT_SETTINGS = {"ckpt_path", "run_dir", "store_dir", "parts"}

logger = logging.getLogger("train")


def prepare(cfg: DictConfig) -> list[str]:
    """Index, cohort, split and store, once for all folds; returns the names of the folds still to train."""
    data = data_module(cfg, split=None)
    set_aside = data.prepare_data_once()
    cases = data.usable_cases(without=set_aside)
    run_dir = Path(cfg.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    write_json(run_dir / QUARANTINE, set_aside)
    folds = splits_of(cfg, cases)
    return [split.fold for split in folds if not finished(cfg, split.fold)]
