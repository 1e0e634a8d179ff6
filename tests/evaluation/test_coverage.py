"""Do 95 % intervals contain the truth in 95 of 100 data sets, and are they no wider than they have to be?

The tables of ``kicc_ml/evaluation/README.md`` lie beside this file, one row per design, figure and question, with the
command that made them in :mod:`tests.evaluation.simulate_answers` and :mod:`tests.evaluation.simulate_calibration`.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kicc_ml.evaluation import agreement
from kicc_ml.evaluation.hospital_effects import compute_area_effects, compute_difference_effects
from kicc_ml.evaluation.intervals import Interval, make_estimate, transform_from_scale
from kicc_ml.evaluation.three_answers import make_answers
from tests.evaluation import simulate_answers, simulate_calibration
from tests.evaluation.simulate_answers import COLUMNS
from tests.evaluation.simulated_hospitals import Design, simulate

HERE = Path(__file__).parent
DATA_SETS = 1000
CELL = ["hospitals", "shape", "events", "sd", "figure", "question"]
MEANT = ["these_hospitals", "hospitals_like_these"]

#: A cell claims an interval where so many of its data sets have one.
CLAIMED = 0.9
WIDEST = 1.3

#: Of 3,000 data sets, two standard errors of a coverage of 95 %, by which the extremes of so many designs may miss.
CHANCE = 2 * np.sqrt(0.95 * 0.05 / 3000)


def claimed(name: str) -> pd.DataFrame:
    table = pd.read_csv(HERE / f"coverage_of_{name}.csv")
    return table[table["given"] >= CLAIMED]


def test_the_tables_hold_every_design() -> None:
    for name, module, figures in (("answers", simulate_answers, 2), ("calibration", simulate_calibration, 5)):
        table = pd.read_csv(HERE / f"coverage_of_{name}.csv")
        assert list(table.columns) == COLUMNS
        assert len(table) == len(module.DESIGNS) * figures * 3
        assert not table.duplicated(CELL).any()


def test_the_tables_say_what_the_readme_claims_of_them() -> None:
    answers, calibration = (told[told["question"].isin(MEANT)] for told in map(claimed, ("answers", "calibration")))
    these = answers[answers["question"] == "these_hospitals"]
    assert len(these) == 2 * len(simulate_answers.DESIGNS), "every design has an interval for these hospitals"
    assert these["coverage"].between(0.93, 0.97).all()
    assert answers["coverage"].between(0.93 - CHANCE, 0.97 + CHANCE).all()
    assert answers["of_oracle"].max() < WIDEST + 0.01
    assert not set(answers.loc[answers["question"] == "hospitals_like_these", "hospitals"]) & {1, 2}
    assert calibration["coverage"].min() > 0.915
    assert (~calibration["coverage"].between(0.93, 0.97)).sum() == 17
    assert calibration.loc[calibration["figure"] == "calibration_slope", "coverage"].between(0.925, 0.98).all()
    assert calibration["of_oracle"].max() < WIDEST


@pytest.mark.parametrize(
    "design", [Design(20, "half", 50, 0.08), Design(5, "unequal", 300, 0.0), Design(3, "half", 20, 0.0)]
)
def test_what_is_simulated_is_what_the_package_computes(design: Design) -> None:
    """Of some data sets, one by one; the simulation works them out all at once."""
    for sample, scale, effects_of in zip(
        simulate(design, 40, seed=5),
        ("logit", "identity"),
        (compute_area_effects, compute_difference_effects),
        strict=True,
    ):
        found, _ = simulate_answers.intervals(sample, scale)  # type: ignore[arg-type]
        for row, (_, pairs) in enumerate(sample.pairs()):
            these = make_estimate(pairs.area, pairs.spread, scale, pairs.degrees)  # type: ignore[arg-type]
            figure = make_answers(these, effects_of(pairs)).figure("these_hospitals")
            for question, (value_r, half_r) in found.items():
                bounds = transform_from_scale(value_r[row] + half_r[row] * np.array([-1, 1]), scale)  # type: ignore[arg-type]
                told = np.array([figure[question]["low"], figure[question]["high"]], float)
                np.testing.assert_allclose(bounds, told, atol=1e-7, err_msg=f"{question} of data set {row}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "design",
    [
        Design(2, "half", 50, 0.055),
        Design(3, "unequal", 300, 0.08),
        Design(5, "half", 100, 0.055),
        Design(20, "half", 20, 0.08),
        Design(20, "half", 1000, 0.03),
        Design(20, "equal", 100, 0.0),
    ],
)
def test_drawn_anew_intervals_hold_the_truth_as_often_as_the_table_says(design: Design) -> None:
    found = simulate_answers.table([design], DATA_SETS, seed=1000)
    told = pd.read_csv(HERE / "coverage_of_answers.csv").merge(found, on=CELL, suffixes=("", "_anew"))
    told = told[told["question"].isin(MEANT) & (told["given"] > 0)]
    assert len(told)
    error = np.sqrt(0.05 * 0.95 * (1 / DATA_SETS + 1 / 3000))
    assert (abs(told["coverage"] - told["coverage_anew"]) < 4 * error).all(), told
    assert told["coverage_anew"].between(0.92, 0.98).all(), told
    assert (told["of_oracle_anew"] < WIDEST + 0.05).all(), told


@pytest.mark.slow
def test_drawn_anew_calibration_holds_the_truth_as_often_as_the_table_says() -> None:
    found = simulate_calibration.judged(Design(10, "half", 100, 0.055), 300, seed=1000)
    meant = found[found["question"].isin(MEANT)]
    assert meant["coverage"].between(0.9, 0.99).all(), found


def agreement_judged(seed: int) -> Iterator[tuple[str, bool | None]]:
    """100 subjects of SD 10, two raters: an offset of 1 and errors of SD 3 and 4."""
    generator = np.random.default_rng(seed)
    subject_n = generator.normal(50, 10, 100)
    offset = generator.normal(0, 2, 2)  # ICC(2,1): raters are a sample too
    both_n2 = np.stack([subject_n + offset[i] + generator.normal(0, 3.5, 100) for i in (0, 1)], axis=1)
    limits = agreement.compute_bland_altman(both_n2[:, 0], both_n2[:, 1])
    assert limits is not None
    difference, spread = offset[0] - offset[1], np.sqrt(2) * 3.5
    for name, interval, target in (
        ("bias", limits.bias_interval, difference),
        ("lower limit", limits.lower_interval, difference - 1.959964 * spread),
        ("upper limit", limits.upper_interval, difference + 1.959964 * spread),
        ("ICC(2,1)", agreement.compute_icc_interval(both_n2), 100 / (100 + 4 + 3.5**2)),
        ("Pearson r", agreement.compute_pearson(both_n2[:, 0], both_n2[:, 1])[1], 100 / (100 + 3.5**2)),
    ):
        yield name, _has(interval, target)


def _has(interval: Interval, target: float) -> bool | None:
    return None if interval.low is None or interval.high is None else interval.low <= target <= interval.high


@pytest.mark.slow
def test_intervals_of_agreement_cover_between_92_and_98_in_a_hundred() -> None:
    rows = [row for seed in range(DATA_SETS) for row in agreement_judged(seed)]
    found = pd.DataFrame(rows, columns=["estimand", "covered"]).groupby("estimand", sort=False)["covered"].mean()
    print("\n" + found.round(3).to_string())
    assert found.astype(float).between(0.92, 0.98).all(), found


@pytest.mark.slow
def test_slopes_of_twenty_hospitals_that_differ_hold_the_truth() -> None:
    """The design in which hospitals' own slopes held it in 88.8 %; 200 data sets, three standard errors below 95 %."""
    found = simulate_calibration.judged(Design(20, "half", 300, 0.055), 200, seed=5)
    slope = found[(found["figure"] == "calibration_slope") & (found["question"] == "hospitals_like_these")].iloc[0]
    assert slope["coverage"] >= 0.905
