"""Settings that users of Lightning and MONAI take for granted, each typed once, on a small cohort."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.support.bundled_run import UNET, save_run
from tests.support.commands import refused

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
FOLD = "seoul-1"
SMALL = (
    *("experiment=lesion_ct", "cohort=repository", "cohort.root=hospitals", f"split.fold={FOLD}"),
    *("data.canonical.spacing_mm=[6,6,8]", "data.patch_size=[32,32,16]", "data.patches_per_epoch=4"),
    *("data.batch_size=2", "trainer.max_time=null", "++trainer.max_steps=4", "trainer.log_every_n_steps=1"),
)
LIGHT = ("network.channels=[4,8,8,8]", "network.strides=[2,2,2]")
Result = subprocess.CompletedProcess[str]


def run(folder: Path, *command: object) -> Result:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONPATH": str(ROOT)}
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=1200, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with the images of four hospitals."""
    folder = tmp_path_factory.mktemp("settings")
    size = ("--patients", 8, "--sites", 2, "--matrix", 32, "--slices", 16, "--seed", 3)
    kicc_ml = Path(sys.executable).with_name("kicc-ml")
    made = run(folder, kicc_ml, "synthesize", "--preset", "demo", *size, "hospitals")
    assert made.returncode == 0, made.stderr
    return folder


def train(folder: Path, name: str, *settings: str) -> Result:
    return run(folder, sys.executable, ROOT / "train.py", *SMALL, f"run_dir=runs/{name}", *settings)


def finished(folder: Path, name: str, *settings: str) -> Path:
    """The folder of the fold that was trained."""
    result = train(folder, name, *settings)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    assert "Traceback" not in result.stderr
    fold = folder / "runs" / name / FOLD
    assert pd.read_csv(fold / "predictions.csv")["case_id"].notna().all()
    return fold


def steps_of(fold: Path) -> int:
    """The number of optimizer steps that were logged."""
    return int(pd.read_csv(fold / "metrics.csv")["step"].max()) + 1


NETWORKS = {
    "AttentionUnet": ("+network.spatial_dims=3", "network.channels=[4,8,8]", "network.strides=[2,2]"),
    "MedNeXt": ("+network.spatial_dims=3", "+network.init_filters=4"),
    "SwinUNETR": ("+network.feature_size=12", "data.patch_size=[64,32,32]"),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_of_monai_is_trained_by_the_command_line_alone(folder: Path, network: str):
    fold = finished(folder, network, f"network._target_=monai.networks.nets.{network}", *NETWORKS[network])
    settings = yaml.safe_load((fold / "config.yaml").read_text())
    assert settings["network"]["_target_"] == f"monai.networks.nets.{network}"
    assert steps_of(fold) == 4


def test_patches_of_a_network_of_monai_are_planned(folder: Path):
    own = ("network._target_=monai.networks.nets.SwinUNETR", "+network.feature_size=12", "data.patch_size=planned")
    fold = finished(folder, "planned", *own, "plan.memory_gib=3")
    patch = yaml.safe_load((fold / "plan.yaml").read_text())["fields"]["patch_size"]
    assert all(size % 32 == 0 for size in patch)


def test_a_fast_development_run_is_one_step_and_a_whole_run_folder(folder: Path):
    assert finished(folder, "fast", *LIGHT, "trainer.fast_dev_run=true").is_dir()


def test_gradients_are_accumulated_and_clipped_and_a_training_ends_early(folder: Path):
    gradients = ("trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=0.5", "++trainer.max_steps=3")
    assert steps_of(finished(folder, "gradients", *LIGHT, *gradients)) == 3
    never_better = ("callbacks=early_stopping", "callbacks.early_stopping.patience=1", "model.learning_rate=0")
    early = finished(folder, "early", *LIGHT, *never_better, "++trainer.max_steps=40")
    assert steps_of(early) < 40


def test_weights_of_another_network_are_refused_in_one_sentence(folder: Path):
    other = save_run(folder / "other", UNET)
    said = refused(train(folder, "weights", *LIGHT, f"network.weights={other}"))
    assert "the weights are of another network: 0 of " in said
    assert "weights.rename" in said
    assert not list((folder / "runs" / "weights").rglob("weights.safetensors"))


def test_patches_that_a_network_cannot_take_are_refused_in_one_sentence(folder: Path):
    own = ("network._target_=monai.networks.nets.SwinUNETR", "+network.feature_size=12", "data.patch_size=[32,32,32]")
    assert "SwinUNETR cannot be trained on patches of data.patch_size=[32, 32, 32]" in refused(
        train(folder, "patch", *own)
    )


@pytest.mark.skipif(
    not (find_spec("mlflow") and find_spec("wandb")),
    reason="the extras kicc_ml[mlflow] and kicc_ml[wandb] are not installed",
)
def test_two_trackers_at_once_get_every_fold_and_no_name_of_a_patient(folder: Path):
    fold = finished(folder, "tracked", *LIGHT, "logger=[mlflow,wandb]")
    patients = [case.split("_")[-1] for case in pd.read_csv(fold / "predictions.csv")["case_id"]]
    files = [path for path in (folder / "logs").rglob("*") if path.is_file()]
    assert {path.relative_to(folder).parts[1] for path in files} == {"mlflow", "wandb"}
    for path in files:
        content = path.read_bytes()
        assert not any(secret.encode() in content for secret in (*patients, str(folder), str(ROOT))), path
    assert not any("mlflow" in path.name or "wandb" in path.name for path in fold.rglob("*"))
