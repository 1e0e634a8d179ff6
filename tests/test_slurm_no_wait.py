"""``--no-wait`` on a real Slurm: the command returns, and preparation, folds and report follow each other."""

import pandas as pd
import pytest

from tests.support.slurm import Slurm
from tests.support.training_on_slurm import ON_SLURM, Place, make_place

pytest.importorskip("submitit", reason="the extra kicc_ml[slurm] is not installed")
pytestmark = pytest.mark.slow

FOLDS = ("busan-1", "daegu-1", "seoul-1")
CANCELLED = "busan-1"
SHORT = "trainer.max_steps=20"


@pytest.fixture(scope="module")
def place(cluster: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return make_place(cluster, tmp_path_factory.mktemp("no_wait"), patients=24, sites=3)


def submit(place: Place, *settings: str) -> dict[str, str]:
    """The jobs of a run that nobody waits for, by what they do."""
    status, output = place.train(*settings, *ON_SLURM, "--no-wait")
    assert status == 0, output
    (line,) = [line for line in output.splitlines() if line.startswith("jobs of Slurm: ")]
    numbers, _, _ = line.removeprefix("jobs of Slurm: ").partition("; logs: ")
    return dict(one.rsplit(" ", 1) for one in numbers.split(", "))


def read_log(place: Place, run: str, job: str, number: str) -> str:
    (log,) = (place.folder / "slurm_logs" / run / job).glob(f"{number}_*.out")
    return log.read_text()


@pytest.fixture(scope="module")
def finished(place: Place) -> dict[str, str]:
    jobs = submit(place, SHORT, "run_dir=runs/alone")
    for number in jobs.values():
        place.cluster.wait_for_end(number, place.folder / "output-of-another")
    return jobs


def test_a_run_that_nobody_waits_for_ends_with_the_report_of_one_that_was_waited_for(
    place: Place, finished: dict[str, str]
):
    assert list(finished) == ["preparation", *FOLDS, "report"]
    said = read_log(place, "runs-alone", "report", finished["report"])
    assert "report: runs/alone/report.html" in said
    status, output = place.train(SHORT, "run_dir=runs/waited")
    assert status == 0, output
    for fold in FOLDS:
        for table in ("metrics.csv", "predictions.csv"):
            one, other = (pd.read_csv(place.folder / "runs" / run / fold / table) for run in ("alone", "waited"))
            pd.testing.assert_frame_equal(one, other, check_like=True, check_exact=True)


def test_a_run_that_is_finished_is_reported_again(place: Place, finished: dict[str, str]):
    jobs = submit(place, SHORT, "run_dir=runs/alone")
    assert list(jobs) == ["preparation", "report"]
    assert place.cluster.wait_for_end(jobs["report"], place.folder / "output-of-another") == "COMPLETED"


def test_of_a_run_that_nobody_waits_for_a_cancelled_fold_is_named_in_the_log_of_the_report(place: Place):
    settings = ("trainer.max_steps=400", "run_dir=runs/cancelled")
    jobs = submit(place, *settings)
    status, output = place.train(*settings, *ON_SLURM, "--no-wait")
    assert status == 2, output
    assert f"report as job {jobs['report']} (PENDING)" in output
    place.wait_for_steps("runs/cancelled", [CANCELLED])
    place.cluster.call("scancel", jobs[CANCELLED])
    assert place.cluster.wait_for_end(jobs["report"], place.folder / "output") == "FAILED"
    said = read_log(place, "runs-cancelled", "report", jobs["report"])
    assert "report: runs/cancelled/report.html" in said
    assert f"error: 1 fold lost: {CANCELLED} of runs/cancelled: it was cancelled" in said
    assert "Traceback" not in said


def test_where_the_preparation_fails_no_fold_waits_for_ever_and_its_log_is_named(place: Place):
    jobs = submit(place, SHORT, "run_dir=hospitals/clinical.csv/run")  # below a file nothing can be written
    assert place.cluster.wait_for_end(jobs["report"], place.folder / "output") == "FAILED"
    assert {place.cluster.state(jobs[fold]) for fold in FOLDS} == {"CANCELLED"}
    run = "hospitals-clinical.csv-run"
    said = read_log(place, run, "report", jobs["report"])
    assert f"it never began; the log of the preparation is slurm_logs/{run}/preparation/" in said
    assert "No fold was finished" in said
    assert "error: " in read_log(place, run, "preparation", jobs["preparation"])
