"""Columns made symmetric: as scikit-learn does it, without a search where there is nothing to find."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PowerTransformer, StandardScaler

from kicc_ml.models.baselines import symmetric
from kicc_ml.models.baselines.symmetric import Symmetric


@pytest.fixture
def table_bf() -> np.ndarray:
    """Skewed to either side, symmetric, of two values each, constant."""
    rng = np.random.default_rng(3)
    two = [np.where(rng.random(200) < 0.3, *values) for values in ((0.0, 1.0), (2.0, 5.0))]
    return np.column_stack(
        [rng.lognormal(3, 1, 200), -rng.lognormal(0, 1, 200), rng.normal(0, 3, 200), *two, np.full(200, 7.0)]
    )


def test_standardised_columns_are_those_of_scikit_learn_whatever_they_hold(table_bf: np.ndarray):
    ours = make_pipeline(Symmetric(), StandardScaler()).fit(table_bf[:150])
    theirs = make_pipeline(PowerTransformer(standardize=False), StandardScaler()).fit(table_bf[:150])
    np.testing.assert_allclose(ours.transform(table_bf), theirs.transform(table_bf), atol=1e-9)


def test_no_power_is_searched_for_columns_of_one_or_two_values(table_bf: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    searched = []
    monkeypatch.setattr(symmetric, "yeojohnson", lambda column_b: searched.append(column_b) or (column_b, 0.5))
    assert Symmetric().fit(table_bf).lambdas_.tolist() == [0.5, 0.5, 0.5, 1.0, 1.0, 1.0]
    assert len(searched) == 3
