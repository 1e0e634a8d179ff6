"""Units of the clinical table: from the one that a hospital states to the one in which our columns are named."""

import re
from functools import cache
from typing import Any

import pandas as pd

#: What the end of a column's name means, as pint writes it.
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
#: Grams per mole of what laboratories give as mass and as amount, by the name before the unit (CRC Handbook).
MOLAR_MASS = {
    "creatinine": 113.12,
    "urea": 60.06,
    "urea_nitrogen": 28.01,
    "bun": 28.01,
    "glucose": 180.16,
    "bilirubin": 584.66,
    "lactate": 90.08,
    "cholesterol": 386.65,
    "hemoglobin": 16114.0,  # one chain, as laboratories count
    "calcium": 40.08,
    "iron": 55.85,
}
#: How hospitals write units, in small letters, turned into what pint reads, in this order.
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
#: Cells are counted in giga per litre too, which are no grams.
COUNTED = {"1e9/L": {"g/L": "1e9/L", "t/L": "1e12/L"}, "1e12/L": {"g/L": "1e9/L", "t/L": "1e12/L"}}
#: With a zero of their own: a number in them is no multiple of one.
WITH_OFFSET = ("degC", "degF")
#: What a unit looks like then; a parser is shown nothing else, since ``9**9**9`` would keep it for ever.
FORM = re.compile(r"(?:1(?:e\d{1,2})?|[A-Za-z]{1,13})(?:/[A-Za-z]{1,4}(?:\*\*2)?)?")


UNKNOWN = "is no unit that is known; write it as mg/dL, mmol/L, 10^9/L, /µL, U/L, °F"


class UnitError(ValueError):
    """A unit that is none, or of another quantity; the message says which."""


def unit_in_name(column: str) -> str | None:
    """The unit at the end of a column's name, as pint writes it; None where it has none."""
    endings = [ending for ending in UNIT_OF_ENDING if column.endswith(f"_{ending}")]
    return UNIT_OF_ENDING[max(endings, key=len)] if endings else None


def converted(values: pd.Series, column: str, stated: str) -> pd.Series:
    """Numbers in a ``stated`` unit as numbers in that of the column's name. Raises UnitError where that cannot be."""
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
    except Exception as error:  # what a parser of units makes of any text
        raise UnitError(f"{stated!r} {UNKNOWN}") from error


def _spelt(stated: str, ours: str) -> str:
    """A unit as pint reads it."""
    text = stated.strip().casefold()[:50]
    for pattern, replacement in SPELLINGS:
        text = re.sub(pattern, replacement, text)
    return COUNTED.get(ours, {}).get(text, text)


def _to(quantity: Any, column: str, ours: str, of_another_kind: type[Exception]) -> Any:
    """The numbers of a quantity in our unit; of a known substance an amount becomes a mass, and the other way round."""
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
    """The units of pint and its errors; loaded where a table states units, since that takes a second."""
    import pint

    return pint.UnitRegistry(), pint
