"""``train.py -m`` as a user types it: real folds over joblib, from another working directory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
SITES = {"busan-1", "daegu-1", "daejeon-1", "seoul-1"}
SETTINGS = ("experiment=clinical", "cohort=repository", "cohort.root=hospitals", "data.endpoints=[oxygen]")


def run(folder: Path, *command: object) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "160", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    kicc_ml = Path(sys.executable).with_name("kicc-ml")
    size = ("--patients", 32, "--sites", 4, "--matrix", 32, "--slices", 16, "--seed", 3)
    made = run(folder, kicc_ml, "synthesize", "--preset", "demo", *size, "hospitals")
    assert made.returncode == 0, made.stderr
    return folder


def test_two_seeds_are_two_cross_validations_and_one_table(folder: Path):
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    result = run(folder, sys.executable, ROOT / "train.py", "-m", "seed=1,2", *SETTINGS, *launcher)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    sweeps = folder / "runs" / "sweeps"
    for seed in (1, 2):
        run_dir = sweeps / f"clinical-seed-{seed}"
        folds = {path.parent.name for path in run_dir.glob("*/predictions.csv")}
        assert folds == SITES
        assert {yaml.safe_load((run_dir / fold / "config.yaml").read_text())["seed"] for fold in folds} == {seed}
        assert (run_dir / "report.html").is_file()
    lines = result.stdout.strip().splitlines()
    table = pd.read_csv(folder / lines[-1].removeprefix("table: "))
    assert table["seed"].tolist() == [1, 2]
    assert table["auc_oxygen"].between(0, 1).all()
    assert "2 settings were tried on the same folds" in result.stdout
    assert not list(folder.rglob("multirun.yaml"))
    assert {path.name for path in folder.iterdir()} <= {"hospitals", "runs", "store"}


def test_settings_of_ones_own_are_found_from_any_folder_by_every_fold(folder: Path):
    own = folder.parent / f"{folder.name}-own" / "experiment"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# @package _global_\ndefaults: [clinical]\nname: mine\nseed: 7\n")
    result = run(
        folder, sys.executable, ROOT / "train.py", "--config-dir", own.parent, "experiment=mine", *SETTINGS[1:]
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    assert {path.parent.name for path in (folder / "runs" / "mine").glob("*/predictions.csv")} == SITES


def test_nested_selection_reports_folds_that_chose_by_their_own_validation_patients(folder: Path):
    table = ("data.canonical_ct=null", "data.canonical_cxr=null", "network.ct=false", "network.cxr=false")
    steps = ("trainer=cpu", "trainer.max_time=null", "++trainer.max_steps=4", "trainer.log_every_n_steps=1")
    typed = ("nested=true", "experiment=outcome", "model.learning_rate=0.000001,0.03", "run_dir=rates")
    result = run(folder, sys.executable, ROOT / "train.py", "-m", *typed, *SETTINGS[1:], *table, *steps)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    assert result.stdout.strip().splitlines()[-1] == "report: rates/nested/report.html"
    trained = {path.parent for path in (folder / "rates").glob("*rate*/*/config.yaml")}
    assert len(trained) == 2 * len(SITES)
    for site in SITES:
        losses = {fold: pd.read_csv(fold / "metrics.csv")["val/loss"].min() for fold in trained if fold.name == site}
        best, chosen = min(losses, key=losses.__getitem__), folder / "rates" / "nested" / site
        assert (chosen / "config.yaml").read_text() == (best / "config.yaml").read_text()
        assert (chosen / "predictions.csv").read_bytes() == (best / "predictions.csv").read_bytes()
    summary = json.loads((folder / "rates" / "nested" / "summary.json").read_text())
    assert summary["settings_tried"]["said"].startswith("2 settings were tried. Each fold takes those that were best")
