"""The models to beat, against a pipeline written out by hand."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from scipy.stats import yeojohnson
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from kicc_ml.core.types import Case
from kicc_ml.models.baselines import tabular as baselines
from kicc_ml.models.baselines.tabular import EXTENT, baseline_predictions, clinical_bf, columns_of, endpoints_be

FEATURES = ("crp_mg_l", "age_years", "sex")


def cohort(patients: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A table with gaps, and an outcome that CRP and age decide in part."""
    rng = np.random.default_rng(seed)
    table = np.column_stack(
        [rng.gamma(2, 20, patients), rng.normal(55, 15, patients), rng.integers(0, 2, patients)]
    ).astype(float)
    logit = 0.05 * (table[:, 0] - 40) + 0.05 * (table[:, 1] - 55)
    label = (rng.random(patients) < 1 / (1 + np.exp(-logit))).astype(float)
    table[rng.random(patients) < 0.2, 0] = np.nan
    return table, label


TRAIN, LABEL = cohort(300, seed=0)
TEST, TEST_LABEL = cohort(400, seed=1)
GROUP = np.arange(300) % 6


def predict(
    train: np.ndarray, label: np.ndarray, test: np.ndarray, features: Sequence[str] = FEATURES
) -> dict[str, np.ndarray]:
    predicted = baseline_predictions(train, label, GROUP[: len(train)], test, features)
    return {model: one.probability_b for model, one in predicted.items()}


@cache
def of_all_models() -> dict[str, np.ndarray]:
    """What is predicted of the test patients; several tests compare with it."""
    return predict(TRAIN, LABEL, TEST)


