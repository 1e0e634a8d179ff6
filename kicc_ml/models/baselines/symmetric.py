"""A transformer that makes skewed columns symmetric and leaves columns of two values as they are."""

import numpy as np
from scipy.stats import yeojohnson
from sklearn.base import BaseEstimator, TransformerMixin


class Symmetric(TransformerMixin, BaseEstimator):
    """A scikit-learn transformer: each column's maximum likelihood power of Yeo & Johnson (Biometrika 2000;87:954).

    The powers are those of scikit-learn's PowerTransformer, except that a column of two values (yes and no, an
    indicator of missingness) has power 1. After standardisation such a column is the same with any power, and the
    search for a power takes most of the time of a fit.
    """

    def fit(self, table_bf: np.ndarray, y: object = None) -> "Symmetric":
        """Find the Yeo-Johnson power of each column."""
        self.lambdas_ = np.array([_power_of(column_b) for column_b in table_bf.T])
        return self

    def transform(self, table_bf: np.ndarray) -> np.ndarray:
        """Make the distribution of each column symmetric by its power."""
        columns = zip(table_bf.T, self.lambdas_, strict=True)
        return np.column_stack([yeojohnson(column_b, power) for column_b, power in columns])


def _power_of(column_b: np.ndarray) -> float:
    if len(np.unique(column_b)) <= 2:
        return 1.0
    _, power = yeojohnson(column_b)
    return float(power)
