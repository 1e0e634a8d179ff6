"""Statistics of any rows and masks, drawn by hypothesis, against their definitions."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from kicc_ml.evaluation.agreement import compute_bland_altman, compute_icc_2_1, compute_icc_interval
from kicc_ml.evaluation.calibration import compute_brier, compute_observed_expected
from kicc_ml.evaluation.comparison import add_holm
from kicc_ml.evaluation.decision_curve import compute_decision_curve
from kicc_ml.evaluation.discrimination import compute_average_precision, compute_pooled_auroc, compute_site_pairs
from kicc_ml.evaluation.lesions import detect
from kicc_ml.evaluation.meta_analysis import limit_weights, pool
from kicc_ml.evaluation.rows import BinaryOutcomes
from kicc_ml.evaluation.surface import compute_surface_distances

#: Many ties, and both ends.
PROBABILITIES = st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1)


@st.composite
def any_rows(draw: st.DrawFn) -> BinaryOutcomes:
    """Both classes among 2 to 25 cases of up to four hospitals."""
    n = draw(st.integers(2, 25))
    label_n = np.array(draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=n, max_size=n)))
    assume(0 < label_n.sum() < n)
    probability_n = np.array(draw(st.lists(PROBABILITIES, min_size=n, max_size=n)))
    site_n = np.array(draw(st.lists(st.sampled_from("abcd"), min_size=n, max_size=n)))
    return BinaryOutcomes(label_n, probability_n, site_n)


MASKS = hnp.array_shapes(min_dims=2, max_dims=3, max_side=6).flatmap(
    lambda shape: st.tuples(*[hnp.arrays(bool, shape)] * 2)
)
RATINGS = hnp.arrays(
    float, hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=8), elements=st.integers(0, 24)
)


def share_of_pairs(rows: BinaryOutcomes) -> float:
    events, others = rows.probability_n[rows.label_n == 1], rows.probability_n[rows.label_n == 0]
    return float(np.mean((events[:, None] > others) + 0.5 * (events[:, None] == others)))


@given(any_rows())
def test_the_area_under_the_curve_is_the_share_of_pairs_in_order_and_influences_add_up_to_none(rows: BinaryOutcomes):
    figure = compute_pooled_auroc(rows)
    assert figure.value == pytest.approx(share_of_pairs(rows))
    turned = compute_pooled_auroc(BinaryOutcomes(rows.label_n, 1 - rows.probability_n.round(3), rows.site_n))
    same = compute_pooled_auroc(BinaryOutcomes(rows.label_n, rows.probability_n.round(3), rows.site_n))
    assert turned.value == pytest.approx(1 - same.value)
    assert figure.influence_n.sum() == pytest.approx(0, abs=1e-9)


@given(any_rows())
def test_within_hospitals_only_pairs_of_one_hospital_count(rows: BinaryOutcomes):
    pairs = compute_site_pairs(rows)
    for site, area in zip(pairs.site_s, pairs.area_s, strict=True):
        assert area == pytest.approx(share_of_pairs(rows.at(rows.site_n == site)))
    evaluable = {site for site in rows.site_n if len(set(rows.label_n[rows.site_n == site])) == 2}
    assert set(pairs.site_s) == evaluable


@given(any_rows(), st.integers(0, 24))
def test_the_influence_of_a_case_is_what_its_weight_moves(rows: BinaryOutcomes, place: int):
    """By definition: the derivative of the figure by the weight of the case; here a case counts 1 + 1/1000 times."""
    place %= len(rows.label_n)
    for figure in (compute_average_precision, compute_brier, compute_observed_expected):
        one = figure(rows)
        assume(np.isfinite(one.value))
        assert one.influence_n.sum() == pytest.approx(0, abs=1e-8 * max(1.0, abs(one.value)))
        times = 2000
        many = rows.at(
            np.repeat(np.arange(len(rows.label_n)), [times + (at == place) for at in range(len(rows.label_n))])
        )
        moved = (figure(many).value - one.value) * times
        assert moved == pytest.approx(one.influence_n[place], rel=2e-2, abs=2e-3 * max(1.0, abs(one.value)))


@given(any_rows())
def test_nobody_gains_from_acting_on_all_more_than_the_prevalence_allows(rows: BinaryOutcomes):
    curve = compute_decision_curve(rows)
    prevalence = rows.label_n.mean()
    assert (curve["net_benefit"] <= prevalence + 1e-12).all()
    odds = curve["threshold"] / (1 - curve["threshold"])
    np.testing.assert_allclose(curve["treat_all"], prevalence - odds * (1 - prevalence), atol=1e-12)


@given(RATINGS)
def test_an_icc_lies_in_its_interval_and_is_one_for_equal_raters(rating_nk: np.ndarray):
    icc = compute_icc_2_1(rating_nk)
    assume(icc is not None)
    assert icc <= 1 + 1e-9
    interval = compute_icc_interval(rating_nk)
    if interval.low is not None and interval.high is not None:
        assert interval.low - 1e-9 <= icc <= interval.high + 1e-9
    equal = np.repeat(rating_nk[:, :1], rating_nk.shape[1], axis=1)
    assert compute_icc_2_1(equal) in (None, pytest.approx(1))


@given(RATINGS)
def test_limits_of_agreement_turn_with_the_order_of_the_readers(rating_nk: np.ndarray):
    one, other = (
        compute_bland_altman(rating_nk[:, 0], rating_nk[:, 1]),
        compute_bland_altman(rating_nk[:, 1], rating_nk[:, 0]),
    )
    if one is None or other is None:
        assert len(rating_nk) < 3
        return
    assert (one.lower, one.bias, one.upper) == pytest.approx((-other.upper, -other.bias, -other.lower))
    assert one.lower <= one.bias <= one.upper


@given(MASKS, st.floats(0.2, 5))
def test_surface_figures_are_the_same_whichever_mask_is_the_truth(masks: tuple, spacing: float):
    truth, predicted = masks
    spacings = (spacing, 1.0, 2.0)[: truth.ndim]
    one, other = (
        compute_surface_distances(truth, predicted, spacings),
        compute_surface_distances(predicted, truth, spacings),
    )
    if one is None or other is None:
        assert one is other is None
        assert not (truth.any() and predicted.any())
        return
    assert one.within(1.0) == pytest.approx(other.within(1.0))
    assert one.compute_hausdorff(95) == pytest.approx(other.compute_hausdorff(95))
    assert 0 <= one.within(1.0) <= 1
    assert one.within(1e9) == pytest.approx(1)
    same = compute_surface_distances(truth, truth, spacings)
    assert same is not None
    assert (same.compute_hausdorff(100), same.within(0)) == (0, pytest.approx(1))


@given(MASKS)
def test_lesions_are_counted_as_labelled_and_all_are_found_by_themselves(masks: tuple):
    truth, predicted = masks
    found = detect(truth, predicted)
    assert found.reference == ndimage.label(truth, np.ones((3,) * truth.ndim))[1]
    assert found.found <= found.reference
    assert found.true <= found.predicted
    for rate in (found.recall, found.precision, found.f1):
        assert rate is None or 0 <= rate <= 1
    if truth.any():
        assert detect(truth, truth).f1 == 1


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(1e-4, 10)), min_size=2, max_size=12))
def test_a_pooled_effect_lies_among_those_of_the_hospitals_and_moves_with_them(pairs: list):
    effect_k, variance_k = np.array(pairs).T
    pooled = pool(effect_k, variance_k)
    if pooled.mean is None:
        assert pooled.reason
        return
    assert effect_k.min() - 1e-9 <= pooled.mean <= effect_k.max() + 1e-9
    assert pooled.low <= pooled.mean <= pooled.high
    moved = pool(effect_k + 3, variance_k)
    assert moved.mean == pytest.approx(pooled.mean + 3, abs=1e-4)
    assert moved.tau_squared == pytest.approx(pooled.tau_squared, abs=1e-3, rel=1e-3)
    weight_k = limit_weights(1 / variance_k)
    assert weight_k.max() / weight_k.sum() <= 1 / np.sqrt(len(weight_k)) + 1e-9


@given(st.lists(st.none() | st.floats(0, 1), max_size=8))
def test_holm_never_lowers_a_p_and_keeps_their_order(p: list):
    rows = add_holm([{"metric": "auroc", "p": one} for one in p])
    assert [row["p"] for row in rows] == p
    assert [row["p_holm"] is None for row in rows] == [one is None for one in p]
    tested = sorted((row["p"], row["p_holm"]) for row in rows if row["p"] is not None)
    assert all(raw <= corrected <= 1 for raw, corrected in tested)
    assert [corrected for _, corrected in tested] == sorted(corrected for _, corrected in tested)
