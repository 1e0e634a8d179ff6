"""Plain numbers say what scikit-learn's pipeline said, of any table a fold may meet."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from kicc_ml.models.baselines.clinical_model_as_numbers import ClinicalModel, in_numbers
from kicc_ml.models.baselines.nested import Predicted, nested_prediction
from kicc_ml.models.baselines.tabular import logistic_regression

FEATURES = ("age_years", "crp_mg_l", "sex", "always_1", "nobody_has")


def table(patients: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    crp = np.where(rng.random(patients) < 0.3, np.nan, rng.gamma(2, 20, patients))
    columns = [rng.normal(60, 15, patients), crp, rng.integers(0, 2, patients), np.ones(patients)]
    return np.column_stack([*columns, np.full(patients, np.nan)])


@pytest.fixture(scope="module")
def tested_bf() -> np.ndarray:
    """Patients with gaps where the training side had none, a value where it had nothing, and nothing at all."""
    asked = table(20, seed=1)
    asked[0, 4], asked[1, 0], asked[2] = 7.0, np.nan, np.nan
    return asked


@pytest.fixture(scope="module", params=[True, False], ids=["with marks of absence", "without"])
def predicted(request: pytest.FixtureRequest, tested_bf: np.ndarray) -> Predicted:
    train_bf = table(60, seed=0)
    label_b = (np.random.default_rng(2).random(60) < 0.2 + 0.4 * (train_bf[:, 0] > 60)).astype(float)
    return nested_prediction(logistic_regression(request.param), train_bf, label_b, np.arange(60) % 3, tested_bf)


def test_risks_are_those_of_the_fitted_pipeline(predicted: Predicted, tested_bf: np.ndarray):
    assert predicted.fitted is not None
    model = in_numbers(predicted.fitted, FEATURES)
    assert len(set(predicted.probability_b)) == 20
    np.testing.assert_allclose(model(tested_bf), predicted.probability_b, rtol=0, atol=1e-9)


def test_nothing_is_lost_in_json(predicted: Predicted, tested_bf: np.ndarray):
    assert predicted.fitted is not None
    model = in_numbers(predicted.fitted, FEATURES)
    again = ClinicalModel(**json.loads(json.dumps(asdict(model), allow_nan=False)))
    np.testing.assert_array_equal(again(tested_bf), model(tested_bf))
