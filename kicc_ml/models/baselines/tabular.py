"""Baseline models that a network must outperform, fitted on the same fold.

``prevalence``, ``age_sex``, ``clinical`` (the table), ``extent`` (on CT, with age and sex) and ``clinical_extent``
(both) are ridge-penalised logistic regressions; ``boosting`` is gradient boosting of trees on all features. Imputation,
scaling, penalty, recalibration and operating point are fitted on the training side of the fold; steps that need
held-out predictions use inner folds (:mod:`kicc_ml.models.baselines.nested`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kicc_ml.core.types import Case
from kicc_ml.models.baselines.nested import Model, Predicted, nested_prediction
from kicc_ml.models.baselines.symmetric import Symmetric

AGE_SEX = ("age_years", "sex")

#: The features of a segmented CT (:class:`kicc_ml.core.types.SeverityMap`), under their names in the table.
EXTENT = (
    "ct_severity_score",
    "ct_percent_involved",
    "ct_percent_consolidated",
    "ct_lung_ml",
    "ct_lesion_ml",
    "ct_lesion_g",
)

#: Inverse ridge penalties, among which the inner folds choose. With 21 events and 20 columns, weaker penalties gain
#: little.
RIDGES = (0.01, 0.1, 1.0)


def logistic_regression(marks: bool) -> Model:
    """Build a logistic regression: median imputation, symmetric laboratory values, ridge penalty.

    CRP and the extent of lesions are skewed, and an increase matters more at low values; therefore columns are
    transformed (Yeo & Johnson, Biometrika 2000;87:954) and standardised. ``RIDGES`` are scikit-learn's ``C``.

    Args:
        marks: whether to add indicators of missingness. A missing value carries information about the patient, but also
            about the habits of the hospital: in a cohort of several hospitals the indicators identify the hospital, and
            they mislead at a new one.
    """
    prepare = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=marks, keep_empty_features=True),
        Symmetric(),
        StandardScaler(),
    )
    return Model(prepare, [LogisticRegression(C=ridge, max_iter=1000) for ridge in RIDGES])


def boosting() -> Model:
    """Build gradient boosting of shallow trees in small steps, for hundreds of patients; no imputation is needed."""
    trees = HistGradientBoostingClassifier(max_iter=60, learning_rate=0.05, max_depth=3, l2_regularization=1.0)
    return Model(ColumnTransformer([("known", "passthrough", _known_columns)]), [trees])


def _known_columns(table_bf: np.ndarray) -> np.ndarray:
    """Find the columns that are known for any row; trees cannot use a column without values."""
    return np.flatnonzero(~np.isnan(table_bf).all(axis=0))


def columns_of(features: Sequence[str]) -> dict[str, list[int]]:
    """List the columns of each baseline. A baseline whose features the table lacks is absent."""
    place = {name: column for column, name in enumerate(features)}
    extent = [place[name] for name in EXTENT if name in place]
    age_sex = [place[name] for name in AGE_SEX] if set(AGE_SEX) <= set(place) else []
    clinical = [column for column in range(len(features)) if column not in extent]
    found = {"clinical": clinical, "age_sex": age_sex, "boosting": list(range(len(features)))}
    if extent:
        found |= {"extent": age_sex + extent, "clinical_extent": found["boosting"]}
    return {model: used for model, used in found.items() if used}


def baseline_predictions(
    train_bf: np.ndarray,
    label_b: np.ndarray,
    group_b: np.ndarray,
    test_bf: np.ndarray,
    features: Sequence[str],
    marks: bool = True,
) -> dict[str, Predicted]:
    """Fit every baseline of one endpoint on the training rows, and predict the test rows.

    Args:
        train_bf: (patient, feature) training rows, NaN where missing.
        label_b: 0 or 1 of each training row; rows with NaN are left out.
        group_b: the group of each training row, from :func:`kicc_ml.models.baselines.nested.inner_groups`.
        test_bf: (patient, feature) test rows, NaN where missing.
        features: the names of the columns.
        marks: see :func:`logistic_regression`; meant for training rows of one hospital.

    Returns:
        The predictions by baseline. If the labels do not have both classes, all probabilities are NaN.
    """
    known_b = ~np.isnan(label_b)
    train_bf, label_b, group_b = train_bf[known_b], label_b[known_b], group_b[known_b]
    learnable = len(np.unique(label_b)) == 2
    prevalence = float(label_b.mean()) if learnable else float("nan")
    constant = Predicted(np.full(len(test_bf), prevalence), float("nan"), np.full(len(known_b), prevalence))
    predicted = {"prevalence": constant}
    for model, used in columns_of(features).items():
        if not learnable:
            predicted[model] = constant
            continue
        build = boosting() if model == "boosting" else logistic_regression(marks)
        one = nested_prediction(build, train_bf[:, used], label_b, group_b, test_bf[:, used])
        predicted[model] = replace(one, inner_n=_at(known_b, one.inner_n))
    return predicted


def _at(known_n: np.ndarray, value_b: np.ndarray) -> np.ndarray:
    """Place the values of the known rows among all rows; NaN elsewhere."""
    value_n = np.full(len(known_n), np.nan)
    value_n[known_n] = value_b
    return value_n


def clinical_bf(cases: Sequence[Case], features: Sequence[str]) -> np.ndarray:
    """Build the clinical table of cases: (case, feature), NaN where missing."""
    return _table([case.clinical for case in cases], features)


def endpoints_be(cases: Sequence[Case], endpoints: Sequence[str]) -> np.ndarray:
    """Build the table of outcomes of cases: (case, endpoint), 0, 1, or NaN where unknown."""
    return _table([case.endpoints for case in cases], endpoints)


def _table(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> np.ndarray:
    cells = [[row.get(name, np.nan) for name in names] for row in rows]
    return np.array(cells, dtype=float).reshape(len(rows), len(names))
