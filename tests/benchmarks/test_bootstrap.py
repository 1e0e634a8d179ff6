"""2,000 bootstrap replicates of figures of images, persons drawn, against a loop over numpy and scipy."""

import statistics
import time
from collections.abc import Callable

import numpy as np
from scipy import stats

from kicc_ml.evaluation.bootstrap import resample
from kicc_ml.evaluation.score_figures import compute_weighted_pearson

IMAGES, PERSONS, REPLICATES = 522, 290, 2000
#: The loop is timed over so many of its replicates and scaled up.
LOOPED = 100
RUNS = 5
#: What is asked: at most a twentieth of the time.
FASTER = 20


def scored_images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A radiologist's score, a predicted one, and the person of each image."""
    generator = np.random.default_rng(0)
    reference = generator.normal(4, 2, IMAGES)
    person = generator.permutation(np.arange(IMAGES) % PERSONS).astype(str)
    return reference, reference + generator.normal(0, 1.5, IMAGES), person


def replicates(reference: np.ndarray, predicted: np.ndarray, person: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    drawn = resample(person, seed, REPLICATES)
    count_r = drawn.sum_by_replicate(np.ones(IMAGES))
    error, squared = predicted - reference, (predicted - reference) ** 2
    return {
        "pearson": compute_weighted_pearson(predicted, reference, drawn),
        "mae": drawn.sum_by_replicate(abs(error)) / count_r,
        "bias": drawn.sum_by_replicate(error) / count_r,
        "rmse": np.sqrt(drawn.sum_by_replicate(squared) / count_r),
    }


def looped(
    reference: np.ndarray, predicted: np.ndarray, person: np.ndarray, generator: np.random.Generator
) -> dict[str, float]:
    """One replicate as one would write it: draw persons, put their images together, call the library."""
    drawn = generator.choice(np.unique(person), PERSONS)
    place = np.concatenate([np.flatnonzero(person == one) for one in drawn])
    error = predicted[place] - reference[place]
    return {
        "pearson": float(stats.pearsonr(predicted[place], reference[place]).statistic),
        "mae": float(abs(error).mean()),
        "bias": float(error.mean()),
        "rmse": float(np.sqrt((error**2).mean())),
    }


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def test_2000_replicates_take_a_twentieth_of_a_loop() -> None:
    images = scored_images()
    generator = np.random.default_rng(0)
    ours, theirs = [], []
    for seed in range(RUNS):
        ours.append(seconds(lambda: replicates(*images, seed)))  # noqa: B023
        theirs.append(seconds(lambda: [looped(*images, generator) for _ in range(LOOPED)]))
    mine, loop = statistics.median(ours), statistics.median(theirs) * REPLICATES / LOOPED
    print(f"\n{REPLICATES} replicates of four figures: {mine:.2f} s")
    print(f"loop: {loop:.1f} s, {loop / mine:.0f}x")
    assert loop / mine >= FASTER


def test_both_ways_draw_from_the_same_distribution() -> None:
    images = scored_images()
    found, generator = replicates(*images, seed=1), np.random.default_rng(1)
    loop = [looped(*images, generator) for _ in range(400)]
    for metric, replicate_r in found.items():
        theirs = np.array([one[metric] for one in loop])
        spread = replicate_r[1:].std()
        # 400 draws: the mean is known to 0.05 SD, the SD to 4 %; four times that
        assert abs(theirs.mean() - replicate_r[1:].mean()) < 0.2 * spread, metric
        assert 0.85 < theirs.std() / spread < 1.18, metric
