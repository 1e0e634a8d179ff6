"""Selection, recalibration and threshold of a model on training patients that it was not fitted on (inner folds)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from sklearn.base import ClassifierMixin, TransformerMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold

from kicc_ml.core.types import Case
from kicc_ml.models.baselines.recalibration import EDGE, Recalibration, fit_blend, fit_recalibration, operating_point

#: The number of inner folds; fewer if there are fewer groups.
INNER_FOLDS = 5

#: From this many training hospitals on, inner folds hold out whole hospitals: with two, a fold would train on one only.
LEAST_SITES = 3


@dataclass(frozen=True)
class Model:
    """A scikit-learn transformer for the table, and the candidate classifiers among which the inner folds choose."""

    prepare: TransformerMixin | None
    candidates: Sequence[ClassifierMixin]


@dataclass(frozen=True)
class Fitted:
    """A transformer and a classifier that are fitted on the same rows; a call with a table returns risks.

    A table without rows, which scikit-learn refuses, gives no risks: a model of all cases has no test patients.
    """

    prepare: TransformerMixin | None
    classifier: ClassifierMixin
    recalibrate: Recalibration = field(default_factory=Recalibration)

    def __call__(self, table_bf: np.ndarray) -> np.ndarray:
        """Return the recalibrated probability of each row of features."""
        if not len(table_bf):
            return np.empty(0)
        prepared_bf = table_bf if self.prepare is None else self.prepare.transform(table_bf)
        return self.recalibrate(self.classifier.predict_proba(prepared_bf)[:, 1])


@dataclass(frozen=True)
class Predicted:
    """The predictions of one model for one endpoint.

    Attributes:
        probability_b: the probability of each test patient.
        operating_point: the threshold chosen inside the fold, or NaN.
        inner_n: the probability of each training patient, by a model that was not fitted on this patient; NaN if there
            is none. The weights of a blend of models are fitted on these.
        fitted: the model itself, if the table is its only input.
    """

    probability_b: np.ndarray
    operating_point: float
    inner_n: np.ndarray
    fitted: Fitted | None = None


def inner_groups(cases: Sequence[Case]) -> np.ndarray:
    """Find the group of each case, which inner folds keep together: hospitals from ``LEAST_SITES`` on, else persons."""
    by_site = len({case.site for case in cases}) >= LEAST_SITES
    return np.array([case.site if by_site else case.person for case in cases], dtype=str)


def nested_prediction(
    model: Model, train_bf: np.ndarray, label_b: np.ndarray, group_b: np.ndarray, test_bf: np.ndarray
) -> Predicted:
    """Choose the candidate with the least log loss on inner folds, refit and recalibrate it, and predict the test rows.

    Args:
        model: the transformer and the candidates.
        train_bf: (patient, feature) training rows, NaN where missing.
        label_b: 0 or 1 of each training row; both must occur.
        group_b: the group of each training row, from :func:`inner_groups`.
        test_bf: (patient, feature) test rows.
    """
    inner_cb = _held_out(model, train_bf, label_b, group_b)
    chosen = int(np.argmin([log_loss(label_b, np.clip(one_b, EDGE, 1 - EDGE)) for one_b in inner_cb]))
    recalibrate = fit_recalibration(inner_cb[chosen], label_b)
    (refitted,) = _fitted(model, train_bf, label_b, [model.candidates[chosen]])
    fitted = replace(refitted, recalibrate=recalibrate)
    inner_n = recalibrate(inner_cb[chosen])
    return Predicted(fitted(test_bf), operating_point(inner_n, label_b), inner_n, fitted)


def blend_models(models: Sequence[Predicted], label_n: np.ndarray) -> Predicted:
    """Combine models as a weighted sum of log odds, with weights fitted on training patients that all models predict.

    Args:
        models: the predictions of each model; the weights are fitted on their ``inner_n``.
        label_n: the label of each training patient, NaN where unknown.
    """
    inner_mn = np.stack([model.inner_n for model in models])
    weigh = fit_blend(inner_mn, label_n)
    inner_n = weigh(inner_mn)
    return Predicted(
        weigh(np.stack([model.probability_b for model in models])),
        operating_point(inner_n, np.where(np.isnan(inner_n), np.nan, label_n)),
        inner_n,
    )


def _held_out(model: Model, train_bf: np.ndarray, label_b: np.ndarray, group_b: np.ndarray) -> np.ndarray:
    """Predict each training row without its group: (candidate, training row) probabilities.

    It is the prevalence if there is no other group, or if the others have only one class.
    """
    probability_cb = np.full((len(model.candidates), len(label_b)), label_b.mean())
    groups = len(np.unique(group_b))
    folds = GroupKFold(min(INNER_FOLDS, groups)).split(train_bf, label_b, group_b) if groups > 1 else ()
    for fit, out in folds:
        if len(np.unique(label_b[fit])) == 2:
            fitted = _fitted(model, train_bf[fit], label_b[fit], model.candidates)
            probability_cb[:, out] = [one(train_bf[out]) for one in fitted]
        else:
            probability_cb[:, out] = label_b[fit].mean()
    return probability_cb


def _fitted(
    model: Model, train_bf: np.ndarray, label_b: np.ndarray, candidates: Sequence[ClassifierMixin]
) -> list[Fitted]:
    """Fit each candidate on the transformed table; use the prevalence if no column is left to fit on."""
    prepare = None if model.prepare is None else clone(model.prepare).fit(train_bf)
    prepared_bf = train_bf if prepare is None else prepare.transform(train_bf)
    usable = candidates if prepared_bf.shape[1] else [DummyClassifier(strategy="prior")] * len(candidates)
    return [Fitted(prepare, clone(one).fit(prepared_bf, label_b)) for one in usable]
