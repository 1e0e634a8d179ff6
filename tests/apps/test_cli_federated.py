import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer

from kicc_ml.apps.cli_federated import compute_seconds, read_finished, run_folds, write_results
from kicc_ml.core.errors import UserError
from kicc_ml.federated.coordinator import Trained, collect_sums, judge, train
from kicc_ml.federated.hospital import Hospital
from kicc_ml.federated.local_training import Agreed
from kicc_ml.federated.plan import Plan
from tests.support.federation import Wire, write_consortium
from tests.support.schemas import list_file_faults


class FederationHere:
    """A federation whose hospitals are in this process; it asks as the one over NVFlare does."""

    least = 2

    def __init__(self, roots: dict[str, Path], stores: Path):
        self.wire = Wire({site: Hospital(root, stores / site) for site, root in roots.items()})

    def list_sites(self) -> list[str]:
        return sorted(self.wire.hospitals)

    def collect_sums(self, sites: list[str]) -> dict[str, Any]:
        sums = collect_sums(self.wire, sites)
        parts = ("items", "features", "endpoints")
        return sums | {part: {name: vars(total) for name, total in sums[part].items()} for part in parts}

    def train(self, plan: Plan, sites: list[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        trained: Trained = train(self.wire, plan, sites)
        agreed = {"features": list(trained.agreed.features), "endpoints": list(trained.agreed.endpoints)}
        return {"agreed": agreed, "rounds": list(trained.rounds), "lost": dict(trained.lost)}, dict(trained.weights)

    def judge(self, plan: Plan, agreed: dict[str, Any], weights: dict[str, np.ndarray], site: str) -> dict[str, Any]:
        return judge(self.wire, plan, Agreed(**agreed), weights, site)


@pytest.mark.slow
def test_each_hospital_is_held_out_in_turn_and_the_result_is_as_its_schema_says(tmp_path: Path, capsys):
    _, alone = write_consortium(tmp_path, 300, 4)
    out = tmp_path / "out"
    out.mkdir()
    federation = FederationHere(alone, tmp_path / "stores")
    with pytest.raises(typer.Exit) as end:
        run_folds(federation, Plan(rounds=2, batch_size=32), [], out)  # type: ignore[arg-type]
    assert end.value.exit_code == 0
    assert list_file_faults(out / "federated.json") == []
    result = json.loads((out / "federated.json").read_text())
    assert sorted(result["folds"]) == sorted(alone)
    for site, fold in result["folds"].items():
        assert (out / site / "weights.safetensors").is_file()
        assert all(site not in one for one in fold["rounds"])
    assert set(result["results"]["oxygen"]["sites"]) == set(alone)
    table = pd.read_csv(out / "table_1.csv")
    assert {"men", "age_years", "icu"} <= set(table["characteristic"])
    assert "oxygen: AUC within hospitals" in capsys.readouterr().out


def test_a_held_out_hospital_that_is_not_connected_is_named(tmp_path: Path):
    federation = FederationHere({"north": tmp_path, "east": tmp_path}, tmp_path)
    with pytest.raises(UserError, match="--held-out west: no such hospital is connected; there are east, north"):
        run_folds(federation, Plan(), ["west"], tmp_path)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_fold_whose_hospital_does_not_judge_is_set_aside_and_the_others_are_combined(tmp_path: Path, capsys):
    _, alone = write_consortium(tmp_path, 200, 3)
    out = tmp_path / "out"
    out.mkdir()
    federation = FederationHere(alone, tmp_path / "stores")
    silent = sorted(alone)[0]
    judge_here = federation.judge

    def judge_but_one(plan: Plan, agreed: dict[str, Any], weights: dict[str, np.ndarray], site: str) -> dict[str, Any]:
        federation.wire.silent = {silent} if site == silent else set()
        try:
            return judge_here(plan, agreed, weights, site)
        finally:
            federation.wire.silent = set()

    federation.judge = judge_but_one  # type: ignore[method-assign]
    with pytest.raises(typer.Exit) as end:
        run_folds(federation, Plan(rounds=1, batch_size=64), [], out)  # type: ignore[arg-type]
    assert end.value.exit_code == 3
    result = json.loads((out / "federated.json").read_text())
    assert list_file_faults(out / "federated.json") == []
    assert list(result["set_aside"]) == [silent]
    assert sorted(result["folds"]) == sorted(set(alone) - {silent})
    assert f"set aside: {silent}: judge: 0 of 1 hospitals answered" in capsys.readouterr().out
    # The same start again trains and asks only what is missing.
    federation.judge = judge_here  # type: ignore[method-assign]
    federation.wire.asked.clear()
    with pytest.raises(typer.Exit) as end:
        run_folds(federation, Plan(rounds=1, batch_size=64), [], out)  # type: ignore[arg-type]
    assert end.value.exit_code == 0
    assert [site for task, site in federation.wire.asked if task == "judge"] == [silent]
    again = json.loads((out / "federated.json").read_text())
    assert sorted(again["folds"]) == sorted(alone)
    assert {name: again["folds"][name] for name in result["folds"]} == result["folds"]


def test_results_of_another_plan_are_not_mixed(tmp_path: Path):
    write_results(tmp_path, Plan(rounds=7), {}, {}, {}, {})
    with pytest.raises(UserError, match="holds the results of another plan; give another folder with -o"):
        read_finished(tmp_path, Plan(rounds=8), ["north", "east"])


def test_finished_folds_are_kept_where_other_hospitals_are_connected(tmp_path: Path):
    fold = {"rounds": [{"north": {"patients": 9, "loss": 0.5}, "east": {"patients": 9, "loss": 0.5}}], "lost": {}}
    write_results(tmp_path, Plan(), {}, {"west": fold}, {"west": {}}, {})
    before = (tmp_path / "federated.json").read_bytes()
    federation = FederationHere({site: tmp_path for site in ("north", "south", "west")}, tmp_path)
    with pytest.raises(UserError, match="holds folds of other hospitals than are connected now: east, north, west"):
        run_folds(federation, Plan(), [], tmp_path)  # type: ignore[arg-type]
    assert (tmp_path / "federated.json").read_bytes() == before
    assert read_finished(tmp_path, Plan(), ["north", "east", "west"])[0] == {"west": fold}


def test_two_hospitals_are_told_that_a_third_is_needed_before_they_are_asked(tmp_path: Path):
    federation = FederationHere({"north": tmp_path, "east": tmp_path}, tmp_path)
    with pytest.raises(UserError, match="3 hospitals must be connected"):
        run_folds(federation, Plan(), [], tmp_path)  # type: ignore[arg-type]
    assert not federation.wire.asked


@pytest.mark.parametrize("minutes", [float("nan"), float("inf"), -3.0, 0.001])
def test_a_time_that_is_none_is_refused(minutes: float):
    with pytest.raises(UserError, match="is not between"):
        compute_seconds(minutes)
    assert compute_seconds(1.5) == 90
