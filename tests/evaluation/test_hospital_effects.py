"""The rule for hospitals with few events: nobody is left out, nothing is added to counts, variances are borrowed."""

import numpy as np
import pytest
from scipy.special import expit, logit
from statsmodels.discrete.conditional_models import ConditionalLogit

from kicc_ml.evaluation.calibration import compute_calibration_slope
from kicc_ml.evaluation.discrimination import compute_site_pairs
from kicc_ml.evaluation.hospital_effects import (
    compute_area_effects,
    compute_intercept_effects,
    compute_mean_effects,
    compute_observed_expected_effects,
    compute_slope_effects,
)
from kicc_ml.evaluation.intervals import MIN_OWN_VARIANCE_CASES
from kicc_ml.evaluation.rows import BinaryOutcomes


def hospitals(events_s: tuple[int, ...], others: int = 40, seed: int = 0) -> BinaryOutcomes:
    """A hospital for each number of events, all with the same separation."""
    generator = np.random.default_rng(seed)
    label = np.concatenate([np.repeat([1.0, 0.0], [events, others]) for events in events_s])
    site = np.repeat([f"h{place}" for place in range(len(events_s))], [events + others for events in events_s])
    return BinaryOutcomes(label, expit(generator.normal(size=label.size) + 1.2 * label - 1), site)


def test_hospitals_with_few_events_take_part_and_are_named() -> None:
    effects = compute_area_effects(
        compute_site_pairs(hospitals((30, 2, MIN_OWN_VARIANCE_CASES, MIN_OWN_VARIANCE_CASES - 1, 1, 25)))
    )
    assert list(effects.site_k) == ["h0", "h1", "h2", "h3", "h4", "h5"]
    assert list(effects.borrowed_k) == [False, True, False, True, True, False]
    assert np.isfinite(effects.variance_k).all()


def test_a_perfect_order_is_no_special_case() -> None:
    """Its logit would be infinite, and its own variance 0, which is all of the weight."""
    rows = hospitals((30, 12, 3, 25))
    perfect = np.where(np.isin(rows.site_n, ["h1", "h2"]), 0.01 + 0.98 * rows.label_n, rows.probability_n)
    pairs = compute_site_pairs(BinaryOutcomes(rows.label_n, perfect, rows.site_n))
    assert list(pairs.area_s[1:3]) == [1.0, 1.0]
    effects = compute_area_effects(pairs)
    assert list(effects.borrowed_k) == [False, True, True, False]
    assert np.isfinite(effects.effect_k).all()
    assert effects.variance_k[1:3].min() > 0.1 * effects.variance_k[[0, 3]].min()


def test_the_effect_of_a_hospital_with_few_events_is_a_line_in_its_area() -> None:
    """So that chance at such hospitals evens out; a logit of each would not, and has no value at 1."""
    pairs = compute_site_pairs(hospitals((40, 3, 3, 3, 40)))
    effects = compute_area_effects(pairs)
    few = effects.borrowed_k
    slope, _ = np.polyfit(pairs.area_s[few], effects.effect_k[few], 1)
    line = np.poly1d(np.polyfit(pairs.area_s[few], effects.effect_k[few], 1))
    np.testing.assert_allclose(effects.effect_k[few], line(pairs.area_s[few]), atol=1e-9)
    assert slope > 0


def test_borrowed_variances_do_not_move_with_the_hospitals_own_figure() -> None:
    events = (40, 3, 3, 40)
    first, other = (compute_area_effects(compute_site_pairs(hospitals(events, seed=seed))) for seed in (1, 2))
    assert first.effect_k[1] != first.effect_k[2]
    assert first.variance_k[1] == pytest.approx(first.variance_k[2])
    assert other.variance_k[1] == pytest.approx(other.variance_k[2])


def test_a_hospital_without_an_event_has_an_observed_over_expected_and_an_intercept() -> None:
    rows = hospitals((20, 0, 15, 12))
    for effects in (compute_observed_expected_effects(rows), compute_intercept_effects(rows)):
        assert list(effects.site_k) == ["h0", "h1", "h2", "h3"]
        assert list(effects.borrowed_k) == [False, True, False, False]
        assert effects.effect_k[1] < effects.effect_k[[0, 2, 3]].min(), "fewer events than expected"


