"""How a job has ended is told apart on a real Slurm, with accounts and without, also after Slurm has forgotten it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from kicc_ml.apps.slurm_jobs import Job, find_lost
from tests.support.slurm import running_slurm
from tests.support.training_on_slurm import ON_SLURM, Place, make_place

pytest.importorskip("submitit", reason="the extra kicc_ml[slurm] is not installed")
pytestmark = pytest.mark.slow

CANCELLED, TOO_LONG, KILLED = "busan-1", "daegu-1", "seoul-1"
RUN = "runs/ended"
WITH, WITHOUT = "accounts", "no accounts"


@pytest.fixture(scope="module", params=[WITHOUT, WITH])
def kept(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def place(kept: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A working directory on a Slurm with accounts, or without; sockets need short paths."""
    with TemporaryDirectory(prefix="slurm") as folder, running_slurm(Path(folder), accounts=kept == WITH) as cluster:
        yield make_place(cluster, tmp_path_factory.mktemp("ends"), patients=24, sites=3)


@pytest.fixture(scope="module")
def ended(place: Place) -> tuple[dict[str, Job], str]:
    """The jobs of three folds, of which one was cancelled, one met its limit and one was killed, and the output."""
    started = place.start("trainer.max_steps=1000000", f"run_dir={RUN}", *ON_SLURM)
    place.wait_for_steps(RUN, (CANCELLED, TOO_LONG, KILLED))
    numbers = place.jobs()
    place.cluster.call("scontrol", "update", f"JobId={numbers[TOO_LONG]}", "TimeLimit=1")
    place.cluster.call("scancel", numbers[CANCELLED])
    for line in place.cluster.call("scontrol", "listpids", numbers[KILLED]).splitlines()[1:]:
        pid, _, step, *_ = line.split()
        if step == "0":
            os.kill(int(pid), signal.SIGKILL)
    assert started.wait(timeout=900) == 2
    logs = {fold: next((place.folder / "slurm_logs").rglob(f"{number}_0_log.out")) for fold, number in numbers.items()}
    jobs = {fold: Job(number, fold, logs[fold]) for fold, number in numbers.items()}
    return jobs, (place.folder / "output").read_text()


def test_cancelled_time_limit_and_error_are_told_apart(ended: tuple[dict[str, Job], str]):
    said = ended[1]
    assert f"{CANCELLED} of {RUN}: it was cancelled" in said
    assert f"{TOO_LONG} of {RUN}: it reached its time limit" in said
    assert f"{KILLED} of {RUN}: it ended with an error" in said
    assert "No fold was finished" in said
    assert "Traceback" not in said


def test_what_slurm_has_forgotten_is_known_from_its_accounts_or_else_from_the_log(
    kept: str, place: Place, ended: tuple[dict[str, Job], str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SLURM_CONF", place.cluster.environment["SLURM_CONF"])
    lost = find_lost(place.folder / RUN, list(ended[0].values()), states={})
    assert lost[CANCELLED].startswith("it was cancelled")
    assert lost[TOO_LONG].startswith("it reached its time limit")
    unknown = "Slurm does not know it any more" if kept == WITHOUT else "it ended with an error"
    assert lost[KILLED].startswith(unknown)
