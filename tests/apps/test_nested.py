"""Nested selection: each fold chooses among settings by its own validation patients. Nothing is trained here."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import DictConfig

from kicc_ml.apps.combinations import Combination, compose_combinations
from kicc_ml.apps.cross_validation import Stages, cross_validate_each, run_typed
from kicc_ml.apps.nested import report_nested
from kicc_ml.cohort.splits import leave_one_site_out, write_splits
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case
from kicc_ml.runs.tried import read_tried

SITES = ("busan", "daegu", "seoul", "ulsan", "wonju")
CASES = [Case(f"{site}_{number}", site, f"{site}_{number}") for site in SITES for number in range(4)]
RATES = ("0.001", "0.01", "0.1")
TYPED = ["experiment=outcome", "nested=true", f"model.learning_rate={','.join(RATES)}", "run_dir=mine"]
#: Losses on validation patients by fold, of each rate. Over all folds together the second rate is the best.
LOSSES = {"busan": (1, 2, 3), "daegu": (9, 2, 3), "seoul": (9, 2, 1), "ulsan": (9, 1, 9), "wonju": (2, 3, 9)}
BEST = {"busan": "0.001", "daegu": "0.01", "seoul": "0.1", "ulsan": "0.01", "wonju": "0.001"}


class Finish:
    """Stands for the report and keeps which runs were reported."""

    def __init__(self) -> None:
        self.runs: list[str] = []

    def __call__(self, parts: Sequence[DictConfig]) -> int:
        self.runs += [cfg.run_dir for cfg in parts]
        return 0


def write_fold(run: Path, site: str, loss: float | None, label: float = 1.0) -> None:
    """A finished fold: the case ids of its table say which run it is of."""
    (split,) = leave_one_site_out(CASES, seed=1, fold=site)
    folder = run / site
    folder.mkdir(parents=True)
    write_splits(folder / "split.json", [split])
    (folder / "config.yaml").write_text(f"of: {run.name}\n")
    column = "" if loss is None else f"epoch,val/loss\n0,99\n1,{loss}\n"
    (folder / "metrics.csv").write_text(column or "epoch,train/loss\n0,1\n")
    rows = [f"{case_id},{site},icu,network,{label},{label}" for case_id in split.test]
    (folder / "predictions.csv").write_text("\n".join(["case_id,site,endpoint,model,probability,label", *rows]) + "\n")
    (folder / "checkpoints").mkdir()


def trained(losses: Mapping[str, Sequence[float | None]], label: float = 1.0) -> list[Combination]:
    """Every rate, trained on every fold."""
    found = compose_combinations(TYPED)
    for place, one in enumerate(found):
        for site in losses:
            write_fold(one.run_dir, site, losses[site][place], label)
    return found


def choose(combinations: Sequence[Combination], finish: Finish) -> dict[str, str]:
    """The rate that each fold of the nested run has."""
    report_nested(combinations, {one.name: 0 for one in combinations}, finish)
    of_run = {one.name: one.values["model.learning_rate"] for one in combinations}
    return {path.parent.name: of_run[path.read_text().split()[1]] for path in Path("mine/nested").glob("*/config.yaml")}


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_each_fold_takes_the_settings_that_are_best_on_its_own_validation_patients(capsys: pytest.CaptureFixture):
    finish = Finish()
    assert choose(trained(LOSSES), finish) == BEST
    assert set(finish.runs) == {"mine/nested"}
    assert read_tried([Path("mine/nested")]) == {"count": 3, "compared_by": "inner", "reason": None}
    assert not list(Path("mine/nested").glob("*/checkpoints"))
    table = pd.read_csv("mine/nested.csv", dtype=str).set_index("fold")
    assert table["model.learning_rate"].to_dict() == BEST
    assert "nested: fold seoul takes outcome, model.learning_rate=0.1 (loss 1 on" in capsys.readouterr().out


@pytest.mark.parametrize("held_out", SITES)
def test_no_result_on_a_patient_of_the_held_out_hospital_enters_the_choice_of_its_fold(held_out: str):
    """Every figure that a patient of this hospital had a part in is replaced; its fold chooses as before."""
    splits = {split.fold: split for split in leave_one_site_out(CASES, seed=1)}
    seen = {fold for fold, one in splits.items() if any(case.startswith(held_out) for case in (*one.train, *one.val))}
    assert seen == set(SITES) - {held_out}
    turned = {site: [10 - loss for loss in of_site] if site in seen else of_site for site, of_site in LOSSES.items()}
    assert choose(trained(turned, label=0.0), Finish())[held_out] == BEST[held_out]


def test_the_run_of_an_earlier_start_is_replaced_and_a_folder_of_others_is_not(tmp_path: Path):
    found = trained(LOSSES)
    choose(found, Finish())
    assert choose(found, Finish()) == BEST
    (tmp_path / "mine" / "nested" / "settings_tried.json").write_text(
        json.dumps({"count": 3, "compared_by": "reported"})
    )
    with pytest.raises(UserError, match="mine/nested holds something else"):
        choose(found, Finish())
    assert (tmp_path / "mine" / "nested" / "seoul" / "predictions.csv").is_file()


def test_a_link_in_the_place_of_the_run_is_left_alone(tmp_path: Path):
    found = trained(LOSSES)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "settings_tried.json").write_text(json.dumps({"count": 3, "compared_by": "inner"}))
    (tmp_path / "mine" / "nested").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="mine/nested holds something else"):
        choose(found, Finish())
    assert (tmp_path / "elsewhere" / "settings_tried.json").is_file()


@pytest.mark.parametrize("status", [2, 3])
def test_the_command_ends_with_the_status_of_the_nested_report(status: int):
    def finish(parts: Sequence[DictConfig]) -> int:
        (Path(parts[0].run_dir) / "summary.json").write_text('{"segmentation": {}, "outcome": {}, "quarantined": {}}')
        return status if parts[0].run_dir == "mine/nested" else 0

    stages = Stages(lambda: pytest.fail("trained"), lambda cfg: (), finish)  # all folds are there
    assert cross_validate_each(trained(LOSSES), stages) == status


def test_masks_of_the_chosen_fold_come_along():
    found = trained(LOSSES)
    for one in found:
        for site in SITES:
            folder = one.run_dir / "severity" / f"{site}_1"
            folder.mkdir(parents=True)
            (folder / "severity.json").write_text(one.name)
    choose(found, Finish())
    of_run = {one.values["model.learning_rate"]: one.name for one in found}
    for site in SITES:
        assert Path(f"mine/nested/severity/{site}_1/severity.json").read_text() == of_run[BEST[site]]


def test_settings_that_failed_are_no_choice_but_were_tried():
    found = trained(LOSSES)
    report_nested(found, {one.name: 2 * (place == 0) for place, one in enumerate(found)}, Finish())
    assert pd.read_csv("mine/nested.csv", dtype=str)["model.learning_rate"].tolist() == [
        "0.01",
        "0.01",
        "0.1",
        "0.01",
        "0.01",
    ]
    assert read_tried([Path("mine/nested")])["count"] == 3


def test_folds_of_other_cases_or_without_validation_are_refused():
    found = trained(LOSSES)
    write_splits(found[1].run_dir / "seoul" / "split.json", leave_one_site_out(CASES, seed=2, fold="seoul"))
    with pytest.raises(UserError, match=r"seoul and .*seoul have other cases"):
        choose(found, Finish())
    (found[2].run_dir / "busan" / "metrics.csv").write_text("epoch,train/loss\n0,1\n")
    with pytest.raises(UserError, match=r"fold busan has no result on validation patients; give split\.val_fraction"):
        choose(found, Finish())
    assert not Path("mine/nested").exists()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["experiment=outcome", "seed=1,2"], "seed changes them"),
        (["experiment=outcome", "split=leave_one_site_out,patient_kfold"], "split changes them"),
        (["experiment=outcome", "split.val_fraction=0.1,0.2"], r"split\.val_fraction changes them"),
        (["experiment=outcome,lesion_ct"], "experiment changes them"),
        (["experiment=demo", "model.learning_rate=0.1,0.2"], "demo is several"),
        (["experiment=clinical", "batch=1,2"], "trains no network"),
        (["experiment=outcome", "model.learning_rate=0.1"], "there is one"),
    ],
)
def test_what_cannot_be_compared_fold_by_fold_is_refused_before_anything_is_trained(typed: list[str], said: str):
    typed = [one.replace("batch=", "data.batch_size=") for one in typed]
    trained_none = Stages(lambda: pytest.fail("trained"), lambda cfg: pytest.fail("prepared"), Finish())
    with pytest.raises(UserError, match=said):
        cross_validate_each(compose_combinations([*typed, "nested=true"]), trained_none)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ([], "this is one run"),
        (["-m"], "this is one run"),
        (
            ["-m", "hparams_search=optuna", "data.batch_size=4,8"],
            "a search proposes settings by the results of all folds",
        ),
    ],
)
def test_nested_selection_without_a_list_of_settings_is_refused(
    monkeypatch: pytest.MonkeyPatch, typed: list[str], said: str
):
    stages = Stages(lambda: pytest.fail("trained"), lambda cfg: pytest.fail("prepared"), Finish())
    monkeypatch.setattr(sys, "argv", ["train.py", "experiment=outcome", "nested=true", *typed])
    with pytest.raises(UserError, match=said):
        run_typed(stages)
