"""Several values of settings: each combination is a cross-validation of its own, and one table shows them all."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hydra.errors import InstantiationException
from omegaconf import DictConfig

from kicc_ml.apps.cross_validation import Stages, run_typed
from kicc_ml.core.errors import TargetError, UserError
from kicc_ml.runs.tried import read_tried
from tests.support.recorded_folds import Recorder


def figure(value: float) -> dict[str, float]:
    return {"value": value, "mean": value, "low": value - 0.1, "high": value + 0.1}


class Judge(Recorder):
    """Also writes what a report leaves behind; a seed of 13 fails, one of 7 sets a case aside."""

    def prepare(self, cfg: DictConfig) -> tuple[str, ...]:
        if cfg.seed == 13:
            fault = UserError("clinical.csv, line 3: age_years is 190")
            raise InstantiationException("Error in call to target") from fault  # as Hydra does
        return super().prepare(cfg)

    def finish(self, parts: list[DictConfig]) -> int:
        super().finish(parts)
        folder, seed = Path(parts[0].run_dir), parts[0].seed
        outcome = {"death": {"network": {"auroc": figure(0.5 + seed / 100)}}}
        aside = {"case": "damaged"} if seed == 7 else {}
        summary = {"segmentation": {"lesion": {"dice": figure(0.6)}}, "outcome": outcome, "quarantined": aside}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "summary.json").write_text(json.dumps(summary))
        return 3 if aside else 0


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, Judge]]:
    """Run a command line from an empty folder; its exit status and what was done."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, folds: tuple[str, ...] = ("seoul",)) -> tuple[int, Judge]:
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        judge = Judge(*folds)
        with pytest.raises(SystemExit) as stopped:
            run_typed(Stages(judge.job, judge.prepare, judge.finish))
        assert sys.argv == ["train.py", *arguments]
        return int(str(stopped.value.code)), judge

    return run


def test_every_combination_is_a_cross_validation_in_a_folder_of_its_own(typed):
    status, judge = typed("-m", "seed=1,2", "experiment=clinical,outcome")
    assert status == 0
    wanted = {
        (seed, name): f"runs/sweeps/seed-{seed}-experiment-{name}"
        for seed in (1, 2)
        for name in ("clinical", "outcome")
    }
    assert {(cfg.seed, cfg.name): cfg.run_dir for cfg in judge.prepared} == wanted
    assert [cfg.run_dir for cfg in judge.finished] == [cfg.run_dir for cfg in judge.prepared]
    assert all({"split.fold='seoul'", "--multirun"} <= set(job) for job in judge.jobs)
    assert len(judge.jobs) == 4
    assert {read_tried([Path(cfg.run_dir)])["count"] for cfg in judge.finished} == {4}


@pytest.mark.parametrize(
    "arguments",
    [
        ("seed=1,2", "--multirun", "experiment=clinical"),
        ("experiment=clinical", "seed=range(1,3)", "-m"),
        ("--multirun", "seed=choice(1,2)", "experiment=clinical"),
        ("hydra.mode=MULTIRUN", "seed=1,2,1", "experiment=clinical"),
    ],
)
def test_values_are_listed_in_any_of_hydras_ways_and_none_is_run_twice(typed, arguments: tuple[str, ...]):
    _, judge = typed(*arguments)
    assert [(cfg.seed, cfg.run_dir) for cfg in judge.prepared] == [
        (1, "runs/sweeps/clinical-seed-1"),
        (2, "runs/sweeps/clinical-seed-2"),
    ]


def test_the_runs_lie_in_the_run_dir_that_was_typed(typed):
    _, judge = typed("-m", "seed=1,2", "experiment=clinical", "run_dir=병원/mine")
    assert [cfg.run_dir for cfg in judge.prepared] == ["병원/mine/clinical-seed-1", "병원/mine/clinical-seed-2"]


