"""Two processes (gloo) train one fold on a real Slurm, as one task or as two; what cannot work is one sentence."""

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from kicc_ml.apps import train as script
from kicc_ml.apps.configuration import compose_configuration
from kicc_ml.cohort.splits import read_splits
from kicc_ml.synthetic.repository import synthesize
from tests.support.slurm import Slurm

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
FOLD = "busan-1"
SETTINGS = (
    *("experiment=outcome", "cohort=repository", "data.canonical_ct=null", "data.canonical_cxr=null"),
    *("network.ct=false", "network.cxr=false", "network.width=8", "data.endpoints=[oxygen]", "trainer=ddp"),
    *("trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.max_time=null", "trainer.max_steps=4"),
    "trainer.log_every_n_steps=1",
    f"split.fold={FOLD}",
)
Start = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ddp") / "hospitals"
    synthesize(root, "demo", 3, tables_only=True, patients=24, sites=3)
    for site in set(pd.read_csv(root / "clinical.csv")["site"]):
        (root / site).mkdir(exist_ok=True)
    return root


@pytest.fixture
def start(cluster: Slurm, hospitals: Path, tmp_path: Path) -> Start:
    """Prepare a fold and train it in a job of two tasks; returns the job's state and what it printed."""

    def run(*launch: str, command: tuple[str, ...] = ("-m", "kicc_ml.apps.fold_job"), more: str = "seed=1"):
        settings = [
            *SETTINGS,
            f"cohort.root={hospitals}",
            f"run_dir={tmp_path / 'run'}",
            f"store_dir={tmp_path}/s",
            more,
        ]
        script.prepare(compose_configuration("train", settings))
        log = tmp_path / "log"
        words = ("env", f"PYTHONPATH={ROOT}", sys.executable, *command, *settings)
        asked = ("--ntasks=2", "--ntasks-per-node=2")
        return cluster.wait_for_end(
            cluster.submit(tmp_path, log, *words, options=asked, launch=launch), log
        ), log.read_text()

    return run


@pytest.mark.parametrize("launch", [(), ("srun", "--ntasks=1"), ("srun", "--ntasks=2")])
def test_one_task_or_two_train_one_fold_and_predict_each_case_once(
    start: Start, tmp_path: Path, launch: tuple[str, ...]
):
    state, said = start(*launch)
    assert state == "COMPLETED", said
    metrics = pd.read_csv(tmp_path / "run" / FOLD / "metrics.csv").set_index("step")
    assert metrics.loc[3, "epoch"].max() == 3  # both batches of an epoch are one step of two processes
    (split,) = read_splits(tmp_path / "run" / FOLD / "split.json")
    predicted = pd.read_csv(tmp_path / "run" / FOLD / "predictions.csv")
    per_model = predicted.groupby("model")["case_id"].apply(sorted)
    assert per_model.map(lambda ids: ids == sorted(split.test)).all()


def test_two_tasks_for_one_process_are_refused_before_the_fold_is_touched(start: Start, tmp_path: Path):
    state, said = start("srun", "--ntasks=2", more="trainer.devices=1")
    assert state == "FAILED"
    assert "error: Slurm started 2 tasks for a training with 1 process; start one task" in said
    assert "Traceback" not in said
    assert {path.name for path in (tmp_path / "run" / FOLD).iterdir()} == {"config.yaml", "split.json"}


def test_train_py_started_by_every_task_is_refused(start: Start):
    state, said = start("srun", "--ntasks=2", command=(str(ROOT / "train.py"),))
    assert state == "FAILED"
    assert said.count("Slurm started train.py 2 times; start it once") == 2
    assert "Traceback" not in said


def test_train_py_started_once_in_a_job_of_two_tasks_trains_by_two_processes(start: Start, tmp_path: Path):
    state, said = start("srun", "--ntasks=1", command=(str(ROOT / "train.py"),))
    assert state == "COMPLETED", said
    assert "MEMBER: 2/2" in said
    assert (tmp_path / "run" / FOLD / "predictions.csv").is_file()
    assert (tmp_path / "run" / "report.html").is_file()
