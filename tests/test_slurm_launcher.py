"""``hydra/launcher=slurm`` as a user types it, on a real Slurm without accounting: every job is accounted for."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from tests.support.slurm import Slurm

pytest.importorskip("submitit", reason="the extra kicc_ml[slurm] is not installed")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
TRAIN = (sys.executable, str(ROOT / "train.py"))
SMALL = (
    *("experiment=outcome", "cohort=repository", "cohort.root=hospitals", "data.endpoints=[oxygen]", "trainer=cpu"),
    *("data.canonical_ct=null", "data.canonical_cxr=null", "network.ct=false", "network.cxr=false", "network.width=8"),
    *("trainer.max_time=null", "trainer.log_every_n_steps=1"),
)
ON_SLURM = ("hydra/launcher=slurm", "hydra.launcher.timeout_min=20")
CANCELLED, REQUEUED, LEFT_ALONE = "busan-1", "daegu-1", "seoul-1"


@dataclass(frozen=True)
class Place:
    """A working directory on the cluster."""

    cluster: Slurm
    folder: Path

    def start(self, *settings: str, to: Path | None = None) -> subprocess.Popen[str]:
        environment = self.cluster.environment | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        output = (to or self.folder / "output").open("w")
        return subprocess.Popen(
            [*TRAIN, *SMALL, *settings], cwd=self.folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )

    def train(self, *settings: str) -> tuple[int, str]:
        """Exit status and output of a whole command."""
        output = self.folder / "output-of-another"
        status = self.start(*settings, to=output).wait(timeout=900)
        return status, output.read_text()

    def job_of(self, fold: str) -> str:
        """The job that trains a fold."""
        listed = (line.split("|") for line in self.cluster.call("squeue", "-h", "-o", "%i|%j").splitlines())
        (number,) = [number for number, name in listed if name.startswith(f"{fold}.")]
        return number

    def wait_for_steps(self, run: str, folds: Sequence[str]) -> None:
        """Wait until each fold has trained for some steps."""

        def trained(fold: str) -> bool:
            path = self.folder / run / fold / "metrics.csv"
            return path.exists() and len(path.read_text().splitlines()) > 5

        self.cluster.wait_until(lambda: all(trained(fold) for fold in folds), self.folder / "output")


@pytest.fixture(scope="module")
def place(cluster: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("cluster")
    kicc_ml = str(Path(sys.executable).with_name("kicc-ml"))
    size = ("--patients", "24", "--sites", "3", "--matrix", "32", "--slices", "16", "--seed", "3")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(
        [kicc_ml, "synthesize", "--preset", "demo", *size, "hospitals"], cwd=folder, env=environment, check=True
    )
    return Place(cluster, folder)


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
