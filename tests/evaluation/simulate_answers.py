"""How often the three intervals of an AUC hold the truth, and how wide they are beside those of an oracle.

``nice python -m tests.evaluation.simulate_answers 3000 > tests/evaluation/coverage_of_answers.csv`` draws 3,000 data
sets of every design and writes a row per design, figure and question; it takes about five minutes of one core. The
oracle has an interval about the same estimate from the true variances within and between hospitals, with the quantile
of the same t (of the normal distribution for ``these_hospitals``), and every hospital with both classes takes part in
it. Intervals are worked out for all data sets of a design at once; ``test_coverage.py`` compares them with those of the
package.
"""

import itertools
import sys
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import special
from scipy.special import expit, logit

from kicc_ml.evaluation.intervals import (
    MIN_OWN_VARIANCE_CASES,
    Scale,
    Z,
    compute_scale_slope,
    transform_from_scale,
    transform_to_scale,
)
from kicc_ml.evaluation.meta_analysis import (
    CONVERGED,
    MAX_Q_P,
    MAX_SCORING_STEPS,
    MIN_HOSPITALS,
    MIN_HOSPITALS_FOR_PREDICTION,
)
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

#: Of each question the value and the half width on the scale, ``[r]``; NaN: no interval.
Halves = dict[str, tuple[np.ndarray, np.ndarray]]


def judged(design: Design, data_sets: int, seed: int) -> Iterator[list[object]]:
    """A row of ``COLUMNS`` for each figure and question."""
    single, difference = simulate(design, data_sets, seed)
    generator = np.random.default_rng([seed, 1])
    new_r = expit(logit(MEAN_AREA) + generator.normal(0, design.tau, data_sets))
    within_rs = true_variance(single.truth_rs, single.events_rs, single.others_rs)
    for row in _judge(single, within_rs, "logit", (MEAN_AREA, design.tau**2, new_r)):
        yield [design.hospitals, design.shape, design.events, design.sd, "AUC", *row]
    many = differences(design, np.random.default_rng([seed, 2]), MANY)
    truth = many.mean(), many.var(), many[:data_sets]
    for row in _judge(difference, _within_of_difference(difference), "identity", truth):
        yield [design.hospitals, design.shape, design.events, design.sd, "difference", *row]


def differences(design: Design, generator: np.random.Generator, hospitals: int) -> np.ndarray:
    """True differences of the two models at many hospitals."""
    own_s2 = generator.normal(0, design.tau, (hospitals, 2))
    other_s = 0.5 * own_s2[:, 0] + np.sqrt(0.75) * own_s2[:, 1]
    return expit(logit(MEAN_AREA) + own_s2[:, 0]) - expit(logit(OTHER_AREA) + other_s)


def intervals(sample: Sample, scale: Scale) -> tuple[Halves, np.ndarray]:
    """What the package makes of each data set, and the critical value of its t."""
    both_rs = np.isfinite(sample.area_rs)
    variance_rs, spread_r, degrees_r, few_rs = _variances(sample, both_rs)
    share_rs = _shares(sample, both_rs)
    area_r = (share_rs * np.where(both_rs, sample.area_rs, 0)).sum(axis=1)
    with np.errstate(all="ignore"):
        these_r = transform_to_scale(area_r, scale, least=0.0)
        critical_r = np.where(np.isfinite(degrees_r), special.stdtrit(degrees_r, 0.975), Z)
        half_r = critical_r * np.sqrt(spread_r) * compute_scale_slope(area_r, scale)
        half_r[~(spread_r > 0) | ~np.isfinite(half_r)] = np.nan
        effect_rs, effect_variance_rs, known_rs = _effects(sample, variance_rs, few_rs, scale)
    found, t_r = _pooled(effect_rs, effect_variance_rs, known_rs)
    return {"these_hospitals": (these_r, half_r), **found}, t_r


def _shares(sample: Sample, both_rs: np.ndarray) -> np.ndarray:
    pairs_rs = np.where(both_rs, sample.events_rs * sample.others_rs, 0)
    return pairs_rs / np.maximum(pairs_rs.sum(axis=1, keepdims=True), 1)


