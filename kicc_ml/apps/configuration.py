"""Hydra's door: what a configuration may call, how one is composed, and how a user's error looks."""

import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kicc_ml.apps.leftovers import drop_leftovers
from kicc_ml.apps.overrides import escape_references, quote_as_typed
from kicc_ml.core.errors import UserError, find_page, is_full, is_out_of_memory, iterate_causes, make_target_error
from kicc_ml.core.help_pages import MEMORY
from kicc_ml.core.parts import TARGET, find_part, targets_in
from kicc_ml.core.shown import OncePerMessage, PlainTextFormatter, say


def _find_configs() -> Path:
    """Find ``configs/`` of the checkout, or the copy of it that lies in an installed package."""
    installed = Path(__file__).resolve().parents[1] / "configs"
    return installed if installed.is_dir() else installed.parents[1] / "configs"


CONFIGS = _find_configs()

#: What this project ships for a configuration to call. A run says of anything else which package it came from.
CALLABLE = frozenset(
    {
        "kicc_ml.cohort.repository.repository",
        "kicc_ml.cohort.public.synthetic.synthetic",
        "kicc_ml.cohort.public.hu_anchored.hu_ct",
        "kicc_ml.cohort.public.images.covid_ct_seg",
        "kicc_ml.cohort.public.images.covid_cxr",
        "kicc_ml.cohort.public.images.covid_cxr_masks",
        "kicc_ml.cohort.public.images.covid_cxr_severity",
        "kicc_ml.cohort.public.aiforcovid.aiforcovid",
        "kicc_ml.cohort.nifti_datasets.nnunet",
        "kicc_ml.cohort.nifti_datasets.msd",
        "kicc_ml.cohort.public.pooled.pooled",
        "kicc_ml.cohort.public.ricord.ricord1a",
        "kicc_ml.cohort.public.nysbu.nysbu",
        "kicc_ml.cohort.public.covid_19_ar.covid_19_ar",
        "kicc_ml.cohort.public.nccid.nccid",
        "kicc_ml.cohort.public.stoic.stoic",
        "kicc_ml.cohort.public.covid_ct.covid19_ct_seg",
        "kicc_ml.cohort.public.covid_ct.covid19_20",
        "kicc_ml.cohort.public.covid_ct.mosmed",
        "kicc_ml.cohort.public.covid_ct.medseg",
        "kicc_ml.cohort.public.clinical_tables.catanzaro",
        "kicc_ml.cohort.public.clinical_tables.wuhan",
        "kicc_ml.runs.run_cohort.RunCohort",
        "kicc_ml.core.regions.make_region_set",
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
        "kicc_ml.models.losses.MaskedDiceCrossEntropy",
        "kicc_ml.models.losses.MaskedCrossEntropy",
        "kicc_ml.models.losses.OnKnownRegions",
        "kicc_ml.models.schedule.decayed",
        "kicc_ml.models.segmentation.SegmentationTask",
        "kicc_ml.models.outcome.OutcomeTask",
        "kicc_ml.prediction.segmentation.held_out_segmentation",
        "kicc_ml.prediction.outcome.held_out_outcome",
        "kicc_ml.prediction.radiograph_scores.held_out_severity",
        "kicc_ml.training.extent.held_out_extent",
        "kicc_ml.training.trackers.make_mlflow_logger",
        "kicc_ml.training.trackers.make_wandb_logger",
        "monai.networks.nets.UNet",
        "monai.networks.nets.DynUNet",
        "monai.networks.nets.SegResNet",
        "kicc_ml.models.slice_unet.SliceUNet",
        "kicc_ml.models.outcome.OutcomeNetwork",
        "kicc_ml.apps.search_study.Search",
        "torch.optim.AdamW",
        "pytorch_lightning.Trainer",
    }
)


def build(node: DictConfig | Mapping[str, Any]) -> Any:
    """Call ``hydra.utils.instantiate`` for what the user typed, or put into a folder of settings of their own.

    What needs live objects is ``_partial_: true`` in its file and called with them afterwards, since Hydra would turn
    dataclasses handed to it into configurations. Raises UserError for a ``_target_`` that cannot be imported. Settings
    that came with a run folder never get here.
    """
    values = OmegaConf.to_container(node, resolve=True, throw_on_missing=True) if isinstance(node, DictConfig) else node
    for target in targets_in(values):
        find_part(target)
    # Escaped twice, since instantiate looks for references twice.
    return instantiate(_escape_values(_escape_values(values)), _convert_="all")


