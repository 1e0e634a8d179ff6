"""The jobs of a run that nobody waits for, and what a log tells of the end of a job that Slurm has forgotten."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from kicc_ml.apps import slurm, slurm_jobs, slurm_unattended
from kicc_ml.apps.cross_validation import Stages, run_typed
from kicc_ml.apps.slurm_jobs import Job, find_lost
from kicc_ml.apps.slurm_unattended import PreparedFoldJob, PrepareJob, ReportJob
from kicc_ml.core.errors import UserError
from tests.support.recorded_folds import Recorder

ON_SLURM = ("experiment=clinical", "cohort=repository", "cohort.root=hospitals", "hydra/launcher=slurm")


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[tuple[str, Any, dict]]]:
    """What is submitted by a command: name, work and options of ``sbatch`` of each job, numbered from 1."""
    pytest.importorskip("submitit", reason="the extra kicc_ml[slurm] is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slurm.shutil, "which", lambda name: name)
    monkeypatch.setattr(slurm_unattended, "list_folds", lambda cfg: ["busan", "seoul"])
    for module in (slurm, slurm_unattended):
        monkeypatch.setattr(module, "list_jobs", lambda: [])
    jobs: list[tuple[str, Any, dict]] = []

    def submit(name: str, work: Any, run_dir: Path, launcher: Mapping, parameters: Mapping[str, Any]) -> Job:
        jobs.append((name, work, dict(parameters)))
        return Job(str(len(jobs)), name, Path("slurm_logs") / "run" / name / f"{len(jobs)}_0_log.out")

    monkeypatch.setattr(slurm_unattended, "submit", submit)
    monkeypatch.setattr(slurm_unattended.subprocess, "run", lambda *_, **__: None)

    def start(*typed: str) -> list[tuple[str, Any, dict]]:
        monkeypatch.setattr(sys, "argv", ["train.py", *typed])
        recorder = Recorder()
        with pytest.raises(SystemExit) as ended:
            run_typed(Stages(recorder.job, recorder.prepare, recorder.finish))
        assert ended.value.code == 0
        assert not recorder.prepared  # that is left to the job
        return jobs

    return start


def test_folds_follow_the_preparation_and_the_report_all_of_them(
    submitted: Callable[..., list[tuple[str, Any, dict]]], capsys: pytest.CaptureFixture[str]
):
    jobs = submitted(*ON_SLURM, "--no-wait", "trainer=gpu", "trainer.max_time=null", "hydra.launcher.timeout_min=60")
    assert [name for name, _, _ in jobs] == ["preparation", "busan", "seoul", "report"]
    assert [type(work) for _, work, _ in jobs] == [PrepareJob, PreparedFoldJob, PreparedFoldJob, ReportJob]
    options = [parameters["slurm_additional_parameters"] for _, _, parameters in jobs]
    assert [one.get("dependency") for one in options] == [None, "afterok:1", "afterok:1", "afterany:1:2:3"]
    assert [one.get("kill-on-invalid-dep") for one in options] == [None, "yes", "yes", None]
    assert options[0]["hold"] is True  # until all have been submitted
    assert [parameters.get("gpus_per_node") for _, _, parameters in jobs] == [None, 1, 1, None]
    (line,) = capsys.readouterr().err.splitlines()
    assert line == ("jobs of Slurm: preparation 1, busan 2, seoul 3, report 4; logs: slurm_logs/run/FOLD/JOB_0_log.out")


def test_the_users_own_options_of_sbatch_are_kept(submitted: Callable[..., list[tuple[str, Any, dict]]]):
    jobs = submitted(*ON_SLURM, "--no-wait", "+hydra.launcher.additional_parameters.dependency=singleton")
    options = [parameters["slurm_additional_parameters"] for _, _, parameters in jobs]
    assert [one["dependency"] for one in options] == ["singleton", "afterok:1", "afterok:1", "afterany:1:2:3"]
    assert all(one["requeue"] for one in options)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (("experiment=clinical", "--no-wait"), "add hydra/launcher=slurm"),
        (("hydra/launcher=slurm", "--no-wait"), "name one: experiment=outcome"),
        ((*ON_SLURM, "-m", "seed=1,2", "--no-wait"), "without -m"),
    ],
)
def test_what_cannot_be_left_to_slurm_is_refused(
    submitted: Callable[..., list[tuple[str, Any, dict]]], typed: tuple[str, ...], words: str
):
    with pytest.raises(UserError, match=words):
        submitted(*typed)


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("*** JOB 2 ON vm CANCELLED AT 2026-11-27T21:45:59 DUE TO TIME LIMIT ***\n", "time limit"),
        ("*** STEP 2.0 ON vm CANCELLED AT 2026-11-27T21:45:59 ***\n", "it was cancelled"),
        ("*** JOB 2 ON vm CANCELLED AT 2026-11-27T21:45:59 DUE TO PREEMPTION ***\n", "another job took its place"),
        ("*** STEP 2.0 ON vm CANCELLED AT 2026-11-27T21:45:59 DUE TO NODE FAILURE, SEE LOG ***\n", "its node failed"),
        (
            "*** STEP 2.0 ON vm CANCELLED AT 2026-11-27T21:45:59 DUE TO TIME LIMIT ***\n"
            "*** STEP 2.0 ON vm CANCELLED AT 2026-11-27T21:46:59 ***\n",
            "time limit",
        ),
        (
            "*** STEP 2.0 ON vm CANCELLED AT 2026-11-27T21:45:59 ***\n"
            "submitit INFO (2026) - Starting with JobEnvironment(job_id=2)\nerror: no space\n",
            "Slurm does not know it any more",
        ),
        ("error: no space\n", "Slurm does not know it any more"),
    ],
)
def test_the_log_tells_why_slurm_ended_a_job_that_it_has_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str, reason: str
):
    def no_accounts(*_: object, **__: object) -> None:
        raise FileNotFoundError("sacct")

    monkeypatch.setattr(slurm_jobs.subprocess, "run", no_accounts)
    path = tmp_path / "2_0_log.out"
    path.write_text(f"submitit INFO (2026) - Starting with JobEnvironment(job_id=2)\n{log}")
    assert reason in find_lost(tmp_path / "run", [Job("2", "busan", path)], {})["busan"]


def test_where_a_job_is_refused_none_is_left_behind(
    submitted: Callable[..., list[tuple[str, Any, dict]]], monkeypatch: pytest.MonkeyPatch
):
    ended: list[list[str]] = []

    def refuse(name: str, *_: object) -> Job:
        if name == "seoul":
            raise UserError("the job of fold seoul was not accepted")
        return Job(f"1{name[0]}", name, Path(name))

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ended.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(slurm_unattended, "submit", refuse)
    monkeypatch.setattr(slurm_jobs.subprocess, "run", run)
    with pytest.raises(UserError, match="seoul was not accepted"):
        submitted(*ON_SLURM, "--no-wait")
    assert ended == [["scancel", "1p", "1b"]]


def test_where_the_first_job_cannot_be_released_it_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise subprocess.CalledProcessError(1, ["scontrol"])

    monkeypatch.setattr(slurm_unattended.subprocess, "run", refuse)
    with pytest.raises(UserError, match="scontrol cannot release job 7"):
        slurm_unattended.release(Job("7", "preparation", Path("log")))


def test_a_run_is_not_started_twice_where_slurm_does_not_tell_of_the_first(
    submitted: Callable[..., list[tuple[str, Any, dict]]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(slurm, "list_jobs", lambda: None)
    with pytest.raises(UserError, match="squeue does not answer"):
        submitted(*ON_SLURM, "--no-wait")
