"""Choose, recalibrate and set a threshold by patients that a model was not fitted on, all within the training side."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from sklearn.base import ClassifierMixin, TransformerMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold

from kicc_ml.core.types import Case
from kicc_ml.models.baselines.recalibration import EDGE, Recalibration, fit_blend, fit_recalibration, operating_point

#: Inner folds; fewer where there are fewer groups.
INNER_FOLDS = 5

#: From this many training hospitals on, whole hospitals are held out: with two, a model would be fitted on one.
LEAST_SITES = 3


@dataclass(frozen=True)
class Model:
    """What is fitted on a table first, and the classifiers the inner folds choose from; scikit-learn's."""

    prepare: TransformerMixin | None
    candidates: Sequence[ClassifierMixin]


@dataclass(frozen=True)
class Fitted:
    """What prepares the table and one classifier, fitted on the same rows; called with a table it gives risks.

    A table without rows, which scikit-learn refuses, has no risks: a model of all cases holds out nobody.
    """

    prepare: TransformerMixin | None
    classifier: ClassifierMixin
    recalibrate: Recalibration = field(default_factory=Recalibration)

    def __call__(self, table_bf: np.ndarray) -> np.ndarray:
        if not len(table_bf):
            return np.empty(0)
        prepared_bf = table_bf if self.prepare is None else self.prepare.transform(table_bf)
        return self.recalibrate(self.classifier.predict_proba(prepared_bf)[:, 1])


@dataclass(frozen=True)
class Predicted:
    """Of one model and endpoint: probabilities of the tested, and the threshold chosen inside the fold (or NaN).

    ``inner_n`` are probabilities of the patients of the training side, each by a model not fitted on them, NaN where
    there is none: what models are weighed by. ``fitted`` is the model itself where a table is all that it needs.
    """

    probability_b: np.ndarray
    operating_point: float
    inner_n: np.ndarray
    fitted: Fitted | None = None


def inner_groups(cases: Sequence[Case]) -> np.ndarray:
    """What inner folds keep together: hospitals where there are at least ``LEAST_SITES`` of them, else persons."""
    by_site = len({case.site for case in cases}) >= LEAST_SITES
    return np.array([case.site if by_site else case.person for case in cases], dtype=str)


def nested_prediction(
    model: Model, train_bf: np.ndarray, label_b: np.ndarray, group_b: np.ndarray, test_bf: np.ndarray
) -> Predicted:
    """The test rows by the candidate of least log loss on inner folds, refitted on all training rows, recalibrated.

    ``label_b`` is 0/1, with both classes among the training rows; ``group_b`` is of :func:`inner_groups`.
    """
    inner_cb = _held_out(model, train_bf, label_b, group_b)
    chosen = int(np.argmin([log_loss(label_b, np.clip(one_b, EDGE, 1 - EDGE)) for one_b in inner_cb]))
    recalibrate = fit_recalibration(inner_cb[chosen], label_b)
    (refitted,) = _fitted(model, train_bf, label_b, [model.candidates[chosen]])
    fitted = replace(refitted, recalibrate=recalibrate)
    inner_n = recalibrate(inner_cb[chosen])
    return Predicted(fitted(test_bf), operating_point(inner_n, label_b), inner_n, fitted)


def blended(models: Sequence[Predicted], label_n: np.ndarray) -> Predicted:
    """Models together: log odds weighed by the training side's patients that every one predicts without having seen.

    ``label_n`` is of all patients of the training side, NaN where unknown.
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
    """(candidate, training row) probabilities, each row predicted without its group.

    The prevalence where there is no other group, or the others have one class.
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
    """Each candidate on a table prepared once for all; the prevalence where no column is left to fit on."""
    prepare = None if model.prepare is None else clone(model.prepare).fit(train_bf)
    prepared_bf = train_bf if prepare is None else prepare.transform(train_bf)
    usable = candidates if prepared_bf.shape[1] else [DummyClassifier(strategy="prior")] * len(candidates)
    return [Fitted(prepare, clone(one).fit(prepared_bf, label_b)) for one in usable]
