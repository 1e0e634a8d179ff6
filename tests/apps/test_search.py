"""A search of settings: what is tried, what a stopped one goes on with, what it ends with. Nothing is trained here."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from kicc_ml.apps.configuration import compose_configuration
from kicc_ml.apps.search import is_search, search
from kicc_ml.apps.search_space import make_space, write_value
from kicc_ml.apps.search_study import STUDY
from kicc_ml.core.errors import TargetError, UserError
from kicc_ml.runs.tried import read_tried

optuna = pytest.importorskip("optuna", reason="the extra kicc_ml[search] is not installed")

SETTINGS = ["experiment=outcome", "hparams_search=optuna", "hparams_search.trials=5"]
RATE = "model.learning_rate=tag(log,interval(0.0001,0.1))"
DECAY = "model.weight_decay=0.0,0.01"


class Killed(BaseException):
    """The process ends here, whatever it was doing."""


class Trainer:
    """Stands for the cross-validations: a loss that is least at a learning rate of 0.01, and a report."""

    def __init__(self, kill_at: int = 0, fail_at: int = 0) -> None:
        self.kill_at, self.fail_at = kill_at, fail_at
        self.tried: list[tuple[str, float, float]] = []

    def __call__(self, overrides: Sequence[str]) -> int:
        cfg = compose_configuration("train", overrides)
        self.tried.append((cfg.run_dir, cfg.model.learning_rate, cfg.model.weight_decay))
        fold = Path(cfg.run_dir) / "seoul"
        fold.mkdir(parents=True, exist_ok=True)
        if len(self.tried) == self.kill_at:
            raise Killed
        if len(self.tried) == self.fail_at:
            raise UserError("the loss is nan")
        assert cfg.hparams_search is None
        loss = abs(cfg.model.learning_rate - 0.01) + cfg.model.weight_decay
        (fold / "metrics.csv").write_text(f"epoch,val/loss\n0,9\n1,{loss}\n")
        (fold / "config.yaml").write_text("seed: 1\n")
        (fold / "predictions.csv").write_text("case_id\na\n")
        summary = {"segmentation": {}, "outcome": {}, "quarantined": {}}
        (fold.parent / "summary.json").write_text(json.dumps(summary))
        return 0


class Worse(Trainer):
    """Every trial is worse than any of the other trainer."""

    def __call__(self, overrides: Sequence[str]) -> int:
        status = super().__call__(overrides)
        (Path(self.tried[-1][0]) / "seoul" / "metrics.csv").write_text("epoch,val/loss\n0,9\n")
        return status


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, Trainer]]:
    """Search from an empty folder; exit status and what was trained."""
    monkeypatch.chdir(tmp_path)

    def run(*more: str, trainer: Trainer | None = None, place: str = "mine") -> tuple[int, Trainer]:
        trainer = trainer or Trainer()
        return search([*SETTINGS, RATE, DECAY, *more, f"run_dir={place}"], trainer), trainer

    return run


def test_as_many_settings_as_wanted_are_tried_each_in_a_folder_of_its_own(searched):
    status, trainer = searched()
    assert status == 0
    assert [folder for folder, _, _ in trainer.tried] == [f"mine/trial-00{n}" for n in (1, 2, 3, 4, 5)]
    assert len({(rate, decay) for _, rate, decay in trainer.tried}) == 5
    assert all(0.0001 <= rate <= 0.1 and decay in (0.0, 0.01) for _, rate, decay in trainer.tried)


def test_a_killed_search_does_what_is_missing_and_tries_what_an_uninterrupted_one_tries(searched):
    killed = Trainer(kill_at=3)
    with pytest.raises(Killed):
        searched(trainer=killed)
    _, resumed = searched()
    _, whole = searched(place="other")
    assert [one[1:] for one in killed.tried[:2] + resumed.tried] == [one[1:] for one in whole.tried]
    assert resumed.tried[0] == killed.tried[2]  # in the folder that it was killed in
    assert searched()[1].tried == []


def test_a_trial_killed_before_its_settings_were_written_is_passed_over(searched, tmp_path: Path):
    with pytest.raises(Killed):
        searched(trainer=Trainer(kill_at=2))
    with sqlite3.connect(tmp_path / "mine" / STUDY) as file:
        file.execute("delete from trial_params where trial_id = 2 and param_name = 'model.weight_decay'")
    _, resumed = searched()
    assert [Path(folder).name for folder, _, _ in resumed.tried] == [f"trial-00{n}" for n in (3, 4, 5, 6)]


def test_the_end_is_one_table_that_says_how_many_were_tried_and_which_won(searched, capsys: pytest.CaptureFixture):
    _, trainer = searched()
    best = min(trainer.tried, key=lambda one: abs(one[1] - 0.01) + one[2])
    out = capsys.readouterr().out
    assert "5 settings were tried on the same folds. The best of them looks better than it is" in " ".join(out.split())
    assert f"model.learning_rate={best[1]!r} model.weight_decay={best[2]}: {best[0]}" in out.splitlines()[-1]
    table = pd.read_csv("mine/search.csv")
    losses = [abs(rate - 0.01) + decay for _, rate, decay in trainer.tried]
    assert table["validation_loss"].tolist() == pytest.approx(losses)
    assert table["settings_tried"].tolist() == [5] * 5


def test_the_table_of_a_resumed_search_holds_the_trials_of_both_starts(searched):
    with pytest.raises(Killed):
        searched(trainer=Trainer(kill_at=3))
    searched()
    assert pd.read_csv("mine/search.csv")["trial"].tolist() == [1, 2, 3, 4, 5]


def test_more_trials_go_on_with_the_same_search(searched):
    searched()
    _, more = searched("hparams_search.trials=7")
    assert [Path(folder).name for folder, _, _ in more.tried[:2]] == ["trial-006", "trial-007"]


def test_the_report_of_what_won_says_how_many_were_tried_also_where_more_were_tried_later(searched):
    _, first = searched()
    assert {read_tried([Path(folder)])["count"] for folder, _, _ in first.tried} == {5}
    best = min(first.tried, key=lambda one: abs(one[1] - 0.01) + one[2])
    _, more = searched("hparams_search.trials=6", trainer=Trainer(fail_at=1))  # the sixth fails, so it cannot win
    assert read_tried([Path(best[0])]) == {"count": 5, "compared_by": "validation", "reason": None}
    _, more = searched("hparams_search.trials=6", trainer=Worse())
    assert [Path(folder).name for folder, _, _ in more.tried] == ["trial-007", Path(best[0]).name]
    assert read_tried([Path(best[0])])["count"] == 6


def test_a_trial_that_fails_is_named_and_the_search_goes_on(searched, capsys: pytest.CaptureFixture):
    status, trainer = searched(trainer=Trainer(fail_at=2))
    assert (status, len(trainer.tried)) == (2, 5)
    assert "failed: trial-002: the loss is nan" in capsys.readouterr().out
    assert pd.read_csv("mine/search.csv")["trial"].tolist() == [1, 3, 4, 5]
    _, again = searched()
    assert [Path(folder).name for folder, _, _ in again.tried] == ["trial-006"]


def test_a_disk_that_is_full_ends_the_search(searched):
    def full(_: Sequence[str]) -> int:
        raise TargetError("disk full")

    with pytest.raises(TargetError):
        searched(trainer=full)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("model.dropout=0.1,0.2", "other values of model.dropout"),
        ("trainer.max_time=00:00:00:01", "other settings: trainer"),
        ("split.val_fraction=0.3", "other settings: split"),
    ],
)
def test_a_folder_of_another_search_is_refused(searched, change: str, said: str):
    searched()
    with pytest.raises(UserError, match=said):
        searched(change)


def test_a_study_that_is_no_database_is_one_sentence(searched, tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / STUDY).write_text("no database at all, but long enough to be looked at" * 40)
    with pytest.raises(UserError, match=STUDY):
        searched()


def test_the_study_lies_in_a_folder_of_any_name(searched):
    searched("hparams_search.trials=1", place="'병원 ?mode=ro#1%20/mine'")
    assert Path("병원 ?mode=ro#1%20/mine", STUDY).is_file()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["experiment=clinical", "hparams_search=optuna", "seed=1,2"], "no results on validation patients"),
        (["experiment=demo", "hparams_search=optuna", "seed=1,2"], "one experiment"),
        ([*SETTINGS], "varies no setting"),
        ([*SETTINGS, "split.fold=a,b"], "cannot vary split.fold"),
        ([*SETTINGS, RATE, "trainer.devices=2"], "one process"),
        ([*SETTINGS, "model.learning_rate=tag(log,interval(0,1))"], "cannot be searched"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_written(
    overrides: list[str], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        search(overrides, Trainer())
    assert list(tmp_path.iterdir()) == []


def test_no_number_of_trials_is_refused(searched):
    with pytest.raises(Exception, match="is no number of trials"):
        searched("hparams_search.trials=0")


def test_a_command_is_a_search_only_where_it_says_so():
    assert is_search([*SETTINGS, RATE])
    assert not is_search(["experiment=clinical,outcome", "seed=1,2"])


def test_a_space_is_written_in_the_words_of_hydras_sweeps():
    words = ["a=interval(0,1)", "b=tag(log,int(interval(1,64)))", "c=range(2,9,3)", "d=choice(x,'y z')", "+e=1,2"]
    space = make_space(words, {"f": "interval(1,2)", "a": "interval(5,6)"})
    assert dict(space.described) == {
        "a": "FloatDistribution(high=1.0, log=False, low=0.0, step=None)",
        "b": "IntDistribution(high=64, log=True, low=1, step=1)",
        "c": "IntDistribution(high=8, log=False, low=2, step=3)",
        "d": r"CategoricalDistribution(choices=('x', 'y\\ z'))",
        "+e": "CategoricalDistribution(choices=('1', '2'))",
        "f": "FloatDistribution(high=2.0, log=False, low=1.0, step=None)",
    }


@pytest.mark.parametrize(("value", "text"), [(1e-7, "1e-07"), (0.1 + 0.2, "0.30000000000000004"), (3, "3"), ("x", "x")])
def test_a_value_is_written_whole(value: float | str, text: str):
    assert write_value(value) == text


def test_another_sampler_of_optuna_is_called_with_a_seed_of_each_trial(searched):
    sampler = "hparams_search.sampler={_target_:optuna.samplers.RandomSampler,_partial_:true}"
    first, second = searched(sampler)[1].tried, searched(sampler, place="other")[1].tried
    assert [one[1:] for one in first] == [one[1:] for one in second]
    assert len({rate for _, rate, _ in first}) == 5
