"""Laboratory values whose unit hospitals did not state: told by each hospital's own median, never by an outcome.

A unit is told by where the middle of a hospital's values lies. Units of one quantity are a factor of ten or more apart,
while medians of hospitals with inpatients of one disease differ by two or three, so that of the units in use only one
brings the median near to what such patients have.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kicc_ml.cohort.flow import Flow

#: From so many values on a hospital's median tells its unit.
LEAST_VALUES = 10


@dataclass(frozen=True)
class Unstated:
    """A quantity whose unit is not stated: the ``usual`` median of inpatients and the plausible range, both in our
    unit, and by what values are multiplied to come to it, by the unit they are in.
    """

    usual: float
    factors: Mapping[str, float]
    low: float
    high: float

    def unit_of(self, values: pd.Series) -> str:
        """The unit whose factor brings the median of a hospital's values nearest to the usual one, by ratio."""
        median = float(values.median())
        return min(self.factors, key=lambda unit: abs(np.log(median * self.factors[unit] / self.usual)))


def in_our_units(values: pd.DataFrame, site: pd.Series, quantities: Mapping[str, Unstated], flow: Flow) -> pd.DataFrame:
    """The table with each hospital's values of ``quantities`` in our units.

    Where a hospital has fewer than ``LEAST_VALUES`` of one its unit cannot be told, and they become unknown, as do
    values that are implausible in the unit told. ``flow`` counts what was done, by hospital.
    """
    told = values.copy()
    for name in (name for name in quantities if name in values):
        for hospital, own in values[name].groupby(site):
            told.loc[own.index, name] = _told(own, f"values of {name} at {hospital}", quantities[name], flow)
    return told


def _told(own: pd.Series, what: str, quantity: Unstated, flow: Flow) -> pd.Series:
    """The values of one hospital in our unit."""
    known = own[own > 0]
    if len(known) < LEAST_VALUES:
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
