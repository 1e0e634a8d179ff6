"""How what is typed becomes cross-validations, and these their parts and folds; nothing is trained here."""

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from kicc_ml.apps.configuration import CONFIGS
from kicc_ml.apps.cross_validation import Stages, run_in_one_job, run_typed
from kicc_ml.runs.lay_down import STARTED
from tests.support.recorded_folds import Recorder


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Recorder]:
    monkeypatch.chdir(tmp_path)  # run folders are relative

    def run(arguments: list[str], *folds: str) -> Recorder:
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        recorder = Recorder(*folds)
        with suppress(SystemExit):
            run_typed(Stages(recorder.job, recorder.prepare, recorder.finish))
        assert sys.argv == ["train.py", *arguments]
        return recorder

    return run


def test_while_folds_are_trained_their_run_is_held_by_the_process_that_was_started(swept: Callable[..., Recorder]):
    assert swept(["experiment=outcome"], "busan-1", "seoul-1").started == [["busan-1", "seoul-1"]]
    assert not list(Path.cwd().rglob(STARTED))


def test_the_demonstration_is_two_experiments_in_folders_of_their_own(swept: Callable[..., Recorder]):
    recorder = swept([], "seoul")
    assert [(cfg.name, cfg.run_dir) for cfg in recorder.prepared] == [
        ("lesion_ct", "runs/demo/lesion_ct"),
        ("outcome", "runs/demo/outcome"),
    ]
    assert [cfg.run_dir for cfg in recorder.finished] == ["runs/demo/lesion_ct", "runs/demo/outcome"]


def test_the_users_own_settings_win_over_those_of_the_demonstration(swept: Callable[..., Recorder]):
    recorder = swept(["experiment=demo", "trainer.max_time=00:00:00:03", "run_dir=here", "seed=7"], "seoul")
    assert [cfg.trainer.max_time for cfg in recorder.prepared] == ["00:00:00:03"] * 2
    assert [cfg.run_dir for cfg in recorder.prepared] == ["here/lesion_ct", "here/outcome"]
    assert [cfg.seed for cfg in recorder.prepared] == [7, 7]


def test_a_part_does_not_become_the_demonstration_again(swept: Callable[..., Recorder]):
    recorder = swept(["experiment=demo"], "seoul")
    assert [[one for one in job if one.startswith("experiment=")] for job in recorder.jobs] == [
        ["experiment=lesion_ct"],
        ["experiment=outcome"],
    ]


def test_the_folds_to_train_go_to_hydras_multirun(swept: Callable[..., Recorder]):
    recorder = swept(["experiment=outcome", "seed=2"], "서울", "o'brien")
    (job,) = recorder.jobs
    assert job[:2] == ["experiment=outcome", "seed=2"]
    assert job[2:] == [r"split.fold='서울','o\'brien'", "--multirun"]


def test_where_no_fold_is_left_nothing_is_started_but_the_report_is_made(swept: Callable[..., Recorder]):
    recorder = swept(["experiment=outcome"])
    assert recorder.jobs == []
    assert [cfg.name for cfg in recorder.finished] == ["outcome"]


def test_options_of_hydra_go_to_hydra_alone(swept: Callable[..., Recorder]):
    recorder = swept(["--cfg", "job"], "seoul")
    assert recorder.jobs == [["--cfg=job"]]
    assert (recorder.prepared, recorder.finished) == ([], [])


@pytest.mark.parametrize(
    ("arguments", "handed_on"),
    [
        (["--cfg", "job", "--resolve", "seed=3"], ["--resolve", "--cfg=job", "seed=3"]),
        (["seed=3", "--info", "experiment=clinical"], ["--info=all", "seed=3", "experiment=clinical"]),
        (["-h"], ["--help"]),
        (["-sc", "install=bash"], ["--shell-completion", "install=bash"]),
    ],
)
def test_what_only_shows_something_is_hydras(
    swept: Callable[..., Recorder], arguments: list[str], handed_on: list[str]
):
    assert swept(arguments).jobs == [handed_on]


def test_a_job_of_a_sweeper_is_a_whole_cross_validation_and_returns_its_mean_best_dice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        overrides = ["experiment=lesion_ct", "seed=3", f"run_dir={tmp_path}"]
        cfg = compose("train", overrides=overrides, return_hydra_config=True)
    monkeypatch.setattr(HydraConfig, "get", lambda: cfg.hydra)
    dice = {"a": [0.2, 0.5, 0.4], "b": [0.7, 0.1]}
    reported: list[DictConfig] = []

    def train(of_fold: DictConfig) -> None:
        folder = Path(of_fold.run_dir) / of_fold.split.fold
        folder.mkdir(parents=True)
        pd.DataFrame({"val/dice": [*dice[of_fold.split.fold], None]}).to_csv(folder / "metrics.csv")
        for name in ("predictions.csv", "config.yaml"):
            (folder / name).touch()

    def finish(parts: list[DictConfig]) -> int:
        reported.extend(parts)
        return 0

    assert run_in_one_job(cfg, lambda _: list(dice), train, finish) == pytest.approx(0.6)
    (part,) = reported
    assert Path(part.run_dir).parent == tmp_path
    assert "seed-3" in part.run_dir


def test_a_sweeper_of_ones_own_gets_the_settings_as_they_were_typed(swept: Callable[..., Recorder], tmp_path: Path):
    (tmp_path / "hydra" / "sweeper").mkdir(parents=True)
    (tmp_path / "hydra" / "sweeper" / "own.yaml").write_text("_target_: own.Sweeper\n")
    settings = ["hydra/sweeper=own", "seed=interval(1,9)", "experiment=clinical"]
    recorder = swept(["-m", *settings, f"hydra.searchpath=[{tmp_path}]"])
    (job,) = recorder.jobs
    assert job[:4] == ["--multirun", *settings]
    assert recorder.prepared == []