def test_one_step_from_all_hospitals_finds_an_intercept_near_by() -> None:
    """Against the hospital's own maximum likelihood, of which it is the first step."""
    generator = np.random.default_rng(3)
    risk = generator.normal(-1.5, 0.8, 1200)
    site = np.repeat([f"h{place:02d}" for place in range(40)], 30)
    rows = BinaryOutcomes((generator.random(1200) < expit(risk)).astype(float), expit(risk), site)
    found = compute_intercept_effects(rows)
    assert found.borrowed_k.any()
    assert np.average(found.effect_k, weights=1 / found.variance_k) == pytest.approx(0, abs=0.2)


def test_a_mean_of_few_cases_borrows_its_variance_and_a_single_case_has_one() -> None:
    generator = np.random.default_rng(0)
    site = np.repeat(list("abcd"), [40, 30, 3, 1])
    effects = compute_mean_effects(generator.normal(0.7, 0.1, site.size), site)
    assert list(effects.borrowed_k) == [False, False, True, True]
    assert effects.variance_k[3] == pytest.approx(3 * effects.variance_k[2])
    assert effects.variance_k[3] == pytest.approx(0.01, rel=0.4)


def test_shares_are_brought_to_the_logit_scale() -> None:
    generator = np.random.default_rng(0)
    value, site = generator.uniform(0.1, 0.3, 90), np.repeat(list("abc"), 30)
    effects = compute_mean_effects(value, site, "logit")
    assert effects.effect_k[0] == pytest.approx(logit(value[:30].mean()))
    assert compute_mean_effects(np.ones(1), np.array(["a"]), "logit").effect_k.size == 0


def test_hospitals_whose_cases_all_have_one_value_take_part_with_a_borrowed_variance() -> None:
    """Distances come in steps of a voxel: sums of floats leave a spread of 1e-30, which would be all of the weight."""
    value = np.concatenate([np.full(7, 4.425), np.full(11, 4.838), [4.713] * 12 + [10.5], np.full(11, 4.55)])
    site = np.repeat(["a", "b", "c", "d"], [7, 11, 13, 11])
    effects = compute_mean_effects(value, site)
    assert list(effects.borrowed_k) == [True, True, False, True]
    assert effects.variance_k.min() > 0.01 * effects.variance_k.max()


@pytest.mark.parametrize("events", [1, 3, 8, 40])
def test_the_step_of_a_slope_is_that_of_the_exact_conditional_likelihood(events: int) -> None:
    """statsmodels goes through every choice of as many events; the package approximates their sum."""
    generator = np.random.default_rng(events)
    logit_n = generator.normal(-1.5, 1.2, 400)
    label_n = (generator.random(400) < expit(logit_n)).astype(float)
    few_n = np.flatnonzero(label_n == 1)[:events], np.flatnonzero(label_n == 0)[: 6 * events + 6]
    here_n = np.concatenate(few_n)
    site_n = np.where(np.isin(np.arange(400), here_n), "few", "rest")
    rows = BinaryOutcomes(label_n, expit(logit_n), site_n)
    slope = compute_calibration_slope(rows).value
    effects = compute_slope_effects(rows)
    exact = ConditionalLogit(label_n[here_n], logit_n[here_n, None], groups=np.zeros(here_n.size))
    at = np.array([slope])
    information = -exact.hessian(at)[0, 0]
    place = list(effects.site_k).index("few")
    assert effects.variance_k[place] == pytest.approx(1 / information, rel=0.25)
    step = effects.effect_k[place] - slope
    assert step * np.sqrt(information) == pytest.approx(exact.score(at)[0] / np.sqrt(information), abs=0.12)


def test_a_hospital_of_one_class_says_nothing_about_the_slope_and_is_absent() -> None:
    generator = np.random.default_rng(3)
    logit_n = generator.normal(-1, 1, 120)
    label_n = (generator.random(120) < expit(logit_n)).astype(float)
    site_n = np.repeat(["a", "b", "c"], 40)
    label_n[site_n == "b"] = 0
    assert list(compute_slope_effects(BinaryOutcomes(label_n, expit(logit_n), site_n)).site_k) == ["a", "c"]


def test_slopes_of_hospitals_with_few_events_average_the_true_slope() -> None:
    generator = np.random.default_rng(4)
    site_n = np.repeat(np.arange(1500), 40).astype(str)
    logit_n = generator.normal(-2, 1, site_n.size)
    label_n = (generator.random(site_n.size) < expit(logit_n)).astype(float)
    effects = compute_slope_effects(BinaryOutcomes(label_n, expit(logit_n), site_n))
    spread = effects.effect_k.std() / np.sqrt(effects.effect_k.size)
    assert effects.effect_k.mean() == pytest.approx(1, abs=4 * spread)
    assert np.average(effects.effect_k, weights=1 / effects.variance_k) == pytest.approx(1, abs=0.05)
