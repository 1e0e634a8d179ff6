"""A job of a higher priority takes the place of a fold, which goes on from its own checkpoint afterwards."""

import pandas as pd
import pytest

from tests.support.slurm import CPUS, Slurm
from tests.support.training_on_slurm import ON_SLURM, Place, make_place

pytest.importorskip("submitit", reason="the extra kicc_ml[slurm] is not installed")
pytestmark = pytest.mark.slow

FOLD = "daegu-1"
SETTINGS = ("trainer.max_steps=600", f"split.fold={FOLD}")


@pytest.fixture(scope="module")
def place(cluster: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return make_place(cluster, tmp_path_factory.mktemp("preemption"), patients=24, sites=3)


def test_a_fold_whose_place_was_taken_ends_as_one_that_was_left_alone(place: Place):
    started = place.start(*SETTINGS, "run_dir=runs/preempted", *ON_SLURM)
    place.wait_for_steps("runs/preempted", [FOLD])
    number = place.job_of(FOLD)
    urgent = ("--partition=urgent", f"--cpus-per-task={CPUS}")
    other = place.cluster.submit(place.folder, place.folder / "urgent", "sleep", "3", options=urgent)
    assert place.cluster.wait_for_end(other, place.folder / "urgent") == "COMPLETED"
    assert started.wait(timeout=1800) == 0, (place.folder / "output").read_text()
    (log,) = (place.folder / "slurm_logs").rglob(f"{number}_0_log.out")
    assert "stopped by SIGTERM at step" in log.read_text()
    assert log.read_text().count("Starting with JobEnvironment") == 2  # each writes it once to its log

    status, output = place.train(*SETTINGS, "run_dir=runs/calm")
    assert status == 0, output
    for table in ("metrics.csv", "predictions.csv"):
        one, other = (pd.read_csv(place.folder / "runs" / run / FOLD / table) for run in ("preempted", "calm"))
        pd.testing.assert_frame_equal(one, other, check_like=True, check_exact=True)
