"""Two processes (gloo, processors) train one fold: one run folder, every case predicted once, as by one process."""

import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from kicc_ml.apps import train as script
from kicc_ml.apps.configuration import compose_configuration
from kicc_ml.cohort.splits import read_splits

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
FOLD = "busan-1"
SETTINGS = (
    *("experiment=lesion_ct", "cohort=repository", f"split.fold={FOLD}", "trainer.max_time=null"),
    *("data.canonical.spacing_mm=[6,6,8]", "data.patch_size=[48,48,24]", "data.patches_per_epoch=6"),
    *("network=unet_light", "network.channels=[4,8,8,8]"),
)
TWO_PROCESSES = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.max_steps=4")


def run(*command: object) -> None:
    result = subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ddp") / "repository"
    size = ("--patients", 16, "--sites", 4, "--matrix", 48, "--slices", 24, "--seed", 3)
    run(Path(sys.executable).with_name("kicc-ml"), "synthesize", "--preset", "demo", *size, folder)
    return folder


def train(repository: Path, name: str, *settings: str) -> Path:
    where = (f"cohort.root={repository}", f"run_dir={repository.parent / name}", f"store_dir={repository.parent}/store")
    run(sys.executable, "train.py", *SETTINGS, *where, *settings)
    return repository.parent / name


@pytest.fixture(scope="module")
def by_two(repository: Path) -> Path:
    return train(repository, "by_two", *TWO_PROCESSES)


TASK = """
import sys
from kicc_ml.apps import train as script
from kicc_ml.apps.configuration import compose_configuration
script.train(compose_configuration("train", sys.argv[1:]))
"""


@pytest.mark.parametrize("tasks", [1, 2])
def test_in_a_slurm_job_two_processes_train_one_fold_whichever_started_them(repository: Path, tasks: int) -> None:
    folder = repository.parent / f"slurm-{tasks}"
    where = (f"cohort.root={repository}", f"run_dir={folder}", f"store_dir={repository.parent}/store")
    settings = [*SETTINGS, *where, *TWO_PROCESSES]
    script.prepare(compose_configuration("train", settings))
    job = {"SLURM_JOB_ID": "4242", "SLURM_JOB_NAME": "fold", "SLURM_NODELIST": "127.0.0.1", "SLURM_NODEID": "0"}
    job |= {
        "SLURM_NTASKS": str(tasks),
        "SLURM_STEP_NUM_TASKS": str(tasks),
        "SLURM_NTASKS_PER_NODE": str(tasks),
        "MASTER_ADDR": "127.0.0.1",
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-c", TASK, *settings],
            env=os.environ | job | {"SLURM_PROCID": str(task), "SLURM_LOCALID": str(task), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for task in range(tasks)
    ]
    said = [process.communicate(timeout=900)[1] for process in started]
    assert [process.returncode for process in started] == [0] * tasks, said
    assert "MEMBER: 2/2" in "".join(said)
    (split,) = read_splits(folder / FOLD / "split.json")
    assert sorted(pd.read_csv(folder / FOLD / "predictions.csv")["case_id"]) == sorted(split.test)


def test_two_processes_leave_one_run_folder(by_two: Path) -> None:
    for name in ("config.yaml", "split.json", "weights.safetensors", "metrics.csv", "predictions.csv", "best.ckpt"):
        assert len(list(by_two.rglob(name))) == 1, name
    steps = pd.read_csv(by_two / FOLD / "metrics.csv")["step"]
    assert steps.is_monotonic_increasing


def test_every_case_is_predicted_once(by_two: Path) -> None:
    (split,) = read_splits(by_two / FOLD / "split.json")
    predicted = pd.read_csv(by_two / FOLD / "predictions.csv")["case_id"]
    assert sorted(predicted) == sorted(split.test)


def test_one_process_with_the_same_weights_predicts_the_same(repository: Path, by_two: Path) -> None:
    checkpoint = by_two / FOLD / "checkpoints" / "best.ckpt"
    steps = torch.load(checkpoint, weights_only=True)["global_step"]  # so there is nothing left to train
    by_one = train(repository, "by_one", f"ckpt_path={checkpoint}", f"trainer.max_steps={steps}")
    tables = [pd.read_csv(folder / FOLD / "predictions.csv").drop(columns="seconds") for folder in (by_two, by_one)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    masks = sorted(path.relative_to(by_two) for path in by_two.rglob("*.nii.gz"))
    assert masks
    for mask in masks:
        two, one = (np.asarray(nib.load(folder / mask).dataobj) for folder in (by_two, by_one))
        np.testing.assert_array_equal(two, one)
