"""Random draws with an exact total, against enumeration."""

from itertools import combinations

import numpy as np
import pytest

from kicc_ml.synthetic.exact_draws import draw_given_total, draw_integers, share_out


def test_a_draw_given_its_total_follows_the_odds_of_every_subset():
    odds = np.array([0.2, 0.5, 1.0, 3.0, 8.0])
    subsets = list(combinations(range(5), 2))
    weight = np.array([odds[list(subset)].prod() for subset in subsets])
    rng, draws = np.random.default_rng(0), 20_000
    seen = dict.fromkeys(subsets, 0)
    for _ in range(draws):
        seen[tuple(np.flatnonzero(draw_given_total(rng, np.log(odds), 2)))] += 1
    share = np.array([seen[subset] for subset in subsets]) / draws
    expected = weight / weight.sum()
    assert np.all(np.abs(share - expected) < 4.5 * np.sqrt(expected * (1 - expected) / draws))


@pytest.mark.parametrize("total", [0, 6])
def test_none_and_all_are_totals_too(total: int):
    assert draw_given_total(np.random.default_rng(0), np.linspace(-3, 3, 6), total).sum() == total


def test_a_total_beyond_the_candidates_is_refused():
    with pytest.raises(ValueError, match="7 events among 6"):
        draw_given_total(np.random.default_rng(0), np.zeros(6), 7)


def test_shares_keep_their_bounds_and_add_up():
    least, most = np.array([1, 1, 0, 4]), np.array([2, 9, 0, 5])
    parts = share_out(np.random.default_rng(3), 14, np.array([9.0, 1.0, 5.0, 1.0]), least, most)
    assert parts.sum() == 14
    assert np.all((least <= parts) & (parts <= most))


def test_shares_without_room_are_refused():
    with pytest.raises(ValueError, match="5 cannot be divided"):
        share_out(np.random.default_rng(3), 5, np.ones(2), np.zeros(2), np.full(2, 2))


def test_integers_are_moved_within_their_range_only():
    values = draw_integers(np.random.default_rng(1), np.array([5, 9, 10, 10]), 39, 0, 10)
    assert values.sum() == 39
    assert values.max() <= 10
