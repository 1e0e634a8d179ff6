"""``hydra/launcher=slurm`` as a user types it, on a real Slurm without accounting: every job is accounted for."""

import pandas as pd
import pytest

from tests.support.slurm import Slurm
from tests.support.training_on_slurm import ON_SLURM, Place, make_place

pytest.importorskip("submitit", reason="the extra kicc_ml[slurm] is not installed")
pytestmark = pytest.mark.slow

CANCELLED, REQUEUED, LEFT_ALONE = "busan-1", "daegu-1", "seoul-1"


@pytest.fixture(scope="module")
def place(cluster: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return make_place(cluster, tmp_path_factory.mktemp("cluster"), patients=24, sites=3)


@pytest.fixture(scope="module")
def disturbed(place: Place) -> tuple[int, str, tuple[int, str]]:
    """Three folds, one cancelled and one requeued; status and output, and those of a second start meanwhile."""
    settings = ("trainer.max_steps=400", "run_dir=runs/disturbed", *ON_SLURM)
    started = place.start(*settings)
    place.wait_for_steps("runs/disturbed", (CANCELLED, REQUEUED))
    place.cluster.call("scancel", place.job_of(CANCELLED))
    place.cluster.call("scontrol", "requeue", place.job_of(REQUEUED))
    second = place.train(*settings)
    return started.wait(timeout=900), (place.folder / "output").read_text(), second


def test_a_cancelled_fold_is_named_with_its_log_and_the_others_are_reported(place: Place, disturbed):
    status, output, _ = disturbed
    assert status == 3, output
    lines = output.splitlines()
    (line,) = [line for line in lines if line.startswith("jobs of Slurm: ")]
    assert all(f"{fold} " in line for fold in (CANCELLED, REQUEUED, LEFT_ALONE))
    assert "logs: slurm_logs/runs-disturbed/FOLD/JOB_0_log.out" in line
    (error,) = [line for line in lines if line.startswith("error: ")]
    assert f"1 fold lost: {CANCELLED} of runs/disturbed: it was cancelled" in error
    log = error.partition(", log ")[2].partition(". The report")[0]
    assert "stopped by SIGTERM at step" in (place.folder / log).read_text()
    assert any(line.startswith("report: runs/disturbed/report.html") for line in lines)
    assert {path.parent.name for path in (place.folder / "runs/disturbed").glob("*/predictions.csv")} == {
        REQUEUED,
        LEFT_ALONE,
    }


def test_a_second_start_while_jobs_live_is_refused_and_names_them(disturbed):
    status, output = disturbed[2]
    assert status == 2, output
    assert "runs/disturbed is still being trained by jobs of Slurm" in output
    assert f"{REQUEUED} as job" in output  # Slurm lets a requeued job wait for two minutes


def test_a_run_folder_holds_no_pickles(place: Place, disturbed):
    assert not [path for path in (place.folder / "runs").rglob("*") if path.suffix == ".pkl"]
    assert not [path for path in place.folder.rglob("hpc_ckpt_*")]


def test_a_requeued_fold_and_one_that_goes_on_after_scancel_end_as_if_undisturbed(place: Place, disturbed):
    settings = ("trainer.max_steps=400", "ckpt_path=last")
    status, output = place.train(*settings, "run_dir=runs/disturbed", *ON_SLURM)
    assert status == 0, output
    status, output = place.train(*settings, "run_dir=runs/undisturbed")
    assert status == 0, output
    for fold in (CANCELLED, REQUEUED, LEFT_ALONE):
        for table in ("metrics.csv", "predictions.csv"):
            one, other = (
                pd.read_csv(place.folder / "runs" / run / fold / table) for run in ("disturbed", "undisturbed")
            )
            pd.testing.assert_frame_equal(one, other, check_like=True, check_exact=True)


def test_a_time_limit_is_told_apart_and_leaves_a_checkpoint(place: Place):
    limit = ("hydra/launcher=slurm", "hydra.launcher.timeout_min=2", f"split.fold={CANCELLED}")
    status, output = place.train("trainer.max_steps=1000000", "run_dir=runs/endless", *limit)
    assert status == 2, output
    assert f"{CANCELLED} of runs/endless: it reached its time limit: ckpt_path=last goes on" in output
    assert (place.folder / "runs/endless" / CANCELLED / "checkpoints" / "last.ckpt").is_file()
