"""Experiment trackers get metrics and settings, and nothing of user, machine or paths."""

import getpass
import os
import socket
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from pytorch_lightning.loggers import Logger

from kicc_ml.core.errors import UserError
from kicc_ml.training import trackers
from kicc_ml.training.trackers import make_mlflow_logger, make_wandb_logger

#: As a tracker would find them out; long enough not to be in a file by chance.
USER, HOST = "user-of-this-machine", "host-of-this-machine"
MAKERS = [
    pytest.param(
        make, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"the extra kicc_ml[{name}] is not installed")
    )
    for make, name in ((make_mlflow_logger, "mlflow"), (make_wandb_logger, "wandb"))
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory in which every source of a user's and a machine's name gives one that is searched for."""
    for variable in ("LOGNAME", "USER", "USERNAME", "LNAME"):
        monkeypatch.setenv(variable, USER)
    monkeypatch.setattr(socket, "gethostname", lambda: HOST)
    monkeypatch.chdir(tmp_path)
    assert getpass.getuser() == USER
    return tmp_path


def log(make: Callable[[Path, str], Logger], folder: Path, *folds: str) -> Path:
    for fold in folds:
        logger = make(folder / "runs" / "lesion_ct" / fold, "logs/tracker")
        logger.log_hyperparams({"model": {"learning_rate": 0.0625}})
        for step in (1, 2):
            logger.log_metrics({"train/loss": 0.5 / step}, step)
        logger.finalize("success")
    return folder / "logs" / "tracker"


@pytest.mark.parametrize("make", MAKERS)
def test_each_fold_is_a_run_of_its_own_outside_of_the_run_folder(make: Callable[[Path, str], Logger], folder: Path):
    written = log(make, folder, "seoul", "busan")
    content = [path.read_bytes() for path in written.rglob("*") if path.is_file()]
    for word in ("seoul", "busan", "lesion_ct", "learning_rate", "loss"):
        named = any(word in str(path.relative_to(folder)) for path in written.rglob("*"))
        assert named or any(word.encode() in one for one in content), word
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("make", MAKERS)
def test_no_file_names_a_user_a_machine_or_a_path(make: Callable[[Path, str], Logger], folder: Path):
    written = log(make, folder, "seoul")
    files = [path for path in written.rglob("*") if path.is_file()]
    assert files
    for path in files:
        for secret in (USER, HOST, str(folder), os.path.expanduser("~") + "/", "site-packages", "pytest"):
            assert secret.encode() not in path.read_bytes(), (path, secret)


@pytest.mark.parametrize(("make", "name"), [(make_mlflow_logger, "mlflow"), (make_wandb_logger, "wandb")])
def test_without_its_package_a_tracker_says_how_to_install_it(
    make: Callable[[Path, str], Logger], name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trackers, "find_spec", lambda package: None)
    with pytest.raises(UserError, match=rf"logger={name}: .*pip install 'kicc_ml\[{name}\]'"):
        make(folder / "runs" / "lesion_ct" / "seoul", "logs/tracker")
    assert not (folder / "logs").exists()


def test_mlflow_reads_the_metrics_back(folder: Path):
    pytest.importorskip("mlflow", reason="the extra kicc_ml[mlflow] is not installed")
    from mlflow.tracking import MlflowClient

    client = MlflowClient(log(make_mlflow_logger, folder, "seoul").as_uri())
    (experiment,) = client.search_experiments()
    (run,) = client.search_runs([experiment.experiment_id])
    assert (experiment.name, run.info.run_name) == ("lesion_ct", "seoul")
    assert run.data.params == {"model/learning_rate": "0.0625"}
    assert [one.value for one in client.get_metric_history(run.info.run_id, "train/loss")] == [0.5, 0.25]
    assert set(run.data.tags) == {"mlflow.runName"}
