"""The same as :mod:`tests.evaluation.simulate_answers` for Brier score, calibration and a mean such as Dice.

``nice python -m tests.evaluation.simulate_calibration 500 > tests/evaluation/coverage_of_calibration.csv`` takes about
20 minutes of one core. Here the oracle takes the variances that the data sets themselves show: between hospitals that
of the true figures, within hospitals the mean of the estimated variances, and for ``these_hospitals`` the spread of the
estimates about their truth.
"""

import itertools
import sys

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import norm

from kicc_ml.evaluation.hospital_effects import Effects, compute_mean_effects
from kicc_ml.evaluation.intervals import (
    Estimate,
    compute_stratified_estimate,
    find_critical_value,
    transform_from_scale,
    transform_to_scale,
)
from kicc_ml.evaluation.outcome import ALL_CASES_METRICS, estimate_overall
from kicc_ml.evaluation.rows import BinaryOutcomes
from kicc_ml.evaluation.three_answers import make_answers
from tests.evaluation.simulated_hospitals import MEAN_AREA, Design

DESIGNS = [Design(*cell) for cell in itertools.product((3, 10, 20), ("equal", "half"), (20, 100, 300), (0.0, 0.055))]
METRICS = ("brier", "observed_expected", "calibration_slope", "calibration_intercept")
COLUMNS = ["hospitals", "shape", "events", "sd", "figure", "question", "given", "coverage", "width", "of_oracle"]

#: Of the logit of the prevalence between hospitals, where they differ at all.
PREVALENCE_SD = 0.3

#: Of a case's Dice within a hospital, and of a hospital's mean where they differ.
DICE_SD, DICE_SITE_SD, DICE_MEAN = 0.15, 0.06, 0.7

#: The score of a patient, on a grid over which the truth is integrated.
GRID = np.linspace(-5, 8, 201)
DISTANCE = np.sqrt(2) * norm.ppf(MEAN_AREA)

#: Hospitals from which the truth about hospitals like these is taken.
MANY = 1000


def risk_of(score: np.ndarray, design: Design) -> np.ndarray:
    """What the model says; it is right for the average hospital."""
    return expit(logit(design.prevalence) + DISTANCE * score - DISTANCE**2 / 2)


def draw(design: Design, generator: np.random.Generator) -> tuple[BinaryOutcomes, np.ndarray]:
    """A data set, and separation and prevalence of its hospitals ``[s, 2]``."""
    true_s2 = hospitals(design, generator, design.hospitals)
    place_n = np.repeat(np.arange(design.hospitals), design.size_s)
    label_n = (generator.random(place_n.size) < true_s2[place_n, 1]).astype(float)
    score_n = generator.normal(size=place_n.size) + label_n * true_s2[place_n, 0]
    return BinaryOutcomes(label_n, risk_of(score_n, design), np.char.zfill(place_n.astype(str), 2)), true_s2


def hospitals(design: Design, generator: np.random.Generator, count: int) -> np.ndarray:
    differ = PREVALENCE_SD if design.sd else 0.0
    shift_s2 = generator.normal(0, [design.tau, differ], (count, 2))
    distance_s = np.sqrt(2) * norm.ppf(expit(logit(MEAN_AREA) + shift_s2[:, 0]))
    return np.stack([distance_s, expit(logit(design.prevalence) + shift_s2[:, 1])], axis=1)


def truth(design: Design, true_s2: np.ndarray, share_s: np.ndarray) -> dict[str, float]:
    """Figures of endless patients of these hospitals, mixed by ``share_s``: weighted cases on the grid."""
    event_sg = true_s2[:, 1:] * norm.pdf(GRID - true_s2[:, :1])
    other_sg = (1 - true_s2[:, 1:]) * norm.pdf(GRID)
    weight_g = np.concatenate([share_s @ event_sg, share_s @ other_sg])
    risk_g, label_g = np.tile(risk_of(GRID, design), 2), np.repeat([1.0, 0.0], GRID.size)
    weight_g /= weight_g.sum()
    return {
        "brier": float(logit(weight_g @ (risk_g - label_g) ** 2)),
        "observed_expected": float(np.log(weight_g @ label_g / (weight_g @ risk_g))),
        "calibration_slope": _weighted(risk_g, label_g, weight_g, with_slope=True),
        "calibration_intercept": _weighted(risk_g, label_g, weight_g, with_slope=False),
    }


def _weighted(risk_g: np.ndarray, label_g: np.ndarray, weight_g: np.ndarray, with_slope: bool) -> float:
    """Last coefficient of a weighted logistic regression, by Newton."""
    logit_g = logit(risk_g)
    design_gk = np.stack([np.ones_like(logit_g), logit_g], axis=1) if with_slope else np.ones((logit_g.size, 1))
    offset_g = 0 if with_slope else logit_g
    coefficient_k = np.zeros(design_gk.shape[1])
    for _ in range(30):
        before_k = coefficient_k
        mean_g = expit(design_gk @ coefficient_k + offset_g)
        information_kk = design_gk.T @ (design_gk * (weight_g * mean_g * (1 - mean_g))[:, None])
        coefficient_k = coefficient_k + np.linalg.solve(information_kk, design_gk.T @ (weight_g * (label_g - mean_g)))
        if abs(coefficient_k - before_k).max() < 1e-9:
            break
    return float(coefficient_k[-1])


