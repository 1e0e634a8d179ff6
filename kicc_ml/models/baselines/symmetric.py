"""Skewed columns made symmetric, at the cost of those alone that can be."""

import numpy as np
from scipy.stats import yeojohnson
from sklearn.base import BaseEstimator, TransformerMixin


class Symmetric(TransformerMixin, BaseEstimator):
    """Yeo & Johnson's power of each column, the likeliest (Biometrika 2000;87:954), as scikit-learn's PowerTransformer.

    A column of two values (yes and no, a mark of absence) has power 1, which leaves it as it is: standardised
    afterwards, it is the same whatever its power, and to search one takes most of the time that a model does.
    """

    def fit(self, table_bf: np.ndarray, y: object = None) -> "Symmetric":
        self.lambdas_ = np.array([_power_of(column_b) for column_b in table_bf.T])
        return self

    def transform(self, table_bf: np.ndarray) -> np.ndarray:
        columns = zip(table_bf.T, self.lambdas_, strict=True)
        return np.column_stack([yeojohnson(column_b, power) for column_b, power in columns])


def _power_of(column_b: np.ndarray) -> float:
    if len(np.unique(column_b)) <= 2:
        return 1.0
    _, power = yeojohnson(column_b)
    return float(power)
