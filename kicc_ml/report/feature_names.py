"""Name the columns of a clinical table as a reader writes them, and format their values."""

import re

import numpy as np

from kicc_ml.cohort.clinical_table import UNIT_AT_END
from kicc_ml.evaluation.text import make_heading

#: How units at the end of a column's name are written, where that is not as in the name.
UNITS = {
    **{"1e9_l": "10⁹/L", "1e12_l": "10¹²/L", "u_l": "U/L", "iu_l": "IU/L", "mmhg": "mmHg", "kpa": "kPa"},
    **{"percent": "%", "seconds": "s", "hours": "h", "kg_m2": "kg/m²", "celsius": "°C", "per_min": "per min"},
    **{"ml_per_min": "mL/min", "l_min": "L/min", "mm_h": "mm/h"},
}
#: Names that are not written like words.
ABBREVIATIONS = {
    **{"copd": "COPD", "pao2": "PaO₂", "paco2": "PaCO₂", "sao2": "SaO₂", "spo2": "SpO₂", "fio2": "FiO₂"},
    **{"arterial_ph": "Arterial pH", "ph": "pH", "d_dimer": "D-dimer", "d_dimer_ddu": "D-dimer (DDU)", "egfr": "eGFR"},
    **{"hba1c": "HbA1c", "nt_probnp": "NT-proBNP", "troponin_t": "Troponin T", "troponin_i": "Troponin I"},
    **{
        "arb_at_home": "ARB at home",
        "nsaid_at_home": "NSAID at home",
        "ace_inhibitor_at_home": "ACE inhibitor at home",
    },
}
#: Maximum letters of an abbreviation that is written in capitals, such as CRP, LDH, AST.
MAX_ABBREVIATION_LETTERS = 3
#: Values from here on are shown as whole numbers.
WHOLE_FROM = 100
CONCENTRATION = re.compile(r"[munp]?(g|mol)_[md]?l")


def name_feature(feature: str) -> str:
    """Name a column with its unit.

    Args:
        feature: the name of the column, such as ``crp_mg_l``.

    Returns:
        ``CRP, mg/L``: a short name is an abbreviation in capitals.
    """
    found = UNIT_AT_END.search(feature)
    ending = found[1] if found else ""
    if ending == "per_min" and feature.endswith("_ml_per_min"):
        ending = "ml_per_min"
    analyte = feature.removesuffix(f"_{ending}") if ending else feature
    return f"{_name_analyte(analyte)}, {_name_unit(ending)}" if ending else _name_analyte(analyte)


def _name_analyte(analyte: str) -> str:
    short = len(analyte) <= MAX_ABBREVIATION_LETTERS
    return ABBREVIATIONS.get(analyte) or (analyte.upper() if short else make_heading(analyte))


def _name_unit(ending: str) -> str:
    if CONCENTRATION.fullmatch(ending):
        amount, volume = ending.split("_")
        prefix = "µ" if amount[0] == "u" else amount[0]
        return f"{prefix}{amount[1:]}/{volume[:-1]}L"
    return UNITS.get(ending, ending)


def format_value(value: float) -> str:
    """Format a value with three digits, or as a whole number, never with an exponent.

    Args:
        value: such as a median.

    Returns:
        ``1.03``, ``30.4``, ``1662``.
    """
    if abs(value) >= WHOLE_FROM:
        return f"{value:.0f}"
    return np.format_float_positional(value, precision=3, unique=False, fractional=False, trim="-")
