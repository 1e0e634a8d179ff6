"""What is chosen inside a fold is chosen by patients, or hospitals, that were not fitted on."""

from typing import ClassVar

import numpy as np
import pytest
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from kicc_ml.core.types import Case
from kicc_ml.models.baselines.nested import Model, Predicted, blend_models, inner_groups, nested_prediction


class Recorder(ClassifierMixin, BaseEstimator):
    """Predicts a constant and keeps which groups (the only column) it was fitted on and asked about."""

    seen: ClassVar[list[tuple[set[float], set[float]]]] = []

    def __init__(self, answer: float = 0.5) -> None:
        self.answer = answer

    def fit(self, table_bf: np.ndarray, label_b: np.ndarray) -> "Recorder":
        self.fitted_on_ = set(table_bf[:, 0])
        self.classes_ = np.array([0, 1])
        return self

    def predict_proba(self, table_bf: np.ndarray) -> np.ndarray:
        Recorder.seen.append((self.fitted_on_, set(table_bf[:, 0])))
        return np.tile([1 - self.answer, self.answer], (len(table_bf), 1))


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    group_b = np.repeat(np.arange(7.0), 8)
    label_b = np.tile([0.0, 0, 0, 1], 14)
    return group_b[:, None], label_b, group_b.astype(str)


def test_no_row_is_predicted_by_a_model_that_saw_its_hospital(rows: tuple):
    Recorder.seen.clear()
    table_bf, label_b, group_b = rows
    nested_prediction(Model(None, [Recorder()]), table_bf, label_b, group_b, np.array([[99.0]]))
    *inner, last = Recorder.seen
    assert all(not fitted & asked for fitted, asked in inner)
    assert set.union(*(asked for _, asked in inner)) == set(range(7))
    assert last == (set(range(7)), {99.0})


def test_the_candidate_of_least_loss_on_the_held_out_is_taken(rows: tuple):
    table_bf, label_b, group_b = rows
    model = Model(None, [Recorder(0.9), Recorder(0.25), Recorder(0.6)])
    probability = nested_prediction(model, table_bf, label_b, group_b, np.zeros((1, 1))).probability_b
    assert probability == pytest.approx(0.25, abs=0.02)


def test_an_overfitted_model_is_drawn_back_by_recalibration():
    rng = np.random.default_rng(0)
    table_bf, group_b = rng.normal(size=(120, 60)), np.repeat(np.arange(6), 20).astype(str)
    label_b = (table_bf[:, 0] + rng.normal(size=120) > 0.5).astype(float)
    model = Model(None, [LogisticRegression(C=100.0, max_iter=5000)])
    plain = model.candidates[0].fit(table_bf, label_b).predict_proba(table_bf)[:, 1]
    nested = nested_prediction(model, table_bf, label_b, group_b, table_bf).probability_b
    assert np.ptp(nested) < 0.8 * np.ptp(plain)


@pytest.mark.parametrize(("sites", "kept"), [(3, "site"), (2, "person")])
def test_hospitals_stay_together_where_there_are_three_persons_otherwise(sites: int, kept: str):
    cases = [Case(f"c{number}", f"s{number % sites}", f"p{number // 2}") for number in range(6)]
    assert inner_groups(cases).tolist() == [getattr(case, kept) for case in cases]


def test_events_at_a_single_hospital_do_not_stop_the_fold():
    table_bf, group_b = np.arange(12.0)[:, None], np.repeat(["a", "b", "c"], 4)
    label_b = np.array([0.0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])
    found = nested_prediction(Model(None, [LogisticRegression()]), table_bf, label_b, group_b, table_bf)
    assert np.isfinite(found.probability_b).all()


def test_inner_probabilities_are_of_models_that_did_not_see_the_patient():
    rng = np.random.default_rng(0)
    table_bf, group_b = rng.normal(size=(120, 60)), np.repeat(np.arange(6), 20).astype(str)
    label_b = rng.integers(0, 2, 120).astype(float)  # noise: only who has seen a label can predict it
    found = nested_prediction(
        Model(None, [LogisticRegression(C=100.0, max_iter=5000)]), table_bf, label_b, group_b, table_bf
    )
    assert roc_auc_score(label_b, found.inner_n) < 0.65
    assert roc_auc_score(label_b, found.probability_b) > 0.9


def test_models_are_weighed_by_patients_that_both_predict_unseen():
    rng = np.random.default_rng(0)
    label_n = rng.integers(0, 2, 400).astype(float)
    good_n, noise_n = expit(rng.normal(3 * label_n - 1.5)), expit(rng.normal(size=400))
    good_n[200:] = np.nan  # a network predicts its validation patients alone
    test = np.array([0.1, 0.9])
    both = blend_models([Predicted(test, np.nan, good_n), Predicted(test[::-1], np.nan, noise_n)], label_n)
    assert both.probability_b[1] > both.probability_b[0]
    assert np.isnan(both.inner_n[200:]).all()
    assert 0 < both.operating_point < 1
