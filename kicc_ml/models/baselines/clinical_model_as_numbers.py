"""The clinical model of a fold as plain numbers in a run folder, without code and independent of library versions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import yeojohnson

from kicc_ml.models.baselines.nested import Fitted
from kicc_ml.models.baselines.recalibration import Recalibration


@dataclass(frozen=True)
class ClinicalModel:
    """A recalibrated logistic regression that predicts the risk of one endpoint from the clinical table (``clinical``).

    ``median_f`` replaces missing values of ``features``. The inputs of the regression are these values, and one
    indicator of missingness for each column in ``marked``. The inputs are transformed with the powers ``power_i`` of
    Yeo & Johnson, standardised with ``mean_i`` and ``spread_i``, and multiplied by ``weight_i``. ``shift`` and
    ``slope`` recalibrate the log odds.
    """

    features: Sequence[str]
    median_f: Sequence[float]
    marked: Sequence[int]
    power_i: Sequence[float]
    mean_i: Sequence[float]
    spread_i: Sequence[float]
    weight_i: Sequence[float]
    intercept: float
    shift: float
    slope: float

    @property
    def inputs(self) -> int:
        """The number of columns of the table that the model takes."""
        return len(self.features)

    def __call__(self, table_bf: np.ndarray) -> np.ndarray:
        """Predict the risk of each patient.

        Args:
            table_bf: (patient, feature) values of ``features``, NaN where missing.

        Returns:
            (patient,) risks from 0 to 1.
        """
        missing_bf = np.isnan(table_bf)
        input_bi = np.hstack([np.where(missing_bf, self.median_f, table_bf), missing_bf[:, self.marked]])
        columns = zip(input_bi.T, self.power_i, strict=True)
        symmetric_bi = np.stack([yeojohnson(column, power) for column, power in columns], axis=1)
        odds_b = (symmetric_bi - self.mean_i) / self.spread_i @ np.array(self.weight_i) + self.intercept
        return Recalibration(self.shift, self.slope)(expit(odds_b))


def in_numbers(fitted: Fitted, features: Sequence[str]) -> ClinicalModel:
    """Convert a fitted :func:`kicc_ml.models.baselines.tabular.logistic_regression` to plain numbers."""
    assert fitted.prepare is not None  # a logistic regression has one
    imputer, symmetric, standard = (step for _, step in fitted.prepare.steps)
    return ClinicalModel(
        features=list(features),
        median_f=imputer.statistics_.tolist(),
        marked=imputer.indicator_.features_.tolist() if imputer.add_indicator else [],
        power_i=symmetric.lambdas_.tolist(),
        mean_i=standard.mean_.tolist(),
        spread_i=standard.scale_.tolist(),
        weight_i=fitted.classifier.coef_[0].tolist(),
        intercept=float(fitted.classifier.intercept_[0]),
        shift=float(fitted.recalibrate.intercept),
        slope=float(fitted.recalibrate.slope),
    )
