"""Folds in jobs of a real Slurm: whatever ends one of them, none starts from the weights of another."""

import csv
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from kicc_ml.apps import train as script
from kicc_ml.apps.configuration import compose_configuration
from kicc_ml.synthetic.repository import synthesize
from tests.support.slurm import Slurm

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
DISTURBED, OTHER = "busan-1", "daegu-1"
SMALL = (
    *("experiment=outcome", "cohort=repository", "data.canonical_ct=null", "data.canonical_cxr=null", "trainer=cpu"),
    *("network.ct=false", "network.cxr=false", "network.width=8", "trainer.max_time=null", "ckpt_path=last"),
    "trainer.log_every_n_steps=1",
)
SHORT, ENDLESS = "trainer.max_steps=4", "trainer.max_steps=1000000"
#: Trains one fold and ends after its network is trained: baselines take seconds, and are not what is tested here.
TRAIN = """
import sys
from kicc_ml.apps import train as script
from kicc_ml.apps.configuration import compose_configuration
script.recalibrate = lambda *_: sys.exit()
script.train(compose_configuration("train", sys.argv[1:]))
"""
DISTURBANCES: dict[str, Callable[[Slurm, str], object]] = {
    "usr1": lambda cluster, job: cluster.call("scancel", "--signal=USR1", job),
    "usr2": lambda cluster, job: cluster.call("scancel", "--signal=USR2", job),
    "term": lambda cluster, job: cluster.call("scancel", "--signal=TERM", job),
    "requeue": lambda cluster, job: cluster.call("scontrol", "requeue", job),
    "cancel": lambda cluster, job: cluster.call("scancel", job),
}


@dataclass(frozen=True)
class Place:
    """A working directory for the folds of several runs on one cluster."""

    cluster: Slurm
    repository: Path
    folder: Path

    def settings(self, run: str, *more: str) -> list[str]:
        where = (f"cohort.root={self.repository}", f"run_dir={self.folder / run}", f"store_dir={self.folder / 'store'}")
        return [*SMALL, *where, *more]

    def start(self, run: str, fold: str, steps: str) -> tuple[str, Path]:
        """Submit one fold; returns the job and its log."""
        settings = self.settings(run, steps)
        script.prepare(compose_configuration("train", settings))
        file = self.folder / "train.py"
        file.write_text(TRAIN)
        log = self.folder / f"{run}-{fold}.log"
        command = ("env", f"PYTHONPATH={ROOT}", sys.executable, file, *settings, f"split.fold={fold}")
        return self.cluster.submit(self.folder, log, *command), log

    def metrics(self, run: str, fold: str) -> pd.DataFrame:
        path = self.folder / run / fold / "metrics.csv"
        return pd.read_csv(path) if path.exists() and path.stat().st_size else pd.DataFrame({"step": []})


@pytest.fixture(scope="module")
def place(cluster: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("jobs")
    root = folder / "repository"
    synthesize(root, "demo", 3, tables_only=True, patients=24, sites=3)
    with (root / "clinical.csv").open(encoding="utf-8") as table:
        for row in csv.DictReader(table):
            (root / row["site"]).mkdir(exist_ok=True)
    return Place(cluster, root, folder)


@pytest.fixture(scope="module")
def undisturbed(place: Place) -> dict[str, pd.DataFrame]:
    """The metrics of each fold of a run that nothing disturbs, trained before anything else lies about."""
    for fold in (DISTURBED, OTHER):
        job, log = place.start("undisturbed", fold, SHORT)
        assert place.cluster.wait_for_end(job, log) == "COMPLETED", log.read_text()
    return {fold: place.metrics("undisturbed", fold) for fold in (DISTURBED, OTHER)}


@pytest.mark.parametrize("name", DISTURBANCES)
def test_no_fold_starts_from_the_weights_of_a_fold_that_was_disturbed(
    place: Place, undisturbed: dict[str, pd.DataFrame], name: str
):
    job, log = place.start(name, DISTURBED, ENDLESS)
    place.cluster.wait_until(lambda: place.metrics(name, DISTURBED)["step"].max() > 20, log)
    before = place.metrics(name, DISTURBED)
    DISTURBANCES[name](place.cluster, job)
    further = before["step"].max() + 100
    if name == "requeue":  # the job starts again by itself
        place.cluster.wait_until(lambda: place.metrics(name, DISTURBED)["step"].max() > further, log)
    else:  # what a signal sets off takes its time
        place.cluster.wait_until(
            lambda: place.metrics(name, DISTURBED)["step"].max() > further or place.cluster.state(job) != "RUNNING", log
        )
    place.cluster.call("scancel", job)
    place.cluster.wait_for_end(job, log)

    first = place.metrics(name, DISTURBED).iloc[:1]
    assert first["train/loss"].item() == undisturbed[DISTURBED]["train/loss"].iloc[0]
    for run, fold in ((name, OTHER), (f"{name}-again", DISTURBED)):
        other, log = place.start(run, fold, SHORT)
        assert place.cluster.wait_for_end(other, log) == "COMPLETED", log.read_text()
        pd.testing.assert_frame_equal(place.metrics(run, fold), undisturbed[fold], check_exact=True)
    assert not list(place.folder.rglob("hpc_ckpt_*"))