def _variances(sample: Sample, both_rs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Variance of each area, that of the area within hospitals, its degrees, and who borrows."""
    counts = (sample.events_rs, sample.others_rs)
    variances = (sample.event_variance_rs, sample.other_variance_rs)
    share_rs = _shares(sample, both_rs)
    with np.errstate(all="ignore"):
        own_rs = variances[0] / counts[0] + variances[1] / counts[1]
        few_rs = both_rs & ((counts[0] < MIN_OWN_VARIANCE_CASES) | (counts[1] < MIN_OWN_VARIANCE_CASES) | ~(own_rs > 0))
        variance_rs, squared_r = 0.0, 0.0
        for spread_rs, count_rs in zip(variances, counts, strict=True):
            known_rs = both_rs & (count_rs > 1)
            degrees_r = np.where(known_rs, count_rs - 1, 0).sum(axis=1)
            pooled_r = np.where(known_rs, spread_rs * (count_rs - 1), 0).sum(axis=1) / degrees_r
            part_rs = np.where(few_rs, pooled_r[:, None], spread_rs) / count_rs
            variance_rs = variance_rs + part_rs
            weighed_rs = np.where(both_rs, share_rs**2 * part_rs, 0)
            squared_r = squared_r + (np.where(few_rs, 0, weighed_rs) ** 2 / np.maximum(count_rs - 1, 1)).sum(axis=1)
            squared_r = squared_r + np.where(few_rs, weighed_rs, 0).sum(axis=1) ** 2 / degrees_r
        spread_r = np.where(both_rs, share_rs**2 * variance_rs, 0).sum(axis=1)
        degrees_r = np.where(few_rs.any(axis=1), np.maximum(1, spread_r**2 / squared_r), np.inf)
    return np.where(both_rs, variance_rs, np.nan), spread_r, degrees_r, few_rs


def _effects(
    sample: Sample, variance_rs: np.ndarray, few_rs: np.ndarray, scale: Scale
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    known_rs = variance_rs > 0
    if scale == "identity":
        return sample.area_rs, variance_rs, known_rs
    weight_rs = np.where(known_rs, 1 / variance_rs, 0)
    mean_r1 = (weight_rs * np.where(known_rs, sample.area_rs, 0)).sum(axis=1, keepdims=True)
    about_rs = np.where(few_rs, mean_r1 / weight_rs.sum(axis=1, keepdims=True), sample.area_rs)
    steepness_rs = compute_scale_slope(about_rs, scale)
    effect_rs = logit(about_rs) + (sample.area_rs - about_rs) * steepness_rs
    effect_variance_rs = variance_rs * steepness_rs**2
    return effect_rs, effect_variance_rs, known_rs & np.isfinite(effect_rs) & np.isfinite(effect_variance_rs)


def _pooled(effect_rs: np.ndarray, variance_rs: np.ndarray, known_rs: np.ndarray) -> tuple[Halves, np.ndarray]:
    k_r, one_rs = known_rs.sum(axis=1), known_rs.astype(float)
    effect_rs, variance_rs = np.where(known_rs, effect_rs, 0), np.where(known_rs, variance_rs, 1)
    given_r = k_r >= MIN_HOSPITALS
    with np.errstate(all="ignore"):
        fixed_rs = one_rs / variance_rs
        _, q_r = _mean_and_q(effect_rs, fixed_rs)
        tau_squared_r = _reml(effect_rs, variance_rs, one_rs, k_r)
        weight_rs = _limited(one_rs / (variance_rs + tau_squared_r[:, None]), k_r)
        mean_r, spread_r = _mean_and_q(effect_rs, weight_rs)
        error_squared_r = spread_r / ((k_r - 1) * weight_rs.sum(axis=1))
        t_r = np.where(k_r > 1, special.stdtrit(np.maximum(k_r - 1, 1), 0.975), np.nan)
        half_r = np.where(given_r & (error_squared_r > 0), t_r * np.sqrt(error_squared_r), np.nan)
        differ_r = special.chdtrc(np.maximum(k_r - 1, 1), q_r) < MAX_Q_P
        reach_r = np.where(differ_r, t_r * np.sqrt(error_squared_r + tau_squared_r), np.nan)
    reach_r[np.isnan(half_r) | (k_r < MIN_HOSPITALS_FOR_PREDICTION)] = np.nan
    return {"hospitals_like_these": (mean_r, half_r), "new_hospital": (mean_r, reach_r)}, t_r


def _mean_and_q(effect_rs: np.ndarray, weight_rs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean_r = (weight_rs * effect_rs).sum(axis=1) / weight_rs.sum(axis=1)
    return mean_r, (weight_rs * (effect_rs - mean_r[:, None]) ** 2).sum(axis=1)


def _reml(effect_rs: np.ndarray, variance_rs: np.ndarray, one_rs: np.ndarray, k_r: np.ndarray) -> np.ndarray:
    """Fisher scoring from DerSimonian and Laird's estimate, of the data sets that still move."""
    fixed_rs = one_rs / variance_rs
    whole_r = fixed_rs.sum(axis=1)
    excess_r = _mean_and_q(effect_rs, fixed_rs)[1] - (k_r - 1)
    tau_squared_r = np.maximum(0, excess_r / (whole_r - (fixed_rs**2).sum(axis=1) / whole_r))
    moving_m = np.flatnonzero(k_r >= MIN_HOSPITALS)
    for _ in range(MAX_SCORING_STEPS):
        weight_ms = one_rs[moving_m] / (variance_rs[moving_m] + tau_squared_r[moving_m, None])
        squared_ms, whole_m = weight_ms**2, weight_ms.sum(axis=1)
        mean_m, _ = _mean_and_q(effect_rs[moving_m], weight_ms)
        share_m = squared_ms.sum(axis=1) / whole_m
        score_m = (squared_ms * (effect_rs[moving_m] - mean_m[:, None]) ** 2).sum(axis=1) - (whole_m - share_m)
        information_m = squared_ms.sum(axis=1) - 2 * (squared_ms * weight_ms).sum(axis=1) / whole_m + share_m**2
        moved_m = np.maximum(0, tau_squared_r[moving_m] + score_m / information_m)
        still_m = abs(moved_m - tau_squared_r[moving_m]) >= CONVERGED
        tau_squared_r[moving_m] = moved_m
        moving_m = moving_m[still_m]
        if not moving_m.size:
            break
    return tau_squared_r


def _limited(weight_rs: np.ndarray, k_r: np.ndarray) -> np.ndarray:
    share_r = 1 / np.sqrt(np.maximum(k_r, 1))
    descending_rs = -np.sort(-weight_rs, axis=1)
    limit_r, open_r = np.full(len(k_r), np.inf), k_r >= MIN_HOSPITALS
    for heavy in range(weight_rs.shape[1]):
        now_r = share_r * descending_rs[:, heavy:].sum(axis=1) / (1 - heavy * share_r)
        fits_r = open_r & (descending_rs[:, heavy] <= now_r)
        limit_r[fits_r] = now_r[fits_r]
        open_r &= ~fits_r
        if not open_r.any():
            break
    return np.minimum(weight_rs, limit_r[:, None])


def _judge(
    sample: Sample, within_rs: np.ndarray, scale: Scale, truth: tuple[float, float, np.ndarray]
) -> Iterator[list[object]]:
    """Question, share given, coverage, width, and that as a ratio to the oracle's."""
    mean, between, new_r = truth
    found, t_r = intervals(sample, scale)
    both_rs = np.isfinite(sample.area_rs)
    share_rs = _shares(sample, both_rs)
    at_these_r = (share_rs * np.where(both_rs, sample.truth_rs, 0)).sum(axis=1)
    with np.errstate(all="ignore"):
        effect_within_rs = within_rs * compute_scale_slope(sample.truth_rs, scale) ** 2
        error_squared_r = 1 / np.where(both_rs, 1 / (effect_within_rs + between), 0).sum(axis=1)
        spread_r = np.where(both_rs, share_rs**2 * within_rs, 0).sum(axis=1)
        oracles = (
            Z * np.sqrt(spread_r) * compute_scale_slope(at_these_r, scale),
            t_r * np.sqrt(error_squared_r),
            t_r * np.sqrt(error_squared_r + between),
        )
    targets = (at_these_r, np.full(len(new_r), mean), new_r)
    for (question, (value_r, half_r)), oracle_r, target_r in zip(found.items(), oracles, targets, strict=True):
        known_r = np.isfinite(half_r)
        if not known_r.any():
            yield [question, 0.0, np.nan, np.nan, np.nan]
            continue
        low_r, high_r = (
            transform_from_scale(value_r - half_r, scale)[known_r],
            transform_from_scale(value_r + half_r, scale)[known_r],
        )
        covered = ((low_r <= target_r[known_r]) & (target_r[known_r] <= high_r)).mean()
        oracle = (transform_from_scale(value_r + oracle_r, scale) - transform_from_scale(value_r - oracle_r, scale))[
            known_r
        ].mean()
        width = (high_r - low_r).mean()
        yield [question, known_r.mean(), covered, width, width / oracle]


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
        table([one], int(sys.argv[1]), number).to_csv(sys.stdout, index=False, header=not number)
        sys.stdout.flush()
