"""Laboratory values of one hospital that differ by a large factor from the others, most often due to another unit."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kicc_ml.cohort.clinical_table import UNIT_AT_END

#: A hospital needs at least this many values to be compared.
LEAST_VALUES = 10
#: Medians of hospitals with the same disease differ by a factor of two or three; units of one quantity differ by more.
LEAST_FACTOR = 5.0


@dataclass(frozen=True)
class UnitMismatch:
    """A column at one hospital whose values are about ``factor`` times those of the other hospitals."""

    column: str
    site: str
    factor: float
    values: int

    @property
    def in_words(self) -> str:
        """The finding in words."""
        return f"{self.column}: the values of {self.site} are about {self.factor:.2g} times those of other hospitals"


def find_unit_mismatches(table: pd.DataFrame) -> Iterator[UnitMismatch]:
    """Find hospitals whose values of a column with a unit differ by a large factor from those of the other hospitals.

    A hospital is reported if its median is at least ``LEAST_FACTOR`` times the median of the other hospitals' medians,
    or at most the inverse of that, and the interquartile ranges do not overlap. If only two hospitals are compared, the
    one with fewer values is reported, because the wrong one is unknown.
    """
    for column in (str(column) for column in table.select_dtypes("number") if UNIT_AT_END.search(str(column))):
        positive = table[column].where(table[column] > 0)
        quartiles = positive.groupby(table["site"]).quantile(np.array([0.25, 0.5, 0.75])).unstack()
        counts = positive.groupby(table["site"]).count()
        enough = quartiles[counts >= LEAST_VALUES]
        found = [one for site in enough.index if (one := _apart(column, str(site), enough, counts))]
        yield from sorted(found, key=lambda one: one.values)[: 1 if len(enough) == 2 else None]


def _apart(column: str, site: str, quartiles: pd.DataFrame, counts: pd.Series) -> UnitMismatch | None:
    """Compare one hospital with the others; None if there is nothing to report."""
    own, others = quartiles.loc[site], quartiles.drop(index=site)
    if others.empty:
        return None
    middle = others.median()  # the median of medians changes little if a second hospital has another unit
    factor = float(own[0.5] / middle[0.5])
    disjoint = own[0.25] > middle[0.75] or own[0.75] < middle[0.25]
    far = abs(np.log(factor)) >= np.log(LEAST_FACTOR)
    return UnitMismatch(column, site, factor, int(counts[site])) if far and disjoint else None
