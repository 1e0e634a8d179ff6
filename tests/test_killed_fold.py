"""``hydra/launcher=joblib`` as a user types it: a fold whose process is killed is lost alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from kicc_ml.synthetic.repository import synthesize

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
KILLED = "busan-1"
COMMAND = (
    *(sys.executable, str(ROOT / "train.py"), "experiment=outcome", "cohort=repository", "cohort.root=hospitals"),
    *("data.endpoints=[oxygen]", "data.canonical_ct=null", "data.canonical_cxr=null", "network.ct=false"),
    *("network.cxr=false", "network.width=8", "trainer=cpu", "trainer.max_time=null", "trainer.max_steps=200"),
    *("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "run_dir=run"),
)


def wait_for(what, started: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while not what():
        assert started.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)


def process_of(started: subprocess.Popen[bytes], fold: str) -> psutil.Process:
    (found,) = [one for one in psutil.Process(started.pid).children() if f"split.fold='{fold}'" in one.cmdline()]
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    synthesize(tmp_path / "hospitals", "demo", 3, tables_only=True, patients=24, sites=3)
    for site in set(pd.read_csv(tmp_path / "hospitals" / "clinical.csv")["site"]):
        (tmp_path / "hospitals" / site).mkdir(exist_ok=True)
    return tmp_path


def start(place: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONPATH": str(ROOT)}
    with (place / "output").open("w") as output:
        return subprocess.Popen(COMMAND, cwd=place, env=environment, stdout=output, stderr=subprocess.STDOUT)


def test_a_killed_fold_is_lost_alone_and_the_same_command_trains_it(place: Path):
    started = start(place)
    wait_for((place / "run" / KILLED / "metrics.csv").is_file, started)
    process_of(started, KILLED).kill()
    assert started.wait(timeout=600) == 3
    output = (place / "output").read_text()
    assert f"error: 1 fold lost: {KILLED} of run: it was killed" in output
    assert "report: run/report.html" in output
    assert "Traceback" not in output
    assert {path.parent.name for path in place.glob("run/*/predictions.csv")} == {"daegu-1", "seoul-1"}
    assert start(place).wait(timeout=600) == 0
    assert (place / "run" / KILLED / "predictions.csv").is_file()


def test_folds_end_with_the_process_that_started_them(place: Path):
    started = start(place)
    wait_for((place / "run" / KILLED / "metrics.csv").is_file, started)
    folds = psutil.Process(started.pid).children()
    started.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(folds, timeout=60)
    assert alive == []
