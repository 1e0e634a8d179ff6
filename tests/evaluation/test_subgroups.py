"""Figures within groups of patients."""

import numpy as np
import pandas as pd

from kicc_ml.core.types import Case
from kicc_ml.evaluation.outcome import score_outcome
from kicc_ml.evaluation.rows import BinaryOutcomes
from kicc_ml.evaluation.subgroups import SUBGROUP_METRICS, find_age_band, make_groups, score_subgroups


def predictions(n: int = 80) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    label = (generator.random(n) < 0.4).astype(float)
    return pd.DataFrame(
        {"case_id": [f"c{i}" for i in range(n)], "site": np.arange(n) % 4, "endpoint": "icu", "model": "network"}
        | {"probability": np.clip(0.3 * label + generator.uniform(0, 0.7, n), 0, 1), "label": label}
    ).astype({"site": str})


def test_a_group_has_the_figures_of_its_patients_alone() -> None:
    table = predictions()
    groups = pd.DataFrame({"case_id": table["case_id"], "sex": np.where(np.arange(80) % 3, "men", "women")})
    rows = {row["group"]: row for row in score_subgroups(table, groups)}
    men = table[groups["sex"] == "men"]
    expected = score_outcome(
        BinaryOutcomes(men["label"].to_numpy(), men["probability"].to_numpy(), men["site"].to_numpy(str))
    )
    assert rows["men"]["n"] == len(men)
    assert {metric: rows["men"][metric]["value"] for metric in SUBGROUP_METRICS} == {
        metric: expected[metric]["value"] for metric in SUBGROUP_METRICS
    }


def test_nobody_is_lost_and_age_bands_come_in_order() -> None:
    table = predictions()
    ages = np.linspace(20, 95, 80)
    groups = pd.DataFrame({"case_id": table["case_id"], "age_band": [find_age_band(age) for age in ages]}).iloc[:70]
    rows = score_subgroups(table, groups)
    assert [row["group"] for row in rows] == ["under 50", "50 to 64", "65 to 79", "80 and over", "unknown"]
    assert sum(row["n"] for row in rows) == 80


def test_a_band_begins_at_its_lower_end_and_no_age_is_no_band() -> None:
    assert [find_age_band(age) for age in (0, 49.9, 50, 64.9, 65, 80)] == [
        *("under 50", "under 50", "50 to 64", "50 to 64", "65 to 79", "80 and over")
    ]
    assert find_age_band(None) is None
    assert find_age_band(float("nan")) is None


def test_a_group_without_events_says_so() -> None:
    table = predictions().assign(label=0.0)
    groups = pd.DataFrame({"case_id": table["case_id"], "sex": "men"})
    (row,) = score_subgroups(table, groups)
    assert row["auroc"]["reason"] == "no event among 80 cases"


def test_groups_that_no_case_states_are_not_looked_at() -> None:
    groups = make_groups([Case("a", "seoul", "p", clinical={"sex": 1.0, "age_years": 70}), Case("b", "seoul", "q")])
    assert list(groups) == ["case_id", "sex", "age_band"]
    assert groups["sex"].tolist()[0] == "men"
    assert score_subgroups(pd.DataFrame(), groups) == []
