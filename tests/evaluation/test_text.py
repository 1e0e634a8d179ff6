"""An estimate as it is read."""

import pytest

from kicc_ml.evaluation.intervals import Interval
from kicc_ml.evaluation.text import format_bounds, format_estimate, format_number


@pytest.mark.parametrize("name", ["value", "mean", "difference"])
def test_an_estimate_is_followed_by_its_interval(name: str):
    assert format_estimate({name: 0.776, "low": -0.714, "high": 0.835}) == "0.78 (-0.71 to 0.83)"
    assert format_estimate({name: 0.776, "low": -0.714, "high": 0.835}, 1) == "0.8 (-0.7 to 0.8)"


@pytest.mark.parametrize(
    "estimate", [{"value": 2.0, "low": None, "high": None, "reason": "one hospital"}, {"value": 2.0}]
)
def test_without_an_interval_the_value_stands_alone(estimate: dict):
    assert format_estimate(estimate) == "2.00"


@pytest.mark.parametrize("estimate", [None, {}, {"value": None, "low": None, "high": None}, {"mean": None, "low": 1.0}])
def test_without_a_value_there_is_a_dash_and_no_interval(estimate: dict | None):
    assert format_estimate(estimate) == "–"


def test_no_bounds_and_no_number_are_a_dash():
    assert format_bounds(Interval(None, None, "one hospital").bounds) == "–"
    assert format_bounds(Interval(0.5, 1.25).bounds) == "0.50 to 1.25"
    assert (format_number(None), format_number(0.125, 3)) == ("–", "0.125")


def test_bounds_hold_a_reason_only_where_there_is_one():
    assert Interval(0.5, 1.0).bounds == {"low": 0.5, "high": 1.0}
    assert Interval(None, None, "one hospital").bounds == {"low": None, "high": None, "reason": "one hospital"}
