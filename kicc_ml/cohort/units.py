"""Conversion of clinical values from the unit that a hospital states to the unit in the name of our column."""

import re
from functools import cache
from typing import Any

import pandas as pd

#: The unit for the end of a column name, as pint writes it.
UNIT_OF_ENDING = {
    "1e9_l": "1e9/L",
    "1e12_l": "1e12/L",
    "u_l": "U/L",
    "iu_l": "U/L",
    "mmhg": "mmHg",
    "kpa": "kPa",
    "percent": "percent",
    "seconds": "s",
    "hours": "hour",
    "days": "day",
    "years": "year",
    "kg": "kg",
    "kg_m2": "kg/m**2",
    "cm": "cm",
    "celsius": "degC",
    "per_min": "1/min",
    "l_min": "L/min",
    "mm_h": "mm/hour",
    "ratio": "dimensionless",
    "points": "dimensionless",
    **{f"{mass}_{volume}": f"{mass}/{liquid}" for mass in ("g", "mg", "ug", "ng", "pg")
       for volume, liquid in (("l", "L"), ("dl", "dL"), ("ml", "mL"))},
    **{f"{amount}_l": f"{amount}/L" for amount in ("mmol", "umol")},
}  # fmt: skip
#: Grams per mole of substances that laboratories report as mass or as amount, by name without unit (CRC Handbook).
MOLAR_MASS = {
    "creatinine": 113.12,
    "urea": 60.06,
    "urea_nitrogen": 28.01,
    "bun": 28.01,
    "glucose": 180.16,
    "bilirubin": 584.66,
    "lactate": 90.08,
    "cholesterol": 386.65,
    "hemoglobin": 16114.0,  # one chain, as laboratories report it
    "calcium": 40.08,
    "iron": 55.85,
}
#: Hospital spellings of units, in small letters, with their replacements for pint, applied in this order.
SPELLINGS = (
    (r"[µμ]", "u"),
    (r"\s+", ""),
    (r"^mm\[?hg\]?$", "mmHg"),
    (r"^kpa$", "kPa"),
    (r"^°?c$|^deg(ree)?s?c$|^celsius$", "degC"),
    (r"^°?f$|^deg(ree)?s?f$|^fahrenheit$", "degF"),
    (r"^%$", "percent"),
    (r"^bpm$", "1/min"),
    (r"^(?:[x×*·])?10(?:\^|\*\*?|e)\+?(\d+)(?=/)", r"1e\1"),
    (r"^(?:tsd\.?|k|thou)(?=/[um]?l$)", "1e3"),
    (r"^(?:mio\.?|m)(?=/ul$)", "1e6"),
    (r"^(?:cells?|zellen|n)?(?=/)", "1"),
    (r"^(m?)(?:iu|ui|u)(?=/)", r"\1U"),
    (r"(?<=/)(?:mm3|mm\^3|cmm)$", "uL"),
    (r"(?<=/)([dmun]?)l$", r"\1L"),
    (r"(?<=/)h$", "hour"),
    (r"(?<=/)m(?:\^|\*\*)?2$", "m**2"),
)
#: Cell counts are also written in giga per litre, which must not be read as grams.
COUNTED = {"1e9/L": {"g/L": "1e9/L", "t/L": "1e12/L"}, "1e12/L": {"g/L": "1e9/L", "t/L": "1e12/L"}}
#: Units with their own zero point: a number in them is not a multiple of the unit.
WITH_OFFSET = ("degC", "degF")
#: The form of a unit after replacement. Nothing else reaches the parser, because ``9**9**9`` would block it forever.
FORM = re.compile(r"(?:1(?:e\d{1,2})?|[A-Za-z]{1,13})(?:/[A-Za-z]{1,4}(?:\*\*2)?)?")


UNKNOWN = "is no unit that is known; write it as mg/dL, mmol/L, 10^9/L, /µL, U/L, °F"


class UnitError(ValueError):
    """A unit that is unknown or belongs to another quantity; the message says which."""


def unit_in_name(column: str) -> str | None:
    """Find the unit at the end of a column name, as pint writes it; None if there is none."""
    endings = [ending for ending in UNIT_OF_ENDING if column.endswith(f"_{ending}")]
    return UNIT_OF_ENDING[max(endings, key=len)] if endings else None


def convert_unit(values: pd.Series, column: str, stated: str) -> pd.Series:
    """Convert numbers from a ``stated`` unit to the unit in the column name. Raises UnitError if that is impossible."""
    ours = unit_in_name(column)
    if ours is None:
        raise UnitError(f"the name {column} ends in no unit, so nothing is converted to it; leave unit out")
    spelt = _spelt(stated, ours)
    if not FORM.fullmatch(spelt):
        raise UnitError(f"{stated!r} {UNKNOWN}")
    registry, pint = _registry()
    try:
        offset = spelt in WITH_OFFSET
        unit = registry.parse_units(spelt) if offset else registry.parse_expression(spelt)
        numbers = values.to_numpy(float)
        quantity = registry.Quantity(numbers, unit) if offset else numbers * unit
        return pd.Series(_to(quantity, column, ours, pint.DimensionalityError), values.index)
    except pint.DimensionalityError as error:
        raise UnitError(f"{stated!r} cannot become {ours}: it is of another quantity") from error
    except Exception as error:  # the parser can raise any exception for arbitrary text
        raise UnitError(f"{stated!r} {UNKNOWN}") from error


def _spelt(stated: str, ours: str) -> str:
    """Rewrite a unit in the spelling of pint."""
    text = stated.strip().casefold()[:50]
    for pattern, replacement in SPELLINGS:
        text = re.sub(pattern, replacement, text)
    return COUNTED.get(ours, {}).get(text, text)


def _to(quantity: Any, column: str, ours: str, of_another_kind: type[Exception]) -> Any:
    """Convert a quantity to our unit, also between mass and amount of a known substance."""
    count, _, volume = ours.partition("/")
    if count.startswith("1e"):  # pint knows no unit with a factor
        return quantity.to(f"1/{volume}").magnitude / float(count)
    try:
        return quantity.to(ours).magnitude
    except of_another_kind:
        substances = [name for name in MOLAR_MASS if column == name or column.startswith(f"{name}_")]
        if not substances:
            raise
        grams_per_mole = MOLAR_MASS[max(substances, key=len)]
        return quantity.to(ours, "chemistry", mw=quantity._REGISTRY.Quantity(grams_per_mole, "g/mol")).magnitude


@cache
def _registry() -> tuple[Any, Any]:
    """Load the unit registry of pint and the module; only when needed, because that takes a second."""
    import pint

    return pint.UnitRegistry(), pint
