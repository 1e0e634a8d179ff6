"""How often "better than chance at hospitals like these" is said, by the interval alone and by the rule for claims.

``nice python -m tests.evaluation.simulate_claims 2000`` prints a row of a table per design: AUC, events, hospitals,
SD between hospitals, the two shares in percent. It takes some minutes of one core. At a mean AUC of 0.5 each claim is
false.
"""

import itertools
import sys

from kicc_ml.evaluation.hospital_effects import compute_area_effects
from kicc_ml.evaluation.intervals import make_estimate
from kicc_ml.evaluation.supported import find_side, find_supported_side
from kicc_ml.evaluation.three_answers import make_answers
from tests.evaluation import simulated_hospitals
from tests.evaluation.simulated_hospitals import Design

LIKE = "hospitals_like_these"
COUNTS = ((20, 3), (20, 5), (50, 5), (50, 10), (300, 10))


def count_claims(design: Design, data_sets: int) -> tuple[float, float]:
    """Share of the data sets with an interval, in percent, that claim it: by the interval alone, and by the rule."""
    single, _ = simulated_hospitals.simulate(design, data_sets, seed=5)
    alone, by_rule, given = 0, 0, 0
    for both_s, pairs in single.pairs():
        if not both_s.any():
            continue
        these = make_estimate(pairs.area, pairs.spread, "logit", pairs.degrees)
        answers = make_answers(these, compute_area_effects(pairs)).figure(LIKE, 0.0, 1.0)
        given += answers[LIKE]["low"] is not None
        alone += find_side(answers[LIKE], 0.5) == 1
        by_rule += find_supported_side(answers, LIKE, 0.5, "logit") == 1
    return 100 * alone / given, 100 * by_rule / given


if __name__ == "__main__":
    for mean, (events, hospitals), sd in itertools.product((0.5, 0.8), COUNTS, (0.0, 0.08)):
        simulated_hospitals.MEAN_AREA = mean
        alone, by_rule = count_claims(Design(hospitals, "equal", events, sd), int(sys.argv[1]))
        print(
            f"AUC {mean}, {events} events, {hospitals} hospitals, SD {sd}: {alone:.1f} %, by the rule {by_rule:.1f} %"
        )
