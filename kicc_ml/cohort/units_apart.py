"""Laboratory values of one hospital that lie a factor away from those of the others: most often another unit."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kicc_ml.cohort.clinical_table import UNIT_AT_END

#: From so many values on a hospital's distribution is compared.
LEAST_VALUES = 10
#: Medians of hospitals with patients of one disease differ by two or three; units of one quantity by more.
LEAST_FACTOR = 5.0


@dataclass(frozen=True)
class Apart:
    """Values of ``column`` at ``site`` are about ``factor`` times those of the other hospitals."""

    column: str
    site: str
    factor: float
    values: int

    @property
    def in_words(self) -> str:
        return f"{self.column}: the values of {self.site} are about {self.factor:.2g} times those of other hospitals"


def units_apart(table: pd.DataFrame) -> Iterator[Apart]:
    """Columns with a unit in their name, and the hospitals whose values lie a factor away from the others'.

    So it is where the hospital's median is ``LEAST_FACTOR`` times that of the other hospitals' medians, or that part of
    it, and the middle halves of both do not overlap. Of two hospitals alone nobody can say which is wrong: the one of
    fewer values is named.
    """
    for column in (str(column) for column in table.select_dtypes("number") if UNIT_AT_END.search(str(column))):
        positive = table[column].where(table[column] > 0)
        quartiles = positive.groupby(table["site"]).quantile(np.array([0.25, 0.5, 0.75])).unstack()
        counts = positive.groupby(table["site"]).count()
        enough = quartiles[counts >= LEAST_VALUES]
        found = [one for site in enough.index if (one := _apart(column, str(site), enough, counts))]
        yield from sorted(found, key=lambda one: one.values)[: 1 if len(enough) == 2 else None]


def _apart(column: str, site: str, quartiles: pd.DataFrame, counts: pd.Series) -> Apart | None:
    """What is to be said of one hospital beside the others; None where there is nothing."""
    own, others = quartiles.loc[site], quartiles.drop(index=site)
    if others.empty:
        return None
    middle = others.median()  # a second hospital in another unit moves it little
    factor = float(own[0.5] / middle[0.5])
    disjoint = own[0.25] > middle[0.75] or own[0.75] < middle[0.25]
    far = abs(np.log(factor)) >= np.log(LEAST_FACTOR)
    return Apart(column, site, factor, int(counts[site])) if far and disjoint else None
