"""A search of settings as a user types it: killed, started again, with the folds over joblib."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("optuna", reason="the extra kicc_ml[search] is not installed")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
SEARCH = (
    *(sys.executable, str(ROOT / "train.py"), "-m", "experiment=outcome", "hparams_search=optuna"),
    *("hparams_search.trials=5", "model.learning_rate=tag(log,interval(0.0001,0.1))", "model.weight_decay=0.0,0.01"),
    *("cohort=repository", "cohort.root=hospitals", "data.endpoints=[oxygen]", "trainer=cpu"),
    *("trainer.max_time=null", "trainer.max_steps=4", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
)


def finished_trials(place: Path) -> int:
    try:
        with sqlite3.connect(f"file:{place / 'search.sqlite3'}?mode=ro", uri=True) as file:
            return int(file.execute("select count(*) from trials where state = 'COMPLETE'").fetchone()[0])
    except sqlite3.Error:
        return 0


def test_a_search_killed_after_two_trials_does_only_what_is_missing(tmp_path: Path):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "160", "PYTHONPATH": str(ROOT)}
    environment |= {name: str(tmp_path / name) for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    kicc_ml = str(Path(sys.executable).with_name("kicc-ml"))
    size = ("--patients", "32", "--sites", "2", "--matrix", "32", "--slices", "16", "--seed", "3")
    subprocess.run([kicc_ml, "synthesize", *size, "hospitals"], cwd=tmp_path, env=environment, check=True, timeout=300)
    place = tmp_path / "runs" / "sweeps" / "outcome-search"
    started = subprocess.Popen(SEARCH, cwd=tmp_path, env=environment, start_new_session=True)
    deadline = time.monotonic() + 900
    while finished_trials(place) < 2 and started.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    before = finished_trials(place)
    assert 2 <= before < 5
    kept = {path: path.stat().st_mtime_ns for path in place.glob("trial-00[12]/*/predictions.csv")}
    again = subprocess.run(SEARCH, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900)
    assert again.returncode == 0, again.stdout[-2000:] + again.stderr[-4000:]
    begun = [line for line in again.stderr.splitlines() if line.startswith("trial ")]
    assert len(begun) == 5 - before
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(kept) == 4
    table = pd.read_csv(place / "search.csv")
    assert table["trial"].tolist() == [1, 2, 3, 4, 5]
    assert table["validation_loss"].notna().all()
    assert "5 settings were tried on the same folds" in again.stdout
    best = table.loc[table["validation_loss"].idxmin(), "run_dir"]
    (won,) = [line for line in again.stdout.splitlines() if line.startswith("best of 5 on validation patients")]
    assert won.endswith(str(best))
