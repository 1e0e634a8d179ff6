"""The models to beat, against a pipeline written out by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from kicc_ml.models.baselines import baseline_probabilities, clinical_bf, endpoints_be
from kicc_ml.records import Case

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


def by_hand(train: np.ndarray, label: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Median, missing-mark, z-score and logistic regression step by step with pandas."""
    fitted, given = pd.DataFrame(train), pd.DataFrame(test)
    missing = [column for column in fitted if fitted[column].isna().any()]
    sides = []
    for frame in (fitted, given):
        marks = frame[missing].isna().astype(float)
        sides.append(pd.concat([frame.fillna(fitted.median()), marks], axis=1).to_numpy())
    centre, spread = sides[0].mean(0), sides[0].std(0)
    model = LogisticRegression(C=1.0, max_iter=1000).fit((sides[0] - centre) / spread, label)
    return model.predict_proba((sides[1] - centre) / spread)[:, 1]


def test_the_clinical_model_is_the_one_written_out_by_hand():
    found = baseline_probabilities(TRAIN, LABEL, TEST, FEATURES)["clinical"]
    np.testing.assert_allclose(found, by_hand(TRAIN, LABEL, TEST), atol=1e-4)


def test_age_and_sex_are_found_by_name_wherever_they_stand():
    found = baseline_probabilities(TRAIN, LABEL, TEST, FEATURES)["age_sex"]
    np.testing.assert_allclose(found, by_hand(TRAIN[:, 1:], LABEL, TEST[:, 1:]), atol=1e-4)


def test_the_clinical_model_beats_age_and_sex_where_crp_matters():
    found = baseline_probabilities(TRAIN, LABEL, TEST, FEATURES)
    assert roc_auc_score(TEST_LABEL, found["clinical"]) > roc_auc_score(TEST_LABEL, found["age_sex"]) > 0.5


def test_shuffled_labels_leave_nothing_to_predict():
    rng = np.random.default_rng(0)
    shuffled = [baseline_probabilities(TRAIN, rng.permutation(LABEL), TEST, FEATURES)["clinical"] for _ in range(60)]
    aucs = [roc_auc_score(TEST_LABEL, probability) for probability in shuffled]
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.05)
    assert np.median([np.ptp(probability) for probability in shuffled]) < 0.5


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_with_one_class_every_baseline_is_the_prevalence(outcome: float):
    found = baseline_probabilities(TRAIN, np.full(len(TRAIN), outcome), TEST, FEATURES)
    assert set(found) == {"prevalence", "clinical", "age_sex"}
    assert all((probability == outcome).all() for probability in found.values())


def test_patients_with_an_unknown_outcome_are_not_fitted_on():
    unknown = LABEL.copy()
    unknown[200:] = np.nan
    with_gaps = baseline_probabilities(TRAIN, unknown, TEST, FEATURES)
    without = baseline_probabilities(TRAIN[:200], LABEL[:200], TEST, FEATURES)
    for model, probability in without.items():
        np.testing.assert_allclose(with_gaps[model], probability)


def test_the_prevalence_is_that_of_the_training_side():
    found = baseline_probabilities(TRAIN, LABEL, TEST, FEATURES)["prevalence"]
    np.testing.assert_allclose(found, np.full(len(TEST), LABEL.mean()))


def test_the_tested_patients_decide_nothing():
    one_by_one = [baseline_probabilities(TRAIN, LABEL, TEST[[row]], FEATURES)["clinical"][0] for row in range(3)]
    np.testing.assert_allclose(one_by_one, baseline_probabilities(TRAIN, LABEL, TEST, FEATURES)["clinical"][:3])


def test_without_age_in_the_table_there_is_no_age_sex_model():
    found = baseline_probabilities(TRAIN[:, :1], LABEL, TEST[:, :1], FEATURES[:1])
    assert set(found) == {"prevalence", "clinical"}


def test_a_column_that_no_training_patient_has_is_harmless():
    empty = np.column_stack([TRAIN, np.full(len(TRAIN), np.nan)])
    given = np.column_stack([TEST, np.ones(len(TEST))])
    found = baseline_probabilities(empty, LABEL, given, (*FEATURES, "il6_pg_ml"))["clinical"]
    assert np.isfinite(found).all()


def test_tables_of_cases_hold_nan_for_what_is_absent():
    cases = [
        Case("a", "s", "p", clinical={"age_years": 60.0}, endpoints={"icu": 1.0}),
        Case("b", "s", "q", clinical={"age_years": 70.0, "sex": 1.0}, endpoints={"death": 0.0}),
    ]
    np.testing.assert_array_equal(clinical_bf(cases, ["sex", "age_years"]), [[np.nan, 60], [1, 70]])
    np.testing.assert_array_equal(endpoints_be(cases, ["icu", "death"]), [[1, np.nan], [np.nan, 0]])
    assert clinical_bf([], ["sex"]).shape == (0, 1)
