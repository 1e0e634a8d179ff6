"""Loggers for experiment trackers: MLflow, Weights & Biases.

What a tracker notes of its own accord (user, machine, paths, code, packages) is left out. Files lie outside of the run
folder, which is handed over.
"""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from pytorch_lightning.loggers import Logger, MLFlowLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import make_folder
from kicc_ml.core.help_pages import EXTRAS

#: MLflow calls its file store old, and counts its users; both can be said no to.
MLFLOW_SETTINGS = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
#: Where MLflow would note the path of files that it is given; it is given none.
NO_FILES = "mlflow-artifacts:/none"


def make_mlflow_logger(save_dir: Path, tracking_uri: str) -> Logger:
    """Make a logger that writes a run of MLflow, named after the fold, in an experiment named after the run folder.

    Args:
        save_dir: the folder of the fold.
        tracking_uri: a folder, or the address of a server.

    Raises:
        UserError: MLflow is not installed.
    """
    _require_installed("mlflow")
    for name, value in MLFLOW_SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    if "://" not in tracking_uri:
        make_folder(Path(tracking_uri))  # else MLflow makes it, with an experiment of its own that states its path
        tracking_uri = Path(tracking_uri).resolve().as_uri()
    experiment = save_dir.resolve().parent.name
    if not _writes():
        return MLFlowLogger(experiment, save_dir.name, tracking_uri)
    client = MlflowClient(tracking_uri)
    known = client.get_experiment_by_name(experiment)
    made = known.experiment_id if known else client.create_experiment(experiment, artifact_location=NO_FILES)
    # made here, since Lightning would add tags that name the user and the script
    run = client.create_run(made, run_name=save_dir.name)
    return MLFlowLogger(experiment, save_dir.name, tracking_uri, run_id=run.info.run_id)


class WandbFold(WandbLogger):
    """A run of Weights & Biases that ends with its fold. Its own log files, which name paths, are removed."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run."""
        super().finalize(status)
        folder = Path(self.experiment.settings.sync_dir)
        self.experiment.finish(exit_code=0 if status == "success" else 1)
        shutil.rmtree(folder / "logs", ignore_errors=True)


def make_wandb_logger(save_dir: Path, folder: str) -> Logger:
    """Make a logger that writes a run of Weights & Biases without a network, named after the fold.

    Its project is named after the run folder.

    Args:
        save_dir: the folder of the fold.
        folder: where the files lie.

    Raises:
        UserError: wandb is not installed.
    """
    _require_installed("wandb")
    import wandb

    if not _writes():
        return WandbLogger(save_dir.name, folder, offline=True)
    settings = wandb.Settings(
        mode="offline",
        reinit="finish_previous",
        host="",
        username="",
        console="off",
        silent=True,
        symlink=False,
        disable_git=True,
        disable_code=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
    project = save_dir.resolve().parent.name
    run = wandb.init(
        project=project, name=save_dir.name, dir=str(make_folder(Path(folder).resolve())), settings=settings
    )
    run.define_metric("trainer/global_step")
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return WandbFold(experiment=run)


def _writes() -> bool:
    """Whether this is the process, of several that train a fold together, whose loggers write."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _require_installed(package: str) -> None:
    if find_spec(package) is None:
        raise UserError(f"logger={package}: {package} is not installed; pip install 'kicc_ml[{package}]'", page=EXTRAS)