def test_run_folders_that_were_typed_for_each_are_taken(typed, tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    judge_of = typed("-m", "store_dir=a,b", "experiment=clinical", "run_dir='x_${store_dir}'")[1]
    assert [cfg.run_dir for cfg in judge_of.prepared] == ["x_a/clinical-store_dir-a", "x_b/clinical-store_dir-b"]


def test_multirun_with_one_value_of_everything_is_the_run_without_it(typed):
    _, judge = typed("-m", "experiment=clinical", "seed=1")
    assert [cfg.run_dir for cfg in judge.prepared] == ["runs/clinical"]
    assert not Path("runs/sweeps").exists()


def test_folds_that_are_listed_are_those_of_one_run(typed):
    _, judge = typed("-m", "split.fold='서울','부산'", "experiment=clinical")
    assert [cfg.split.fold for cfg in judge.prepared] == ["서울", "부산"]
    assert len(judge.jobs) == len(judge.finished) == 1


def test_folds_that_are_listed_go_with_each_combination(typed):
    _, judge = typed("-m", "split.fold=a,b", "seed=1,2", "experiment=clinical")
    assert [(cfg.seed, cfg.split.fold) for cfg in judge.prepared] == [(1, "a"), (1, "b"), (2, "a"), (2, "b")]
    assert len(judge.jobs) == 2


def test_one_table_of_all_combinations_is_printed_and_written(typed, capsys: pytest.CaptureFixture):
    typed("-m", "seed=1,2", "experiment=clinical", "run_dir=mine")
    out = capsys.readouterr().out.splitlines()
    path = Path(out[-1].removeprefix("table: "))
    assert path.parent == Path("mine")
    table = pd.read_csv(path)
    assert table["seed"].tolist() == [1, 2]
    assert table["auc_death"].tolist() == pytest.approx([0.51, 0.52])
    assert table["auc_death_low"].tolist() == pytest.approx([0.41, 0.42])
    assert table["lesion_dice_high"].tolist() == pytest.approx([0.7, 0.7])
    assert table["status"].tolist() == ["finished", "finished"]
    assert "2 settings were tried on the same folds. The best of them looks better than it is" in " ".join(out)
    assert table["settings_tried"].tolist() == [2, 2]


def test_a_combination_that_fails_is_named_and_the_others_go_on(typed, capsys: pytest.CaptureFixture):
    status, judge = typed("-m", "seed=13,2", "experiment=clinical", "run_dir=mine")
    assert status == 2
    assert [cfg.seed for cfg in judge.finished] == [2]
    shown = capsys.readouterr()
    assert "failed: clinical, seed=13: clinical.csv, line 3: age_years is 190" in shown.out
    assert "error: clinical, seed=13: clinical.csv, line 3" in shown.err
    assert "settings were tried" not in shown.out
    (path,) = Path("mine").glob("*.csv")
    assert pd.read_csv(path)["status"].tolist() == ["failed: clinical.csv, line 3: age_years is 190", "finished"]


def test_a_case_set_aside_in_any_combination_is_status_3(typed):
    assert typed("-m", "seed=7,2", "experiment=clinical")[0] == 3


def test_a_full_disk_ends_the_sweep(typed, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise TargetError("disk full")

    monkeypatch.setattr(Judge, "prepare", full)
    with pytest.raises(TargetError):
        typed("-m", "seed=1,2", "experiment=clinical")


def test_a_combination_that_cannot_be_composed_is_refused_before_anything_is_done(typed, monkeypatch):
    done: list[object] = []
    monkeypatch.setattr(Judge, "prepare", lambda *given: done.append(given))
    with pytest.raises(Exception, match="nowhere"):
        typed("-m", "experiment=clinical,nowhere")
    assert done == []


def test_what_a_configuration_of_ones_own_sweeps_over_is_swept(typed, tmp_path: Path):
    folder = tmp_path / "설정" / "experiment"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(
        "# @package _global_\ndefaults: [clinical]\nname: mine\nhydra: {sweeper: {params: {seed: '3,4'}}}\n"
    )
    _, judge = typed("-m", "--config-dir", "설정", "experiment=mine")
    assert [(cfg.name, cfg.seed) for cfg in judge.prepared] == [("mine", 3), ("mine", 4)]


@pytest.mark.parametrize("option", [("--config-dir", "own"), ("-cd=own",), ("hydra.searchpath=[own]",)])
def test_a_folder_of_ones_own_settings_is_found_by_the_run_and_by_its_folds(typed, option, tmp_path: Path):
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults: [clinical]\nname: mine\n"
    )
    _, judge = typed(*option, "experiment=mine")
    assert [cfg.run_dir for cfg in judge.prepared] == ["runs/mine"]
    assert any("own" in one and one.startswith("hydra.searchpath=") for one in judge.jobs[0])


REFUSED = {
    ("seed=1,2",): "train.py -m seed=1,2 ... runs a whole cross-validation",
    ("--config-dir", "nowhere", "experiment=clinical"): "--config-dir nowhere: there is no such folder",
    ("--experimental-rerun", "x"): "start the same command again",
    ("--config-name", "evaluate"): "--config-dir DIR experiment=NAME",
    ("--package", "trainer"): "--cfg job --package trainer",
    ("--resolve",): "--cfg job --resolve",
    ("-m", "--cfg", "job"): "do not go together",
    ("--nonsense",): "--nonsense; --help says what to type, --hydra-help lists the options",
    ("--cfg", "everything"): "--cfg",
    ("-m", "seed=interval(1,2)"): "a sweeper of your own",
    ("-m", "seed=1,2", "trainer.devices=2", "experiment=outcome"): "start each combination by itself",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_what_makes_no_sense_is_one_sentence_and_nothing_is_done(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    judge = Judge("seoul")
    with pytest.raises(UserError) as caught:
        run_typed(Stages(judge.job, judge.prepare, judge.finish))
    assert REFUSED[arguments] in str(caught.value)
    assert judge.prepared == judge.jobs == []
