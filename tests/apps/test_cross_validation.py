"""How what is typed becomes cross-validations, and these their parts and folds; nothing is trained here."""

import sys
from collections.abc import Callable
from contextlib import suppress

import pytest
from omegaconf import DictConfig

from kicc_ml.apps.cross_validation import Stages, run_typed


class Recorder:
    """Stands for the three stages of a sweep and keeps what each was given."""

    def __init__(self, *folds: str) -> None:
        self.folds = folds
        self.prepared: list[DictConfig] = []
        self.jobs: list[list[str]] = []
        self.finished: list[DictConfig] = []

    def prepare(self, cfg: DictConfig) -> tuple[str, ...]:
        self.prepared.append(cfg)
        return self.folds

    def job(self) -> None:
        self.jobs.append(sys.argv[1:])

    def finish(self, parts: list[DictConfig]) -> int:
        self.finished += parts
        return 0


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Recorder]:
    def run(arguments: list[str], *folds: str) -> Recorder:
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        recorder = Recorder(*folds)
        with suppress(SystemExit):
            run_typed(Stages(recorder.job, recorder.prepare, recorder.finish))
        assert sys.argv == ["train.py", *arguments]
        return recorder

    return run


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
    assert recorder.jobs == [["--cfg", "job"]]
    assert (recorder.prepared, recorder.finished) == ([], [])
