"""Parts of a training that the user may bring along: loss, optimizer, schedule, loggers; and where parts are from."""

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from torch import nn

from kicc_ml.apps.configuration import CALLABLE, build, build_each, convert_to_plain
from kicc_ml.apps.fold_settings import make_fold_settings
from kicc_ml.cohort.flow import Cohort, Flow
from kicc_ml.core.errors import UserError
from kicc_ml.core.parts import TARGET, describe_packages, find_part, targets_in
from kicc_ml.core.shown import say
from kicc_ml.core.types import Case, Split
from kicc_ml.models.losses import build_own_loss
from kicc_ml.models.pretrained import FreezeLoaded, find_weights, load_into, read_tensors

#: Settings that loggers note: what a training depends on, and no place.
NOTED = ("seed", "data", "network", "loss", "model", "optimizer", "schedule")


def build_own_loggers(cfg: DictConfig, folder: Path) -> list[Logger]:
    """Build the loggers of the user's own, which note the settings; one that is partial is told where the fold lies."""
    loggers = [one(save_dir=folder) if isinstance(one, partial) else one for one in build_each(cfg.logger)]
    settings = make_fold_settings(cfg, cfg.split.fold)
    for one in loggers:
        one.log_hyperparams({name: settings[name] for name in NOTED})
    return loggers


def build_parts_of_task(cfg: DictConfig) -> dict[str, Any]:
    """Build loss, optimizer and schedule, as far as they are chosen; a task has its own."""
    parts = {name: build(cfg[name]) for name in ("optimizer", "schedule") if cfg[name] is not None}
    return parts if cfg.loss is None else parts | {"loss": build_own_loss(convert_to_plain(cfg.loss))}


def start_from_weights(cfg: DictConfig, network: nn.Module) -> list[Callback]:
    """Load ``network.weights``, if there are any, and say what fitted; returns what keeps them frozen for a while."""
    if not cfg.network.get("weights"):
        return []
    path = find_weights(Path(cfg.network.weights))
    loaded = load_into(network, read_tensors(path), convert_to_plain(cfg.weights.rename), cfg.weights.min_share)
    say(f"weights of {path}: {loaded}", to_stderr=True)
    frozen = int(cfg.weights.freeze_epochs)
    return [FreezeLoaded(loaded.loaded, frozen)] if frozen else []


def make_splits(cfg: DictConfig, cases: Sequence[Case]) -> list[Split]:
    """Make the folds of the cases, or the one that is asked for; a user's own split may not know of single folds."""
    if "fold" in inspect.signature(find_part(cfg.split[TARGET])).parameters:
        return build(cfg.split)(cases)
    splits = build({key: value for key, value in convert_to_plain(cfg.split).items() if key != "fold"})(cases)
    found = [split for split in splits if cfg.split.fold in (None, split.fold)]
    if not found:
        raise UserError(f"there is no fold {cfg.split.fold}; there are {', '.join(split.fold for split in splits)}")
    return found


def add_flow(cases: Sequence[Case]) -> Cohort:
    """Return the cases of a cohort with its flow; for a user's own cohort without counts, how many cases there are."""
    return cases if isinstance(cases, Cohort) else Cohort(cases, Flow(len(cases), len(cases), unit="cases"))


def list_own_packages(settings: Mapping[str, Any]) -> list[str]:
    """List the packages that the user names on the command line, and so trusts, and each of the parts by its name."""
    return [*describe_packages(settings, CALLABLE), *(set(targets_in(settings)) - CALLABLE)]
