"""``experiment=lesion_ct`` takes its plan by the machine, and all folds and jobs of a run take the same one."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from kicc_ml.apps.cross_validation import Stages, run_typed
from kicc_ml.apps.machine import choose_plan
from kicc_ml.core.files import write_json


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def started(arguments: list[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> tuple[list[DictConfig], list[str]]:
    """What is prepared, and the settings that the jobs of the folds are handed."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    prepared: list[DictConfig] = []
    handed_on: list[str] = []

    def prepare(cfg: DictConfig) -> list[str]:
        prepared.append(cfg)
        return ["seoul"]

    def finish(parts: Sequence[DictConfig]) -> int:
        for cfg in parts:
            write_json(Path(cfg.run_dir) / "summary.json", {"segmentation": {}, "outcome": {}})
        return 0

    with pytest.raises(SystemExit):
        run_typed(Stages(lambda: handed_on.extend(sys.argv[1:]), prepare, finish))
    return prepared, handed_on


@pytest.mark.usefixtures("gpu")
def test_on_a_gpu_lesions_are_learnt_in_3_d_under_the_name_that_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    (cfg,), handed_on = started(["experiment=lesion_ct", "seed=7"], monkeypatch, tmp_path)
    assert cfg.network._target_.endswith("DynUNet")
    assert (cfg.name, cfg.run_dir, cfg.seed, cfg.plan.memory_gib) == ("lesion_ct", "runs/lesion_ct", 7, 16.0)
    assert "experiment=lesion_ct_gpu" in handed_on
    assert "experiment=lesion_ct" not in handed_on
    assert "lesion_ct_gpu" in capsys.readouterr().err


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_lesions_are_learnt_slice_by_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (cfg,), handed_on = started(["experiment=lesion_ct"], monkeypatch, tmp_path)
    assert cfg.network._target_.endswith("SliceUNet")
    assert "experiment=lesion_ct" in handed_on


@pytest.mark.usefixtures("gpu")
def test_each_of_several_experiments_is_looked_at_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    prepared, _ = started(["-m", "experiment=lesion_ct,clinical"], monkeypatch, tmp_path)
    networks = [cfg.network and str(cfg.network._target_).rsplit(".", 1)[-1] for cfg in prepared]
    assert networks == ["DynUNet", None]


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    "typed",
    [
        ["experiment=lesion_ct", "trainer=cpu"],
        ["trainer.accelerator=cpu", "experiment=lesion_ct"],
        ["experiment=lesion_ct_gpu"],
        ["experiment=clinical"],
        ["experiment=../../etc/x"],
        ["seed=1"],
    ],
)
def test_what_asks_for_the_processor_or_has_no_plan_for_a_gpu_stays_as_typed(typed: list[str]):
    assert choose_plan(typed) == typed


@pytest.mark.usefixtures("gpu")
def test_what_the_user_sets_wins_over_the_plan_and_over_the_name():
    chosen = choose_plan(["experiment=lesion_ct", "name=mine", "data.batch_size=3"])
    assert chosen == ["experiment=lesion_ct_gpu", "name=mine", "data.batch_size=3"]
