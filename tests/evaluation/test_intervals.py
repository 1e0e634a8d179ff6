"""What an interval says where its bounds lie beyond every number."""

import json
import warnings

import numpy as np
import pytest

from kicc_ml.evaluation.intervals import make_estimate
from kicc_ml.evaluation.meta_analysis import pool, transform_back
from kicc_ml.evaluation.three_answers import Answers


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_a_ratio_whose_upper_bound_overflows_has_no_interval_and_says_why():
    found = make_estimate(2.0, 4e6, "log").interval
    assert (found.low, found.high) == (None, None)
    assert "no end" in found.reason


def test_a_ratio_of_ordinary_error_keeps_the_bounds_of_the_delta_method():
    found = make_estimate(2.0, 0.04, "log").interval
    half = 1.959963984540054 * 0.2 / 2.0
    np.testing.assert_allclose([found.low, found.high], [2 * np.exp(-half), 2 * np.exp(half)], rtol=1e-12)


@pytest.mark.parametrize("question", ["hospitals_like_these", "new_hospital"])
def test_no_answer_of_hospitals_that_differ_beyond_measure_has_an_infinite_bound(question: str):
    pooled = pool(np.array([-900.0, 0.0, 900.0, 10.0]), np.full(4, 0.1))
    answer = Answers(make_estimate(1.0, 0.1, "log"), pooled, "log").figure(question)[question]
    assert transform_back(pooled, "log").high == np.inf
    assert (answer["low"], answer["high"]) == (None, None)
    assert "no end" in answer["reason"]


def test_the_mean_of_hospitals_of_which_one_has_a_ratio_beyond_every_number_is_unknown():
    pooled = pool(np.array([3000.0, 1.0, 900.0, 10.0]), np.full(4, 0.1))
    answer = Answers(make_estimate(1.0, 0.1, "log"), pooled, "log").figure("hospitals_like_these")
    assert (answer["value"], answer["low"], answer["high"]) == (None, None, None)
    assert "no end" in answer["reason"]
    json.dumps(answer, allow_nan=False)
