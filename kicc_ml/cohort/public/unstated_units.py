"""Laboratory values whose unit a hospital did not state: the unit is inferred from the hospital's median.

The units in use for one quantity differ by a factor of ten or more. The medians of hospitals that treat the same
disease differ by a factor of two or three. Therefore only one unit gives a median near the usual one. Outcomes are
never used.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kicc_ml.cohort.flow import Flow

#: A hospital needs at least this many values; with fewer its unit is not inferred.
MIN_VALUES = 10


@dataclass(frozen=True)
class UnstatedUnit:
    """A quantity whose unit is not stated in the table.

    Attributes:
        usual: the usual median of inpatients, in our unit.
        factors: for each possible unit, the factor that converts a value from that unit to our unit.
        low: the lowest plausible value, in our unit.
        high: the highest plausible value, in our unit.
    """

    usual: float
    factors: Mapping[str, float]
    low: float
    high: float

    def unit_of(self, values: pd.Series) -> str:
        """Choose the unit that brings the median of the hospital's values nearest to the usual median, by ratio."""
        median = float(values.median())
        return min(self.factors, key=lambda unit: abs(np.log(median * self.factors[unit] / self.usual)))


def convert_unstated_units(
    values: pd.DataFrame, site: pd.Series, quantities: Mapping[str, UnstatedUnit], flow: Flow
) -> pd.DataFrame:
    """Convert the values of ``quantities`` to our units, hospital by hospital.

    A hospital with fewer than ``LEAST_VALUES`` positive values of a quantity has an unknown unit; its values become
    NaN. Values outside the plausible range of the inferred unit become NaN too.

    Args:
        values: one row per patient, one column per quantity.
        site: the hospital of each row.
        quantities: the quantities without a stated unit, by column name.
        flow: receives the number of converted and removed values, by hospital.

    Returns:
        A copy of ``values`` in our units, NaN where unknown.
    """
    told = values.copy()
    for name in (name for name in quantities if name in values):
        for hospital, own in values[name].groupby(site):
            told.loc[own.index, name] = _convert_one_quantity(
                own, f"values of {name} at {hospital}", quantities[name], flow
            )
    return told


def _convert_one_quantity(own: pd.Series, what: str, quantity: UnstatedUnit, flow: Flow) -> pd.Series:
    """Convert the values of one quantity at one hospital to our unit."""
    known = own[own > 0]
    if len(known) < MIN_VALUES:
        if count := int(own.notna().sum()):
            flow.counts[f"{what} too few to tell their unit, now unknown"] += count
        return own * np.nan
    unit = quantity.unit_of(known)
    if quantity.factors[unit] != 1:
        flow.counts[f"{what} taken as {unit}"] += len(known)
    ours = own * quantity.factors[unit]
    strange = ours.notna() & ~ours.between(quantity.low, quantity.high)
    if strange.any():
        flow.counts[f"{what} outside {quantity.low:g} to {quantity.high:g}, now unknown"] += int(strange.sum())
    return ours.mask(strange)
