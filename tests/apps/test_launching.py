"""Folds in processes of their own: what each is started with, and what becomes of those that are lost."""

import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import DictConfig, OmegaConf

from kicc_ml.apps import fold_processes, slurm
from kicc_ml.apps.combinations import compose_combinations
from kicc_ml.apps.configuration import report_error
from kicc_ml.apps.cross_validation import Stages, cross_validate, cross_validate_each
from kicc_ml.apps.fold_processes import train_in_processes
from kicc_ml.apps.launching import FoldsLost, refuse_unusable_launcher
from kicc_ml.apps.slurm_jobs import Job, ListedJob
from kicc_ml.core.errors import UserError
from kicc_ml.runs.folder import fold_folder
from kicc_ml.runs.lay_down import STARTED

JOBLIB = ("experiment=clinical", "hydra/launcher=joblib")


class Processes:
    """Stands for processes on this machine: keeps what they are given, and writes results of folds not lost."""

    def __init__(self, lost: Mapping[str, str]) -> None:
        self.lost = lost
        self.given: list[tuple[Mapping[str, Sequence[str]], int]] = []
        self.held: list[str] = []

    def __call__(self, settings: Mapping[str, Sequence[str]], processes: int) -> Mapping[str, str]:
        self.given.append((settings, processes))
        self.held += sorted(path.parent.name for path in Path.cwd().rglob(STARTED))
        for run_dir in {path.parents[1] for path in Path.cwd().rglob(STARTED)}:
            for fold in set(settings) - set(self.lost):
                (fold_folder(run_dir, fold) / "predictions.csv").write_text("case_id\n")
                (fold_folder(run_dir, fold) / "config.yaml").write_text("{}\n")
        return self.lost


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[Processes, Stages, list[str]]]:
    """Processes that lose some folds, the stages of a run with given folds, and the folders that are reported."""
    monkeypatch.chdir(tmp_path)

    def give(*folds: str, **lost: str) -> tuple[Processes, Stages, list[str]]:
        reported: list[str] = []

        def finish(parts: Sequence[DictConfig]) -> int:
            reported.extend(cfg.run_dir for cfg in parts)
            return 0

        processes = Processes(lost)
        monkeypatch.setattr("kicc_ml.apps.launching.train_in_processes", processes)
        return processes, Stages(lambda: pytest.fail("Hydra's own launcher"), lambda cfg: folds, finish), reported

    return give


def test_each_fold_is_started_with_its_own_settings_and_none_of_the_launcher(started):
    processes, stages, reported = started("서울", "o'brien")
    assert cross_validate(["seed=2", *JOBLIB, "hydra.launcher.n_jobs=3", "run_dir=mine"], stages) == 0
    ((settings, at_a_time),) = processes.given
    assert at_a_time == 3
    common = ["seed=2", "experiment=clinical", "run_dir=mine"]
    assert settings == {
        "서울": [*common, "split.fold='서울'"],
        "o'brien": [*common, r"split.fold='o\'brien'"],
    }
    assert processes.held == ["o-brien", "서울"]
    assert reported == ["mine"]


def test_a_lost_fold_is_named_after_the_report_of_the_others(started):
    _, stages, reported = started("seoul", "busan", busan="it was killed")
    with pytest.raises(FoldsLost, match=r"1 fold lost: busan of mine: it was killed.*trains what is missing") as lost:
        cross_validate([*JOBLIB, "run_dir=mine"], stages)
    assert report_error(lost.value) == 3
    assert reported == ["mine"]


def test_where_all_folds_are_lost_there_is_no_report(started):
    _, stages, reported = started("seoul", seoul="it was killed")
    with pytest.raises(UserError, match=r"it was killed\. No fold was finished") as lost:
        cross_validate([*JOBLIB, "run_dir=mine"], stages)
    assert report_error(lost.value) == 2
    assert reported == []


def test_a_combination_that_has_lost_a_fold_has_failed(started):
    _, stages, _ = started("seoul", "busan", seoul="it was killed")
    combinations = compose_combinations([*JOBLIB, "seed=1,2", "run_dir=mine"])
    assert cross_validate_each(combinations, stages) == 3
    (path,) = Path("mine").glob("*.csv")
    assert all("it was killed" in status for status in pd.read_csv(path)["status"])


def test_a_killed_process_costs_its_fold_alone(monkeypatch: pytest.MonkeyPatch):
    real = subprocess.run
    codes = {"fine": "pass", "killed": "import os; os.kill(os.getpid(), 9)", "failed": "raise SystemExit(2)"}
    codes["ended"] = "raise SystemExit(143)"

    def run(command: Sequence[str], **more: object) -> subprocess.CompletedProcess:
        return real([sys.executable, "-c", codes[command[-1]]], check=False)

    monkeypatch.setattr(fold_processes.subprocess, "run", run)
    lost = train_in_processes({name: [name] for name in codes}, 2)
    assert set(lost) == {"killed", "failed", "ended"}
    assert "it was killed" in lost["killed"]
    assert "n_jobs" in lost["killed"]
    assert lost["failed"] == "its error stands above"
    assert lost["ended"] == f"it was ended by {signal.SIGTERM.name}"


def test_where_there_is_no_slurm_it_is_said_before_anything_is_done(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("submitit", reason="the extra kicc_ml[slurm] is not installed")
    monkeypatch.setattr(slurm.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="there is no sbatch here"):
        refuse_unusable_launcher(["experiment=clinical", "hydra/launcher=slurm"], own_sweeper=False)
    refuse_unusable_launcher(["experiment=clinical", "hydra/launcher=joblib"], own_sweeper=False)


def test_without_the_plug_in_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"pip install 'kicc_ml\[slurm\]'"):
        refuse_unusable_launcher(["hydra/launcher=slurm"], own_sweeper=False)


def test_a_job_that_slurm_holds_is_named_once_with_the_way_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    answers = [("PENDING", "launch failed requeued held")] * 2 + [("RUNNING", "None")] + [("COMPLETED", "None")] * 2
    lists = iter([[ListedJob("7", state, reason, "busan.1")] for state, reason in answers])
    monkeypatch.setattr(slurm, "POLL_S", 0)
    monkeypatch.setattr(slurm, "list_jobs", lambda: next(lists))
    monkeypatch.setattr(slurm, "submit", lambda fold, *_: Job("7", fold, tmp_path / "run" / fold / "7_0_log.out"))
    monkeypatch.setattr(slurm, "parameters_of", lambda *_: {})
    monkeypatch.setattr(slurm, "find_lost", lambda *_: {})
    slurm.train_on_slurm({"busan": []}, OmegaConf.create({"run_dir": str(tmp_path), "ckpt_path": None}), {})
    held = [line for line in capsys.readouterr().err.splitlines() if "held" in line]
    way = "scontrol release 7 lets it go on"
    assert held == [f"fold busan: job 7 is held by Slurm (launch failed requeued held); {way}"]