def judged(design: Design, data_sets: int, seed: int) -> pd.DataFrame:
    """A row of ``COLUMNS`` for each figure and question."""
    generator = np.random.default_rng(seed)
    found: dict[str, list[tuple]] = {}
    many = hospitals(design, generator, MANY if design.sd else 1)
    each = pd.DataFrame([truth(design, many[place : place + 1], np.ones(1)) for place in range(len(many))])
    for _ in range(data_sets):
        rows, true_s2 = draw(design, generator)
        at_these = truth(design, true_s2, design.size_s / design.size_s.sum())
        for name in METRICS:
            metric = ALL_CASES_METRICS[name]
            these = estimate_overall(metric, rows)
            if these is None or rows.one_class_reason or metric.effects is None:
                continue
            new = each[name].iloc[generator.integers(len(each))]
            found.setdefault(name, []).append((these, metric.effects(rows), at_these[name], new))
        found.setdefault("dice", []).append(_dice(design, generator))
    means = each.mean().to_dict() | {"dice": DICE_MEAN}
    spreads = each.var(ddof=0).to_dict() | {"dice": DICE_SITE_SD**2 * bool(design.sd)}
    table = [row for name, of in found.items() for row in _judge(name, of, means[name], spreads[name], data_sets)]
    cell = [design.hospitals, design.shape, design.events, design.sd]
    return pd.DataFrame([[*cell, *row] for row in table], columns=COLUMNS).round(4)


def _dice(design: Design, generator: np.random.Generator) -> tuple[Estimate, Effects, float, float]:
    """As many cases as the design has events, at least one a hospital."""
    count_s = np.maximum(1, np.round(design.size_s * design.prevalence)).astype(int)
    differ = DICE_SITE_SD * bool(design.sd)
    true_s = DICE_MEAN + differ * generator.normal(size=count_s.size)
    site_n = np.repeat(np.char.zfill(np.arange(count_s.size).astype(str), 2), count_s)
    value_n = np.repeat(true_s, count_s) + DICE_SD * generator.normal(size=site_n.size)
    these = compute_stratified_estimate(value_n.mean(), (value_n - value_n.mean()) / value_n.size, site_n)
    new = DICE_MEAN + differ * generator.normal()
    return these, compute_mean_effects(value_n, site_n), float(np.average(true_s, weights=count_s)), new


def _judge(name: str, found: list[tuple], mean: float, between: float, data_sets: int) -> list[list[object]]:
    scale = found[0][1].scale
    apart = np.array([transform_to_scale(np.array(these.figure), scale) - true for these, _, true, _ in found], float)
    error = apart.std()
    within = _mean_variance([effects for _, effects, _, _ in found])
    rows: dict[str, list[tuple]] = {"these_hospitals": [], "hospitals_like_these": [], "new_hospital": []}
    for these, effects, at_these, new in found:
        answers = make_answers(these, effects)
        t = find_critical_value(answers.pooled.k - 1) if answers.pooled.k > 1 else np.nan
        taking_part = [within[site] for site in effects.site_k]
        squared = 1 / sum(1 / (one + between) for one in taking_part) if taking_part else np.nan
        halves = (find_critical_value(np.inf) * error, t * np.sqrt(squared), t * np.sqrt(squared + between))
        for (question, kept), half, target in zip(rows.items(), halves, (at_these, mean, new), strict=True):
            figure = answers.figure("these_hospitals")[question]
            if figure["low"] is not None:
                low, high = transform_to_scale(np.array([figure["low"], figure["high"]]), scale, least=0.0)
                centre = transform_to_scale(np.array(figure["value"]), scale)
                oracle = np.diff(transform_from_scale(centre + np.array([-half, half]), scale))[0]
                kept.append((low <= target <= high, figure["high"] - figure["low"], oracle))
    return [[name, question, len(kept) / data_sets, *_means(kept)] for question, kept in rows.items()]


def _mean_variance(effects: list[Effects]) -> dict[str, float]:
    """Of each hospital, over data sets."""
    sums: dict[str, list[float]] = {}
    for one in effects:
        for site, variance in zip(one.site_k, one.variance_k, strict=True):
            sums.setdefault(site, []).append(variance)
    return {site: float(np.mean(variances)) for site, variances in sums.items()}


def _means(kept: list[tuple]) -> tuple[float, float, float]:
    if not kept:
        return np.nan, np.nan, np.nan
    covered, width, oracle = np.array(kept, float).mean(axis=0)
    return covered, width, width / oracle


if __name__ == "__main__":
    for number, one in enumerate(DESIGNS):
        judged(one, int(sys.argv[1]), number).to_csv(sys.stdout, index=False, header=not number)
        sys.stdout.flush()
