"""The models a network has to beat, fitted on the same fold: prevalence, age + sex, clinical logistic regression."""

from collections.abc import Sequence

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from kicc_ml.records import Case

AGE_SEX = ("age_years", "sex")


def logistic_regression() -> Pipeline:
    """Median imputation with missing-marks, standardisation, ridge-penalised logistic regression (C = 1)."""
    return make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(C=1.0, max_iter=1000),
    )


def baseline_probabilities(
    train_bf: np.ndarray, label_b: np.ndarray, test_bf: np.ndarray, features: Sequence[str]
) -> dict[str, np.ndarray]:
    """Probability of one endpoint for each test row under each baseline, fitted on the training rows alone.

    ``label_b`` is 0/1 or NaN (row left out). With one class among the training labels nothing can be fitted: every
    baseline then predicts the prevalence. A baseline whose features the table lacks is absent.
    """
    known_b = ~np.isnan(label_b)
    train_bf, label_b = train_bf[known_b], label_b[known_b].astype(int)
    prevalence = float(label_b.mean()) if len(label_b) else float("nan")
    constant = np.full(len(test_bf), prevalence)
    probabilities = {"prevalence": constant}
    columns = {"clinical": list(range(len(features)))}
    if set(AGE_SEX) <= set(features):
        columns["age_sex"] = [list(features).index(name) for name in AGE_SEX]
    for model, used in columns.items():
        if not used or len(np.unique(label_b)) < 2:
            probabilities[model] = constant
            continue
        fitted = logistic_regression().fit(train_bf[:, used], label_b)
        probabilities[model] = fitted.predict_proba(test_bf[:, used])[:, 1]
    return probabilities


def clinical_bf(cases: Sequence[Case], features: Sequence[str]) -> np.ndarray:
    """The clinical table of cases as (case, feature), NaN where missing."""
    rows = [[case.clinical.get(name, np.nan) for name in features] for case in cases]
    return np.array(rows, dtype=float).reshape(len(cases), len(features))


def endpoints_be(cases: Sequence[Case], endpoints: Sequence[str]) -> np.ndarray:
    """The outcomes of cases as (case, endpoint): 0, 1, or NaN where unknown."""
    rows = [[case.endpoints.get(name, np.nan) for name in endpoints] for case in cases]
    return np.array(rows, dtype=float).reshape(len(cases), len(endpoints))
