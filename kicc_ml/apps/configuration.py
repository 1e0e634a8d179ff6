"""Hydra's door: what a configuration may call, and a sweep over folds that every Hydra launcher serves."""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kicc_ml.apps.overrides import as_typed, setting
from kicc_ml.core.errors import NothingToLearn, UserError, is_full, target_error, with_causes
from kicc_ml.core.shown import Once, PlainTextFormatter, say


def _configs() -> Path:
    """``configs/`` of the checkout, or the copy of it that lies in an installed package."""
    installed = Path(__file__).resolve().parents[1] / "configs"
    return installed if installed.is_dir() else installed.parents[1] / "configs"


CONFIGS = _configs()

#: All that a configuration may call. ``instantiate`` alone would reach ``open`` or ``pandas.read_pickle``.
CALLABLE = frozenset(
    {
        "kicc_ml.cohort.repository.repository",
        "kicc_ml.cohort.public.synthetic.synthetic",
        "kicc_ml.cohort.public.hu_anchored.hu_ct",
        "kicc_ml.cohort.public.images.covid_ct_seg",
        "kicc_ml.cohort.public.images.covid_cxr",
        "kicc_ml.cohort.public.images.covid_cxr_masks",
        "kicc_ml.cohort.public.images.covid_cxr_severity",
        "kicc_ml.cohort.public.clinical_tables.catanzaro",
        "kicc_ml.cohort.public.clinical_tables.wuhan",
        "kicc_ml.runs.run_cohort.RunCohort",
        "kicc_ml.cohort.splits.leave_one_site_out",
        "kicc_ml.cohort.splits.site_kfold",
        "kicc_ml.cohort.splits.site_pairs",
        "kicc_ml.cohort.splits.patient_kfold",
        "kicc_ml.cohort.splits.all_cases",
        "kicc_ml.data.datamodule.PatchDataModule",
        "kicc_ml.data.datamodule.PatientDataModule",
        "kicc_ml.data.augment.transform.AugmentConfig",
        "kicc_ml.data.canonical.CanonicalCT",
        "kicc_ml.data.canonical.CanonicalCXR",
        "kicc_ml.models.segmentation.SegmentationTask",
        "kicc_ml.models.outcome.OutcomeTask",
        "kicc_ml.prediction.segmentation.held_out_segmentation",
        "kicc_ml.prediction.outcome.held_out_outcome",
        "kicc_ml.prediction.radiograph_scores.held_out_severity",
        "kicc_ml.training.extent.held_out_extent",
        "pytorch_lightning.Trainer",
    }
)


def build(node: DictConfig | Mapping[str, Any]) -> Any:
    """``hydra.utils.instantiate`` for what is in ``CALLABLE``; raises UserError for any other ``_target_``.

    What needs live objects is ``_partial_: true`` in its file and called with them afterwards, since Hydra would turn
    dataclasses handed to it into configurations.
    """
    for target in _targets(node):
        if target not in CALLABLE:
            raise UserError(f"the configuration names {target}, which is not among what this project may call")
    return instantiate(node, _convert_="all")


def _targets(node: Any) -> list[str]:
    if isinstance(node, ListConfig | list | tuple):
        return [target for item in node for target in _targets(item)]
    if not isinstance(node, DictConfig | dict):
        return []
    own = [node["_target_"]] if "_target_" in node else []
    return own + [target for value in node.values() for target in _targets(value)]


def configuration(name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose ``configs/<name>.yaml`` with overrides as typed on the command line."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(name, overrides=as_typed(overrides))


def log_to_terminal(form: str = logging.BASIC_FORMAT) -> None:
    """Warnings go to standard error, as plain text whatever names they quote."""
    handler = logging.StreamHandler()
    handler.setFormatter(PlainTextFormatter(form))
    handler.addFilter(Once())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def with_clear_errors(run: Callable[[], None]) -> None:
    """Run a script: what the user can mend is one message and exit status 2, not a traceback."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # else Hydra prints its own traceback and exits with 1
    try:
        run()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        cause = error.__cause__ if isinstance(error.__cause__, UserError) else error
        sys.exit(_failed(cause))
    except Exception as error:
        if is_full(error):
            sys.exit(_failed(target_error(Path(_file_of(error)), error)))
        # a fault of the program; what it quotes must not steer the terminal
        say(traceback.format_exc(), aside=True)
        sys.exit(1)


def _file_of(error: BaseException) -> str:
    """The file that an error, or one behind it, names; libraries that write files of their own name none."""
    named = (getattr(one, "filename", None) for one in with_causes(error))
    return os.fsdecode(next(filter(None, named), "a file"))


def _failed(error: BaseException) -> int:
    say(f"error: {error}", aside=True)
    return 2


def sweep_folds(
    job: Callable[[], None],
    prepare: Callable[[DictConfig], Sequence[str]],
    finish: Callable[[Sequence[DictConfig]], None],
) -> None:
    """Run a Hydra ``job`` for each fold that ``prepare`` finds unfinished, then ``finish`` over all parts.

    Folds go to Hydra's multirun, so ``hydra/launcher=joblib`` or ``submitit_slurm`` spread them. Options such as
    ``--help`` and ``--cfg job`` go to Hydra as they are.
    """
    arguments = as_typed(sys.argv[1:])
    sys.argv[1:] = arguments
    if any(argument.startswith("-") for argument in arguments):
        return job()
    parts = [(overrides, configuration("train", overrides)) for overrides in _parts(arguments)]
    trained = []
    for overrides, cfg in parts:
        try:
            folds = prepare(cfg)
        except NothingToLearn as error:
            if len(parts) == 1:
                raise
            say(f"left out: {cfg.name}: {error}", aside=True)
            continue
        trained.append(cfg)
        if folds:
            names = ",".join(setting("", fold)[1:] for fold in folds)
            sys.argv = [sys.argv[0], *overrides, f"split.fold={names}", "--multirun"]
            try:
                job()
            finally:  # Hydra's record names this machine's folders, and says nothing that config.yaml does not
                (Path(cfg.run_dir) / "multirun.yaml").unlink(missing_ok=True)
    if not trained:
        raise NothingToLearn("the cohort has neither masks nor endpoints; add masks/ or endpoint columns")
    finish(trained)


def _parts(arguments: list[str]) -> list[list[str]]:
    """The overrides of each experiment to run: one, or those listed under ``parts``; the user's own come last."""
    cfg = configuration("train", arguments)
    if not cfg.parts:
        return [arguments]
    own = [argument for argument in arguments if not argument.startswith("experiment=")]
    return [
        [
            f"experiment={part}",
            *(f"{key}={value}" for key, value in changes.items()),
            *own,
            setting("run_dir", f"{cfg.run_dir}/{part}"),
        ]
        for part, changes in cfg.parts.items()
    ]


def plain(node: DictConfig) -> dict[str, Any]:
    """A configuration as plain, resolved values."""
    container = OmegaConf.to_container(node, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def with_values(cfg: DictConfig, values: Mapping[str, Any]) -> DictConfig:
    """A copy of a configuration with other values at dotted keys; what refers to them follows."""
    changed = cfg.copy()
    for key, value in values.items():
        OmegaConf.update(changed, key, value, force_add=False)
    return changed
