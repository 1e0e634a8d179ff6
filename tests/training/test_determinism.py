"""``+trainer.deterministic=true``: two trainings end with the same weights, or a sentence says why they may not."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file

from kicc_ml.apps import train as script
from kicc_ml.apps.configuration import build, compose_configuration
from kicc_ml.apps.fold_settings import make_fold_settings
from kicc_ml.core.errors import UserError
from kicc_ml.models.schedule import is_limited_by_time
from kicc_ml.synthetic.repository import synthesize
from kicc_ml.training.determinism import naming_what_is_not_deterministic, say_what_differs

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on checkpoints and workers

FOLD = "busan-1"
SMALL = (
    *("experiment=outcome", "cohort=repository", "data.canonical_ct=null", "data.canonical_cxr=null"),
    *("network.ct=false", "network.cxr=false", "network.width=8", "trainer=cpu", "trainer.max_time=null"),
    *("trainer.max_steps=3", "trainer.log_every_n_steps=1", f"split.fold={FOLD}", "+trainer.deterministic=true"),
)
#: A fold that was finished before says no more of its trainer; with other settings it would be of another run.
KEPT_SINCE_FIRST_RUNS = {
    *("_target_", "_partial_", "accelerator", "devices", "max_epochs", "max_steps", "max_time", "precision"),
    *("log_every_n_steps", "num_sanity_val_steps", "enable_model_summary", "gradient_clip_val"),
    *("accumulate_grad_batches", "fast_dev_run", "use_distributed_sampler"),
}
CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a deterministic training sets for the whole process goes with the test."""
    monkeypatch.setenv(CUBLAS, "")
    benchmark = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    yield
    torch.backends.cudnn.benchmark = benchmark
    torch.use_deterministic_algorithms(False)


@pytest.mark.slow
def test_two_deterministic_trainings_end_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = tmp_path / "repository"
    synthesize(root, "demo", 3, tables_only=True, patients=24, sites=3)
    with (root / "clinical.csv").open(encoding="utf-8") as table:
        for row in csv.DictReader(table):
            (root / row["site"]).mkdir(exist_ok=True)
    set_before_the_gpu: list[tuple[Any, ...]] = []

    def arrange(network: Any, device: torch.device) -> None:  # the first step that touches a GPU
        flags = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
        set_before_the_gpu.append((*flags, os.environ[CUBLAS]))

    monkeypatch.setattr(script, "allow_tensor_cores", lambda device: None)
    monkeypatch.setattr(script, "arrange_for_gpu", arrange)
    weights = []
    for run in ("one", "other"):
        where = (f"cohort.root={root}", f"run_dir={tmp_path / run}", f"store_dir={tmp_path / 'store'}")
        cfg = compose_configuration("train", [*SMALL, *where])
        script.prepare(cfg)
        torch.rand(len(weights) + 1)  # the other finds the random state elsewhere
        script.train(cfg)
        weights.append(load_file(next((tmp_path / run).glob("*/weights.safetensors"))))
    assert set_before_the_gpu == [(True, False, ":4096:8")] * 2
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_an_operation_without_a_deterministic_kernel_is_named_with_what_to_do():
    torch.use_deterministic_algorithms(True)
    with pytest.raises(UserError) as caught, naming_what_is_not_deterministic():
        torch.zeros(3).put_(torch.tensor([1]), torch.tensor([2.0]))
    assert str(caught.value).startswith("put_ has no deterministic kernel on this device; ")
    assert "+trainer.deterministic=warn" in str(caught.value)


def test_another_error_of_torch_stays_what_it_is():
    with pytest.raises(RuntimeError, match="shapes"), naming_what_is_not_deterministic():
        torch.zeros(2, 3) @ torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("deterministic", "max_time", "said"),
    [(True, "00:00:10:00", True), (True, None, False), (False, "00:00:10:00", False)],
)
def test_a_deterministic_training_by_the_clock_is_told_that_no_two_are_alike(
    deterministic: bool, max_time: str | None, said: bool, capsys: pytest.CaptureFixture[str]
):
    trainer = pl.Trainer(accelerator="cpu", deterministic=deterministic, max_time=max_time, max_steps=1, logger=False)
    capsys.readouterr()
    say_what_differs(trainer)
    assert ("trainer.max_time=null" in capsys.readouterr().err) == said


def test_only_the_first_process_says_it(capsys: pytest.CaptureFixture[str]):
    real = pl.Trainer(accelerator="cpu", deterministic=True, max_time="00:00:10:00", max_steps=1, logger=False)
    assert is_limited_by_time(real)
    capsys.readouterr()
    say_what_differs(SimpleNamespace(callbacks=real.callbacks, is_global_zero=False))  # type: ignore[arg-type,attr-defined]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("trainer", ["auto", "cpu", "gpu", "ddp"])
def test_without_the_setting_a_fold_has_the_settings_of_those_finished_before(trainer: str):
    settings = make_fold_settings(compose_configuration("train", [f"trainer={trainer}", "compile=true"]), FOLD)
    assert set(settings["trainer"]) - {"strategy"} == KEPT_SINCE_FIRST_RUNS
    assert "compile" not in settings
    if trainer == "cpu":
        build(compose_configuration("train", ["trainer=cpu"]).trainer)(logger=False)
        assert not torch.are_deterministic_algorithms_enabled()
