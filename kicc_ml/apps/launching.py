"""Where the folds of a run are trained: in this process, in several on this machine, or as jobs of a cluster."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from kicc_ml.apps import slurm
from kicc_ml.apps.command_line import parse_overrides, set_hydra_arguments
from kicc_ml.apps.configuration import CONFIGS
from kicc_ml.apps.fold_processes import train_in_processes
from kicc_ml.apps.overrides import quote_as_typed, write_setting
from kicc_ml.core.errors import UserError
from kicc_ml.core.parts import TARGET
from kicc_ml.core.shown import format_count, say
from kicc_ml.runs.lay_down import hold_started
from kicc_ml.runs.start_line import describe_run

FOLD = "split.fold"
#: What Hydra's multirun writes: it names this machine's folders, and says nothing that config.yaml does not.
HYDRAS_RECORD = "multirun.yaml"
LAUNCHER, OF_LAUNCHER = "hydra/launcher", "hydra.launcher."
JOBLIB, SLURM, HYDRAS_SLURM = "joblib", "slurm", "submitit_slurm"
#: The kind of a launcher, by the end of the plug-in's name.
KINDS = {".JoblibLauncher": JOBLIB, ".SlurmLauncher": SLURM}


class FoldsLost(UserError):
    """Some folds failed where the others went on; what is finished has been reported."""

    exit_status = 3


def train_folds(overrides: Sequence[str], cfg: DictConfig, folds: Sequence[str], job: Callable[[], Any]) -> list[str]:
    """Train folds by the launcher that the settings name, and wait for all.

    Args:
        overrides: the settings of the run, as Hydra reads them.
        cfg: the same, composed.
        folds: the names of the folds.
        job: Hydra's way into the training of one fold, for launchers that Hydra calls.

    Returns:
        of each fold that was lost, its name and why.
    """
    run_dir, name, launcher = Path(cfg.run_dir), *launcher_of(overrides)
    budget = None if cfg.network is None else cfg.trainer.get("max_time")
    say(describe_run(run_dir, len(folds), budget, None if name in (JOBLIB, SLURM) else datetime.now()), to_stderr=True)
    with hold_started(run_dir, folds), without_record(run_dir):
        if name not in (JOBLIB, SLURM):
            names = ",".join(write_setting("", fold)[1:] for fold in folds)
            with set_hydra_arguments([*overrides, f"{FOLD}={names}", "--multirun"]):
                job()
            return []
        settings = {fold: set_fold(without_launcher(overrides), fold) for fold in folds}
        if name == SLURM:
            lost = slurm.train_on_slurm(settings, cfg, launcher)
        else:
            lost = train_in_processes(settings, launcher["n_jobs"])
    return [f"{fold} of {run_dir}: {reason}" for fold, reason in lost.items()]


def refuse_lost(lost: Sequence[str], any_finished: bool) -> None:
    """Raise for folds that were lost: FoldsLost where the others have been reported, else UserError."""
    if not lost:
        return
    which = f"{format_count(len(lost), 'fold')} lost: {'; '.join(lost)}. "
    if any_finished:
        raise FoldsLost(which + "The report is of the others; the same command trains what is missing")
    raise UserError(which + "No fold was finished")


def launcher_of(overrides: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The kind of the launcher, and its settings; a file of the user's own may be built on ``joblib`` or ``slurm``."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        hydra = compose("train", overrides=quote_as_typed(overrides), return_hydra_config=True).hydra
    name, target = str(hydra.runtime.choices[LAUNCHER]), str(hydra.launcher[TARGET])
    kind = next((kind for end, kind in KINDS.items() if target.endswith(end)), name)
    if name == HYDRAS_SLURM or kind not in (JOBLIB, SLURM):
        return name, {}
    stated = {str(key): hydra.launcher[key] for key in hydra.launcher if key != "name"}  # Hydra names it in a job
    return kind, {key: OmegaConf.to_object(one) if OmegaConf.is_config(one) else one for key, one in stated.items()}


def refuse_unusable_launcher(overrides: Sequence[str], own_sweeper: bool) -> None:
    """Raise UserError, with the remedy, where jobs of Slurm are asked for and cannot be made."""
    if not any(one.key_or_group == LAUNCHER and one.value() == SLURM for one in parse_overrides(overrides)):
        return
    slurm.refuse_without_slurm()
    if own_sweeper:
        raise UserError(
            "hydra/launcher=slurm trains folds; with a sweeper of your own say hydra/launcher=submitit_slurm"
        )


def refuse_live_run(overrides: Sequence[str], cfg: DictConfig) -> None:
    """Raise UserError if jobs of Slurm of an earlier start still train this run."""
    if launcher_of(overrides)[0] == SLURM:
        slurm.refuse_without_slurm()
        slurm.refuse_live_run(Path(cfg.run_dir))


@contextmanager
def without_record(run_dir: Path) -> Iterator[None]:
    """Remove what Hydra's multirun writes into a run folder."""
    try:
        yield
    finally:
        (run_dir / HYDRAS_RECORD).unlink(missing_ok=True)


def set_fold(overrides: Sequence[str], fold: str) -> list[str]:
    """The settings for one fold."""
    return [*overrides, write_setting(FOLD, fold)]


def without_launcher(overrides: Sequence[str]) -> list[str]:
    """The settings for the process of a fold, which starts no others."""
    keys = [one.key_or_group or "" for one in parse_overrides(overrides)]
    return [
        text for text, key in zip(overrides, keys, strict=True) if key != LAUNCHER and not key.startswith(OF_LAUNCHER)
    ]
