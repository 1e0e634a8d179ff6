"""Train every fold of a split, predict what each fold held out, report. ``python train.py --help``: what to type.

python train.py                                              the synthetic demonstration
python train.py experiment=lesion_ct cohort=repository cohort.root=DIR
python train.py experiment=lesion_ct split.fold=NAME         one fold
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from torch import nn

from kicc_ml.apps.configuration import (
    CONFIGS,
    build,
    build_each,
    convert_to_plain,
    drop_replaced_settings,
    log_to_terminal,
    quieten_libraries,
    replace_values,
    run_with_clear_errors,
)
from kicc_ml.apps.cross_validation import Stages, run_in_one_job, run_typed
from kicc_ml.apps.evaluate import evaluate_runs, locate_cohort, print_results
from kicc_ml.apps.fold_settings import make_fold_settings, make_mark, refuse_absent_images
from kicc_ml.apps.own_parts import (
    add_flow,
    build_own_loggers,
    build_parts_of_task,
    list_own_packages,
    make_splits,
    start_from_weights,
)
from kicc_ml.cohort.flow import Cohort
from kicc_ml.cohort.splits import make_undivided_split, read_splits
from kicc_ml.core.errors import UserError
from kicc_ml.core.files import write_json, write_table, write_yaml
from kicc_ml.core.schemas.versions import write_versioned
from kicc_ml.core.shown import say
from kicc_ml.core.task_scores import parse_task_scores
from kicc_ml.core.types import Case, Split
from kicc_ml.data.fingerprint import fingerprint
from kicc_ml.data.own_transforms import NO_TRANSFORMS, transforms_of
from kicc_ml.data.store import VolumeStore
from kicc_ml.dicom.index.cluster import use_cluster
from kicc_ml.models.device_memory import bound_by_card
from kicc_ml.models.ema import AveragedWeights
from kicc_ml.models.fold_checkpoint import MARK, FoldCheckpoints, Mark, load_best, read_checkpoint, refuse_foreign
from kicc_ml.models.gpu import allow_tensor_cores, arrange_for_gpu
from kicc_ml.models.network_facts import require_patch
from kicc_ml.models.networks import build_own_network
from kicc_ml.models.outcome import FitsInputs
from kicc_ml.models.resume import RandomStates, last_checkpoint, metrics_logger
from kicc_ml.prediction.lesion_threshold import choose_lesion_threshold
from kicc_ml.prediction.opacity_share import learn_opacity_share
from kicc_ml.prediction.outcome import fit_inputs, recalibrate
from kicc_ml.runs.cohort_readers import make_cohort_record
from kicc_ml.runs.folder import (
    FLOW,
    PLAN,
    PREDICTIONS,
    QUARANTINE,
    SPLIT,
    about_data,
    finished_folds,
    fold_folder,
    save_network,
)
from kicc_ml.runs.lay_down import hold_fold, lay_down, refuse_changed
from kicc_ml.runs.plan import FIELDS, fill_plan, make_plan, planned_fields
from kicc_ml.runs.run_cohort import RunCohort, cases_of_run, note_cohort
from kicc_ml.runs.start_line import describe_training
from kicc_ml.runs.validation import validation_score
from kicc_ml.training.checkpointed_blocks import CheckpointedBlocks
from kicc_ml.training.compilation import CompiledSteps
from kicc_ml.training.determinism import naming_what_is_not_deterministic, say_what_differs
from kicc_ml.training.event_files import drop_host_names
from kicc_ml.training.extent import add_extent
from kicc_ml.training.interruption import SaveOnSignal
from kicc_ml.training.processes import environment_for, is_first_process, processes_of, strategy_in
from kicc_ml.training.progress_bar import TrainingProgressBar

CHECKPOINTS, LAST = "checkpoints", "last.ckpt"
TENSORBOARD = "tensorboard"
#: Checkpoints that Lightning writes for a Slurm job and resumes without being told to.
REQUEUED = "hpc_ckpt_*.ckpt"

#: Weights are averaged over about the last hundred steps: the shortest trainings have a few hundred.
AVERAGE_DECAY = 0.99

logger = logging.getLogger("train")


def prepare(cfg: DictConfig) -> list[str]:
    """Make index, cohort, store and split, once for all folds; returns the names of the folds still to train."""
    with use_cluster(cfg.dask or ""):
        return prepare_folds(cfg)


def prepare_folds(cfg: DictConfig) -> list[str]:
    """Prepare all folds by the processes of joblib, or of the cluster that is in use."""
    run_dir = Path(cfg.run_dir)
    parse_task_scores(convert_to_plain(cfg.task)).check()
    refuse_absent_images(convert_to_plain(cfg))
    everybody = build_cohort(cfg)
    # Only so that what is prepared here serves most folds: each plans anew, from its own training cases.
    planned_cfg, _ = apply_plan(cfg, everybody)
    data = build_data_module(planned_cfg, everybody, make_undivided_split(everybody))
    data.prepare_data()
    data.setup()
    splits = make_splits(cfg, data.train_cases)
    for split in splits:
        add_features(cfg, everybody, split)  # features that would leak are refused before anything is trained
    settings = {split.fold: make_fold_settings(cfg, split.fold) for split in splits}
    lay_down(run_dir, splits, settings, make_cohort_record(convert_to_plain(cfg.cohort), everybody))
    write_json(run_dir / QUARANTINE, data.quarantined)
    write_versioned(run_dir / FLOW, "flow", everybody.flow.as_json())
    note_cohort(run_dir, convert_to_plain(cfg.cohort), everybody)
    done = finished_folds(run_dir)
    return [split.fold for split in splits if fold_folder(run_dir, split.fold) not in done]


def train(cfg: DictConfig) -> None:
    """Train one fold, which this process alone writes; of several processes of one training the first holds it."""
    if not is_first_process(processes_of(cfg.trainer)):
        return train_fold(cfg, fold_folder(cfg.run_dir, cfg.split.fold))
    with hold_fold(Path(cfg.run_dir), cfg.split.fold) as folder:
        refuse_changed(folder, make_fold_settings(cfg, cfg.split.fold))
        if folder in finished_folds(Path(cfg.run_dir)):
            say(f"fold {cfg.split.fold} was finished meanwhile by another process", to_stderr=True)
            return None
        return train_fold(cfg, folder)


def train_fold(cfg: DictConfig, folder: Path) -> None:
    """Train a fold and write its weights and held-out predictions, which, written last, mark the fold as finished."""
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    (split,) = read_splits(folder / SPLIT)
    settings = make_fold_settings(cfg, split.fold)
    cases = add_features(
        cfg, cases_of_run(Path(cfg.run_dir), convert_to_plain(cfg.cohort), lambda: build_cohort(cfg)), split
    )
    cfg, plan = apply_plan(cfg, [case for case in cases if case.case_id in split.train])
    if plan:
        settings = fill_plan(settings, plan["fields"])
        write_yaml(folder / PLAN, plan)
    data = build_data_module(cfg, cases, split)
    data.prepare_data()
    data.setup()
    about, network = about_data(data), None
    if cfg.network is not None:  # an experiment may be of baselines alone
        network = build_own_network(convert_to_plain(cfg.network), about.sizes)
        if about.regions:
            require_patch(network, cfg.data.patch_size)
        if not fit(cfg, network, data, folder, make_mark(settings, split)).is_global_zero:
            return
        if about.regions:
            about = choose_lesion_threshold(network, about, data, data.store.regions)
            learn_opacity_share(network, about, data, folder)
        if about.endpoints:
            recalibrate(network, data)
        save_network(folder, network, about, settings)
    else:
        say(f"fold {split.fold}: baselines on the processor, no network to train", to_stderr=True)
    rows, quarantined = build(cfg.predict)(network, about, data, Path(cfg.run_dir))
    write_json(folder / QUARANTINE, quarantined)
    write_table(folder / PREDICTIONS, rows)


def fit(cfg: DictConfig, network: nn.Module, data: Any, folder: Path, mark: Mark) -> pl.Trainer:
    """Train the network. It ends with its best weights, and where it was trained: Lightning leaves it on the CPU."""
    checkpoint = find_checkpoint(cfg, folder, mark)
    freezing = start_from_weights(cfg, network)
    if isinstance(network, FitsInputs):
        fit_inputs(network, data.train_cases, data.features, data.endpoints)
    task = build(cfg.model)(network, **build_parts_of_task(cfg))
    checkpoints = FoldCheckpoints((folder / CHECKPOINTS).resolve(), mark)
    saving = SaveOnSignal(folder / CHECKPOINTS / LAST)
    own = [*freezing, *build_each(cfg.callbacks), CheckpointedBlocks(cfg.plan), CompiledSteps(cfg.compile)]
    trainer = build(cfg.trainer)(
        logger=[*build_loggers(folder, checkpoint), *build_own_loggers(cfg, folder)],
        callbacks=[*build_callbacks(folder, task, data.split), *own, saving],
        default_root_dir=folder,
        plugins=[(environment := environment_for(processes_of(cfg.trainer))), checkpoints],
        **strategy_in(environment, cfg.trainer),
    )
    allow_tensor_cores(trainer.strategy.root_device)
    arrange_for_gpu(network, trainer.strategy.root_device)
    say(f"fold {data.split.fold}: {describe_training(convert_to_plain(cfg), trainer)}", to_stderr=True)
    say_what_differs(trainer)
    with saving.listening(), naming_what_is_not_deterministic():
        trainer.fit(task, data, ckpt_path=checkpoint, weights_only=True)
    if trainer.is_global_zero:
        drop_host_names(folder / TENSORBOARD)
    load_best(task, trainer, checkpoints)
    network.to(trainer.strategy.root_device)
    return trainer


def report(parts: Sequence[DictConfig]) -> int:
    """Write scores, report and severity maps of each part and, of several, of all together. Returns the exit status."""
    trust = {package for cfg in parts for package in list_own_packages(convert_to_plain(cfg))}
    cohorts = {Path(cfg.run_dir): replace(locate_cohort(cfg.cohort, trust), as_trained=True) for cfg in parts}
    runs = list(cohorts)
    return print_results(evaluate_runs(runs, runs[0].parent, cohorts, trust))


def build_cohort(cfg: DictConfig) -> Cohort:
    """Build the cohort that the user names."""
    cohort = build(cfg.cohort)
    if isinstance(cohort, RunCohort):
        raise UserError("cohort=of_run is for evaluate.py; name the cohort to train on, for example cohort=repository")
    return add_flow(cohort)


def add_features(cfg: DictConfig, cases: Sequence[Case], split: Split) -> Sequence[Case]:
    """Return the cases of a fold with the extent of disease on CT as features, if ``features_from`` is given."""
    return add_extent(cases, split, Path(cfg.features_from)) if cfg.features_from else cases


def apply_plan(cfg: DictConfig, cases: Sequence[Case]) -> tuple[DictConfig, dict[str, Any]]:
    """Replace each setting whose value is ``planned``; also returns what was decided on which ground."""
    settings = convert_to_plain(cfg)
    if not planned_fields(settings):
        return cfg, {}
    found = fingerprint(cases)
    memory_gib = bound_by_card(cfg.plan.memory_gib, cfg.trainer.get("accelerator", "auto"))
    fields = make_plan(found, settings, memory_gib)
    plan = {"fields": fields, "fingerprint": asdict(found)}
    return replace_values(cfg, {FIELDS[name]: value for name, value in fields.items()}), plan


def build_data_module(cfg: DictConfig, cases: Sequence[Case], split: Split) -> Any:
    """Build the data module of a fold with the transforms and the store of the configuration."""
    transforms = transforms_of(convert_to_plain(cfg.transforms))
    own = {"transforms": transforms} if transforms != NO_TRANSFORMS else {}
    store = VolumeStore(Path(cfg.store_dir), build(cfg.task.regions))
    return build(cfg.data)(cases=cases, split=split, store=store, seed=cfg.seed, **own)


def find_checkpoint(cfg: DictConfig, folder: Path, mark: Mark) -> Path | None:
    """Find where the fold goes on: the file given, or with ``last`` the fold's own last checkpoint if it has one.

    Raises UserError, before anything of the fold is changed, for a file that is damaged or of another fold.
    """
    if left := sorted(folder.glob(REQUEUED)):
        raise UserError(f"{left[0]} was left by a requeued job and would be taken up unasked; remove it")
    if cfg.ckpt_path is None:
        return None
    path = folder / CHECKPOINTS / LAST if cfg.ckpt_path == "last" else Path(cfg.ckpt_path)
    if cfg.ckpt_path == "last" and not path.exists():
        return None
    refuse_foreign(read_checkpoint(path).get(MARK), mark, path)
    return path


def build_loggers(folder: Path, checkpoint: Path | None) -> list[Logger]:
    """Build the loggers of a fold: ``metrics.csv`` and TensorBoard's events, in the fold's own folder."""
    return [metrics_logger(folder, checkpoint), TensorBoardLogger(folder, name=TENSORBOARD, version="")]


def build_callbacks(folder: Path, task: Any, split: Split) -> list[Callback]:
    """Build a fold's callbacks: the best checkpoint, if there are validation cases; resumption; a progress bar."""
    best = {"monitor": task.monitor, "mode": task.monitor_mode} if split.val else {}
    return [
        ModelCheckpoint(folder / CHECKPOINTS, filename="best", enable_version_counter=False, **best),
        last_checkpoint(folder / CHECKPOINTS),
        AveragedWeights(AVERAGE_DECAY),
        RandomStates(),
        TrainingProgressBar(),
    ]


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Train one fold, or for a user's own sweeper a whole cross-validation. Returns how well it did on validation."""
    quieten_libraries()
    cfg = drop_replaced_settings(cfg)
    if cfg.split.fold is None:
        return run_in_one_job(cfg, prepare, train, report)
    train(cfg)
    return validation_score([fold_folder(cfg.run_dir, cfg.split.fold)]).value


def run() -> None:
    """Do what ``train.py`` and ``kicc-ml train`` do with the arguments of the command line."""
    log_to_terminal()
    run_with_clear_errors(lambda: run_typed(Stages(main, prepare, report)))