def build_each(nodes: DictConfig | None) -> list[Any]:
    """Build each part of a mapping by name, or the one part that it is."""
    if not nodes:
        return []
    return [build(nodes)] if TARGET in nodes else [build(node) for node in nodes.values() if node is not None]


def _escape_values(values: Any) -> Any:
    """Escape ``${`` in the texts of plain values, since what was resolved is no reference any more."""
    if isinstance(values, str):
        return escape_references(values)
    if isinstance(values, Mapping):
        return {key: _escape_values(value) for key, value in values.items()}
    return [_escape_values(value) for value in values] if isinstance(values, list | tuple) else values


def compose_configuration(name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose ``configs/<name>.yaml`` with overrides as typed on the command line."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return drop_replaced_settings(compose(name, overrides=quote_as_typed(overrides)))


def drop_replaced_settings(cfg: DictConfig) -> DictConfig:
    """Drop from a composed configuration what is left of parts that the user has replaced."""
    return drop_leftovers(cfg, CONFIGS, CALLABLE)


def log_to_terminal(form: str = logging.BASIC_FORMAT) -> None:
    """Send warnings to standard error, as plain text whatever names they quote."""
    handler = logging.StreamHandler()
    handler.setFormatter(PlainTextFormatter(form))
    handler.addFilter(OncePerMessage())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def quieten_libraries() -> None:
    """Silence Lightning's advice on workers, loggers and paid services; the user watches the progress of a fold."""
    warnings.filterwarnings("ignore", module="(pytorch_lightning|lightning_fabric)")
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)


def run_with_clear_errors(run: Callable[[], None]) -> None:
    """Run a script: what the user can mend is one message and exit status 2, not a traceback."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # else Hydra prints its own traceback and exits with 1
    # Hydra says the settings of a job that failed before its error gets here, which has a sentence of its own.
    setter = vars(JobReturn)["return_value"].fset
    JobReturn.return_value = property(_return_outcome, setter)  # type: ignore[method-assign,assignment]
    try:
        run()
    except KeyboardInterrupt:
        say("stopped by Ctrl-C; the same command starts again, and keeps what was finished", to_stderr=True)
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        sys.exit(report_error(error))


def _return_outcome(job: JobReturn) -> Any:
    """Return what a job has returned; raise what it has raised."""
    if job.status == JobStatus.FAILED:
        raise job._return_value
    return job._return_value


def report_error(error: Exception, of: str = "") -> int:
    """Say what a user can mend in one message, a fault of the program with its traceback; returns the exit status.

    ``of`` says what failed, where the program goes on with something else.
    """
    place = f"{of}: " if of else ""
    if fault := find_user_fault(error):
        say(f"error: {place}{fault}", to_stderr=True)
        if page := find_page(fault) or find_page(error):
            say(f"help: {page}", to_stderr=True)
        return fault.exit_status if isinstance(fault, UserError) else 2
    say(f"{place}{traceback.format_exc()}", to_stderr=True)  # what it quotes must not steer the terminal
    return 1


def find_user_fault(error: Exception) -> BaseException | None:
    """Find the error whose message is for the user; None if the program is at fault."""
    if isinstance(error, UserError):
        return error  # it names file and remedy; what is behind it does not
    if isinstance(error, HydraException | OmegaConfBaseException):
        return error.__cause__ if isinstance(error.__cause__, UserError) else error
    if is_out_of_memory(error):
        return make_memory_error(error)
    return make_target_error(Path(_find_file_of(error)), error) if is_full(error) else None


def make_memory_error(error: BaseException) -> UserError:
    """Make the error for memory that is not enough, with what the library said of it."""
    said = next(iter(str(error).splitlines()), "") or type(error).__name__
    return UserError(
        f"memory is not enough ({said}); lower plan.memory_gib, data.batch_size or data.patch_size",
        page=MEMORY,
    )


def _find_file_of(error: BaseException) -> str:
    """Find the file that an error, or one behind it, names; libraries that write files of their own name none."""
    named = (getattr(one, "filename", None) for one in iterate_causes(error))
    return os.fsdecode(next(filter(None, named), "a file"))


def convert_to_plain(node: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain, resolved values."""
    container = OmegaConf.to_container(node, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def replace_values(cfg: DictConfig, values: Mapping[str, Any]) -> DictConfig:
    """Return a copy of a configuration with other values at dotted keys; what refers to them follows."""
    changed = cfg.copy()
    for key, value in values.items():
        OmegaConf.update(changed, key, _escape_values(value), force_add=False)
    return changed
