"""How often the three intervals of an AUC hold the truth, and how wide they are beside those of an oracle.

``nice python -m tests.evaluation.simulate_answers 3000 > tests/evaluation/coverage_of_answers.csv`` draws 3,000 data
sets of every design and writes a row per design, figure and question; it takes about 20 minutes of one core. The oracle
has an interval about the same estimate from the true variances within and between hospitals, with the quantile of the
same t (of the normal distribution for ``these_hospitals``), and every hospital with both classes takes part in it.
"""

import itertools
import sys
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from kicc_ml.evaluation.discrimination import SitePairs
from kicc_ml.evaluation.hospital_effects import area_effects, difference_effects
from kicc_ml.evaluation.intervals import Scale, critical, estimate, from_scale, slope, to_scale
from kicc_ml.evaluation.three_answers import Answers, answer
from tests.evaluation.simulated_hospitals import (
    MEAN_AREA,
    OTHER_AREA,
    PREVALENCE,
    SHAPES,
    Design,
    Sample,
    simulate,
    true_variance,
)

HOSPITALS = (2, 3, 5, 10, 20)
SDS = (0.0, 0.03, 0.055, 0.08)
DESIGNS = [
    Design(*cell) for cell in itertools.product(HOSPITALS, SHAPES, PREVALENCE, SDS) if cell[:2] != (2, "unequal")
]
COLUMNS = ["hospitals", "shape", "events", "sd", "figure", "question", "given", "coverage", "width", "of_oracle"]

#: Hospitals from which the truth of a difference and of its spread is taken.
MANY = 200_000


def judged(design: Design, data_sets: int, seed: int) -> Iterator[list[object]]:
    """A row of ``COLUMNS`` for each figure and question."""
    single, difference = simulate(design, data_sets, seed)
    generator = np.random.default_rng([seed, 1])
    new_r = expit(logit(MEAN_AREA) + generator.normal(0, design.tau, data_sets))
    within = true_variance(single.truth_rs, single.events_rs, single.others_rs)
    truth = MEAN_AREA, design.tau**2, new_r
    for question, row in _figure(single, within, "logit", truth):
        yield [design.hospitals, design.shape, design.events, design.sd, "AUC", question, *row]
    many = differences(design, np.random.default_rng([seed, 2]), MANY)
    truth = many.mean(), many.var(), many[:data_sets]
    for question, row in _figure(difference, _within_of_difference(difference), "identity", truth):
        yield [design.hospitals, design.shape, design.events, design.sd, "difference", question, *row]


def differences(design: Design, generator: np.random.Generator, hospitals: int) -> np.ndarray:
    """True differences of the two models at many hospitals."""
    own_s2 = generator.normal(0, design.tau, (hospitals, 2))
    other_s = 0.5 * own_s2[:, 0] + np.sqrt(0.75) * own_s2[:, 1]
    return expit(logit(MEAN_AREA) + own_s2[:, 0]) - expit(logit(OTHER_AREA) + other_s)


def _figure(
    sample: Sample, within_rs: np.ndarray, scale: Scale, truth: tuple[float, float, np.ndarray]
) -> Iterator[tuple[str, list[float]]]:
    found = [
        _one(pairs, sample.truth_rs[row, both_s], within_rs[row, both_s], scale, (truth[0], truth[1], truth[2][row]))
        for row, (both_s, pairs) in enumerate(sample.pairs())
        if both_s.any()
    ]
    for question in ("these_hospitals", "hospitals_like_these", "new_hospital"):
        rows = np.array([one[question] for one in found if question in one])
        given = len(rows) / len(within_rs)
        covered, width, oracle = rows.mean(axis=0) if len(rows) else (np.nan,) * 3
        yield question, [given, covered, width, width / oracle]


def _one(
    pairs: SitePairs,
    truth_k: np.ndarray,
    within_k: np.ndarray,
    scale: Scale,
    truth: tuple[float, float, float],
) -> dict[str, tuple[float, float, float]]:
    """Of each question with an interval: whether it holds the truth, its width, the width of the oracle's."""
    mean, between, new = truth
    share_k = pairs.pairs_s / pairs.pairs_s.sum()
    these = estimate(pairs.area, pairs.spread, scale, pairs.degrees)
    effects = area_effects(pairs) if scale == "logit" else difference_effects(pairs)
    answers = answer(these, effects)
    at_these = float(share_k @ truth_k)
    effect_within_k = within_k * slope(truth_k, scale) ** 2
    error_squared = 1 / (1 / (effect_within_k + between)).sum()
    t = critical(answers.pooled.k - 1) if answers.pooled.k > 1 else np.nan
    oracles = {
        "these_hospitals": critical(np.inf) * np.sqrt(share_k**2 @ within_k) * slope(at_these, scale),
        "hospitals_like_these": t * np.sqrt(error_squared),
        "new_hospital": t * np.sqrt(error_squared + between),
    }
    targets = {"these_hospitals": at_these, "hospitals_like_these": mean, "new_hospital": new}
    return {
        question: (float(low <= targets[question] <= high), high - low, _width(value, oracles[question], scale))
        for question, value, low, high in _intervals(answers)
    }


def _intervals(answers: Answers) -> Iterator[tuple[str, float, float, float]]:
    figure = answers.figure("these_hospitals")
    for question in ("these_hospitals", "hospitals_like_these", "new_hospital"):
        if figure[question]["low"] is not None:
            yield question, *(figure[question][name] for name in ("value", "low", "high"))


def _width(value: float, half: float, scale: Scale) -> float:
    return float(np.diff(from_scale(to_scale(np.array(value), scale) + np.array([-half, half]), scale))[0])


def _within_of_difference(sample: Sample) -> np.ndarray:
    """From the variance of placement values over all data sets, which is known as good as exactly."""
    parts = []
    for variance_rs, count_rs in (
        (sample.event_variance_rs, sample.events_rs),
        (sample.other_variance_rs, sample.others_rs),
    ):
        known_rs = np.isfinite(variance_rs)
        pooled = np.average(variance_rs[known_rs], weights=count_rs[known_rs] - 1)
        parts.append(pooled / np.maximum(count_rs, 1))
    return parts[0] + parts[1]


def table(designs: list[Design], data_sets: int, seed: int = 0) -> pd.DataFrame:
    rows = [row for place, design in enumerate(designs) for row in judged(design, data_sets, seed + place)]
    return pd.DataFrame(rows, columns=COLUMNS).round(4)


if __name__ == "__main__":
    for number, one in enumerate(DESIGNS):
        rows = table([one], int(sys.argv[1]), number)
        rows.to_csv(sys.stdout, index=False, header=not number)
        sys.stdout.flush()
