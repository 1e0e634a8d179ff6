"""The cohort of a run is read once for all its folds, and a run never mixes two cohorts."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import DictConfig

from kicc_ml.apps import train as script
from kicc_ml.apps.configuration import compose_configuration
from kicc_ml.apps.evaluate import locate_cohort
from kicc_ml.core.errors import UserError
from kicc_ml.core.files import write_table
from kicc_ml.core.types import Case
from kicc_ml.runs.folder import PREDICTIONS, read_fold_settings

SITES = ("busan", "daegu", "seoul")
Settings = Callable[..., DictConfig]


class Reached(Exception):
    """Ends a fold where it has its cases."""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a run in ``tmp_path/run`` on three hospitals without images; the user's folders are empty."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    rows = [f"{site},{n},{50 + n},{'MF'[n % 2]},{n % 2}" for site in SITES for n in range(6)]
    for site in SITES:
        (tmp_path / "repository" / site).mkdir(parents=True)
    table = tmp_path / "repository" / "clinical.csv"
    table.write_text("\n".join(["site,patient_id,age_years,sex,icu", *rows]) + "\n")
    where = (f"cohort.root={tmp_path / 'repository'}", f"run_dir={tmp_path / 'run'}", f"store_dir={tmp_path / 'store'}")

    def give(*more: str) -> DictConfig:
        return compose_configuration("train", ["experiment=clinical", "cohort=repository", *where, *more])

    return give


def change_outcome_of_first_patient(tmp_path: Path) -> None:
    table = tmp_path / "repository" / "clinical.csv"
    table.write_text(table.read_text().replace("busan,0,50,M,0", "busan,0,50,M,1"))


def cases_of_fold(cfg: DictConfig, monkeypatch: pytest.MonkeyPatch) -> list[Case]:
    """The cases with which a fold begins."""
    found: list[Case] = []

    def stop(_: DictConfig, cases: list[Case], __: object) -> None:
        found.extend(cases)
        raise Reached

    with monkeypatch.context() as patched:
        patched.setattr(script, "build_data_module", stop)
        with pytest.raises(Reached):
            script.train(cfg)
    return found


def values(cases: list[Case]) -> list[tuple]:
    return [(case.case_id, case.person, list(case.clinical.items()), case.endpoints["icu"]) for case in cases]


def test_folds_take_the_cases_that_were_read_when_the_run_was_started(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    whole = script.build_cohort(settings())
    script.prepare(settings())

    def read_again(_: DictConfig) -> None:
        raise AssertionError("a fold read the cohort again")

    monkeypatch.setattr(script, "build_cohort", read_again)
    for site in SITES:
        assert values(cases_of_fold(settings(f"split.fold={site}"), monkeypatch)) == values(whole)


def test_a_fold_that_does_not_find_them_reads_the_same_cases_again(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    script.prepare(settings())
    noted = cases_of_fold(settings("split.fold=busan"), monkeypatch)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another user"))
    assert values(cases_of_fold(settings("split.fold=busan"), monkeypatch)) == values(noted)


def test_a_fold_that_reads_a_changed_cohort_says_which_case_differs_and_in_what(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    script.prepare(settings())
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another user"))
    change_outcome_of_first_patient(tmp_path)
    with pytest.raises(UserError, match=r"changed since .*1 of 18 cases differ: busan_\w+ \(endpoints\); start the tr"):
        script.train(settings("split.fold=busan"))


def test_cases_noted_of_an_earlier_start_are_not_taken(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As where the user's folder could be written at the first start and not at the second."""
    script.prepare(settings())
    change_outcome_of_first_patient(tmp_path)
    monkeypatch.setattr(script, "note_cohort", lambda *_: None)
    script.prepare(settings())
    found = cases_of_fold(settings("split.fold=busan"), monkeypatch)
    assert values(found) == values(script.build_cohort(settings()))


def test_the_report_of_a_training_takes_them_too(settings: Settings, tmp_path: Path):
    script.prepare(settings())
    (tmp_path / "repository" / "clinical.csv").unlink()
    place = replace(locate_cohort(settings().cohort), as_trained=True)
    assert len(place.read(read_fold_settings(tmp_path / "run" / "busan"), tmp_path / "run")) == 18


def test_a_run_with_a_finished_fold_is_not_continued_on_another_cohort(settings: Settings, tmp_path: Path):
    script.prepare(settings())
    write_table(tmp_path / "run" / "busan" / PREDICTIONS, pd.DataFrame({"case_id": ["a"]}))
    script.prepare(settings())
    change_outcome_of_first_patient(tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"finished folds of another cohort: 1 of 18 .*\(endpoints\).*run_dir=DIR"):
        script.prepare(settings())
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_the_run_folder_holds_a_digest_of_each_part_of_a_case_and_nothing_else(settings: Settings, tmp_path: Path):
    script.prepare(settings())
    kept = json.loads((tmp_path / "run" / "cohort.json").read_text())
    assert set(kept) == {case.case_id for case in script.build_cohort(settings())}
    for parts in kept.values():
        assert set(parts) == {"person", "CT", "radiograph", "later images", "masks", "clinical values", "endpoints"}
        assert all(re.fullmatch("[0-9a-f]{12}", digest) for digest in parts.values())
