"""Bland-Altman limits and intraclass correlations against published examples."""

import numpy as np
import pytest

from kicc_ml.evaluation.agreement import compute_icc_2_1, compute_share_within

#: Four judges rating six targets: table 2 of Shrout & Fleiss, Psychol Bull 1979;86:420.
SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)


def test_icc_equals_the_published_example() -> None:
    assert compute_icc_2_1(SHROUT_FLEISS) == pytest.approx(0.29, abs=0.005)


def test_a_constant_offset_lowers_the_icc_since_agreement_is_absolute() -> None:
    one = np.array([1.0, 4, 7, 9])
    assert compute_icc_2_1(np.stack([one, one], axis=1)) == pytest.approx(1.0)
    shifted = compute_icc_2_1(np.stack([one, one + 3], axis=1))
    assert shifted is not None
    assert shifted < 0.8


def test_one_case_or_no_variation_has_no_icc() -> None:
    assert compute_icc_2_1(np.ones((1, 2))) is None
    assert compute_icc_2_1(np.ones((5, 2))) is None


def test_the_border_counts_as_within() -> None:
    assert compute_share_within(np.array([1.0, 4, 8]), np.array([3.0, 4, 5]), 2) == pytest.approx(2 / 3)