def by_hand(train: np.ndarray, label: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Ranks of the patients by median, missing-mark, Yeo-Johnson of SciPy, z-score and logistic regression."""
    fitted, given = pd.DataFrame(train), pd.DataFrame(test)
    marks = [frame.isna().astype(float).add_prefix("no ") for frame in (fitted, given)]
    train_sides, test_sides = [], []
    for column in fitted:
        median = fitted[column].median()
        shaped, power = yeojohnson(fitted[column].fillna(median).to_numpy())
        centre, spread = shaped.mean(), shaped.std()
        train_sides.append((shaped - centre) / spread)
        test_sides.append((yeojohnson(given[column].fillna(median).to_numpy(), power) - centre) / spread)
    missing = [column for column in marks[0] if marks[0][column].any()]
    train_sides += [(marks[0][one] - marks[0][one].mean()) / marks[0][one].std(ddof=0) for one in missing]
    test_sides += [(marks[1][one] - marks[0][one].mean()) / marks[0][one].std(ddof=0) for one in missing]
    model = LogisticRegression(C=0.1, max_iter=1000).fit(np.column_stack(train_sides), label)
    return model.decision_function(np.column_stack(test_sides))


def test_the_clinical_model_is_the_one_written_out_by_hand_up_to_recalibration(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(baselines, "RIDGES", (0.1,))
    found = logit(predict(TRAIN, LABEL, TEST)["clinical"])
    slope, intercept = np.polyfit(by_hand(TRAIN, LABEL, TEST), found, 1)
    np.testing.assert_allclose(found, intercept + slope * by_hand(TRAIN, LABEL, TEST), atol=2e-3)
    assert 0.5 < slope < 1.5


def test_age_and_sex_are_found_by_name_wherever_they_stand():
    turned = predict(TRAIN[:, ::-1], LABEL, TEST[:, ::-1], FEATURES[::-1])
    np.testing.assert_allclose(turned["age_sex"], of_all_models()["age_sex"], atol=1e-4)
    alone = predict(TRAIN[:, 1:], LABEL, TEST[:, 1:], FEATURES[1:])
    np.testing.assert_allclose(alone["age_sex"], alone["clinical"], atol=1e-12)


def test_extent_has_age_and_sex_beside_it_and_is_no_part_of_the_clinical_model():
    found = columns_of(["crp_mg_l", EXTENT[1], "age_years", "sex", EXTENT[0]])
    assert found["clinical"] == [0, 2, 3]
    assert found["extent"] == [2, 3, 4, 1]
    assert found["clinical_extent"] == found["boosting"] == [0, 1, 2, 3, 4]
    assert not {"extent", "clinical_extent"} & set(columns_of(FEATURES))


def test_boosting_sees_what_no_straight_line_does():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(300, 2))
    label = (np.abs(table[:, 0]) > 0.7).astype(float)
    found = predict(table[:200], label[:200], table[200:], ("a", "b"))
    assert roc_auc_score(label[200:], found["boosting"]) > 0.9
    assert roc_auc_score(label[200:], found["clinical"]) < 0.7


def test_the_clinical_model_beats_age_and_sex_where_crp_matters():
    found = of_all_models()
    assert roc_auc_score(TEST_LABEL, found["clinical"]) > roc_auc_score(TEST_LABEL, found["age_sex"]) > 0.5


def test_shuffled_labels_leave_nothing_to_predict():
    rng = np.random.default_rng(0)
    shuffled = [predict(TRAIN, rng.permutation(LABEL), TEST)["clinical"] for _ in range(12)]
    aucs = [roc_auc_score(TEST_LABEL, probability) for probability in shuffled]
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.08)
    assert np.median([np.ptp(probability) for probability in shuffled]) < 0.5


@pytest.mark.parametrize("outcome", [0.0, 1.0, np.nan])
def test_where_nobody_or_everybody_has_the_event_nothing_is_learnt_and_no_constant_passes_for_a_risk(outcome: float):
    found = predict(TRAIN, np.full(len(TRAIN), outcome), TEST)
    assert set(found) == {"prevalence", "clinical", "age_sex", "boosting"}
    assert all(np.isnan(probability).all() for probability in found.values())


def test_patients_with_an_unknown_outcome_are_not_fitted_on():
    unknown = LABEL.copy()
    unknown[200:] = np.nan
    with_gaps = predict(TRAIN, unknown, TEST)
    without = predict(TRAIN[:200], LABEL[:200], TEST)
    for model, probability in without.items():
        np.testing.assert_allclose(with_gaps[model], probability)


def test_the_prevalence_is_that_of_the_training_side():
    found = of_all_models()["prevalence"]
    np.testing.assert_allclose(found, np.full(len(TEST), LABEL.mean()))


def test_the_tested_patients_decide_nothing():
    one_by_one = [predict(TRAIN, LABEL, TEST[[row]])["clinical"][0] for row in range(3)]
    np.testing.assert_allclose(one_by_one, of_all_models()["clinical"][:3])


def test_without_age_in_the_table_there_is_no_age_sex_model():
    found = predict(TRAIN[:, :1], LABEL, TEST[:, :1], FEATURES[:1])
    assert set(found) == {"prevalence", "clinical", "boosting"}


def test_a_column_that_no_training_patient_has_is_harmless():
    empty = np.column_stack([TRAIN, np.full(len(TRAIN), np.nan)])
    given = np.column_stack([TEST, np.ones(len(TEST))])
    found = predict(empty, LABEL, given, (*FEATURES, "il6_pg_ml"))["clinical"]
    assert np.isfinite(found).all()


def test_tables_of_cases_hold_nan_for_what_is_absent():
    cases = [
        Case("a", "s", "p", clinical={"age_years": 60.0}, endpoints={"icu": 1.0}),
        Case("b", "s", "q", clinical={"age_years": 70.0, "sex": 1.0}, endpoints={"death": 0.0}),
    ]
    np.testing.assert_array_equal(clinical_bf(cases, ["sex", "age_years"]), [[np.nan, 60], [1, 70]])
    np.testing.assert_array_equal(endpoints_be(cases, ["icu", "death"]), [[1, np.nan], [np.nan, 0]])
    assert clinical_bf([], ["sex"]).shape == (0, 1)
