"""The clinical table of a repository: it is read, checked cell by cell, and converted to types.

The name of a column determines its content, so a hospital may add its own columns:

- ``site``, ``patient_id``, ``person_id``: identifiers, always text (leading zeros are part of them);
- ``age_years`` 0-120; ``sex`` ``M``/``F``; ``ct_scans``, ``cxr_images``: whole numbers;
- ``oxygen``, ``ventilation``, ``icu``, ``death``: endpoints, 0/1; ``*_date``: the ISO date of the column with the same
  name without ``_date`` (:mod:`kicc_ml.cohort.temporal_guard`);
- a name that ends with a unit (``crp_mg_l``): a number of at least 0;
- any other column: 0/1 if at least half of its filled cells are 0 or 1, else a number if at least half are numbers,
  else text. Text columns and register numbers such as telephone numbers (``hospital_no``) are left out with a warning.

Every cell except site and patient_id may be empty; ``NA`` and ``nan``, as R and pandas write them, count as empty.
"""

import logging
import re
from collections.abc import Collection, Sequence
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from kicc_ml.cohort.columns_file import find_columns_file, map_columns
from kicc_ml.cohort.site_names import known_sites, normalize_site_names
from kicc_ml.cohort.table_file import TableError, read_cells, row_word
from kicc_ml.core.shown import is_control_character, make_printable
from kicc_ml.core.types import ENDPOINTS, FURTHER_ENDPOINTS

logger = logging.getLogger(__name__)

Kind = Literal["site", "key", "identifier", "age", "sex", "count", "yes_no", "date", "number", "text"]

REQUIRED = ("site", "patient_id", "age_years", "sex")
#: How many images a patient has, as the hospital states it: for the summary, not a feature.
IMAGE_COUNTS = ("ct_scans", "cxr_images")
#: Columns that are always 0 or 1: a word in them is a mistake and does not make them text.
YES_NO = ("underlying_disease", "fever", "cough", *ENDPOINTS)
UNIT_AT_END = re.compile(
    r"_(1e9_l|1e12_l|[munp]?g_(m|d)?l|i?u_l|[mu]mol_l|mmhg|kpa|percent|seconds|hours|days|years|kg|kg_m2|cm"
    r"|celsius|per_min|l_min|mm_h|ratio|points)$"
)
#: A column with one of these words in its name is no feature: it is a treatment, given because of how ill a patient is,
#: or it tells what came later. A name that means neither has to be put otherwise.
LATER_WORDS = frozenset(
    (
        *("treatment", "therapy", "medication", "antibiotic", "antibiotics", "antiviral", "antivirals", "prophylaxis"),
        *("steroid", "steroids", "dexamethasone", "methylprednisolone", "remdesivir", "lopinavir", "kaletra"),
        *("hydroxychloroquine", "chloroquine", "interferon", "tocilizumab", "heparin", "plasma", "vasopressor"),
        *("intubation", "intubated", "ventilator", "hfnc", "cpap", "niv", "ecmo", "crrt", "dialysis", "prone"),
        *("los", "stay", "discharge", "discharged", "outcome", "survival", "survived", "died", "deceased", "mortality"),
        *("peak", "worst", "nadir", "highest", "lowest", "maximum", "final", "complication", "complications", "ards"),
    )
)
#: Columns that by their name number a person or a place, however short the number.
REGISTER = re.compile(r"(^|_)(id|no|nr|number|mrn|rrn|ssn|phone|telephone|tel|mobile|fax|zip|postcode)$")
#: Whole numbers from here on, in a column without a unit, are telephone or register numbers and no finding.
REGISTER_NUMBER_FROM = 100_000
MAX_AGE_YEARS = 120
#: A longer list of bad cells helps nobody; the rest is counted. The same for the lines of one patient.
SHOWN_CELLS, SHOWN_LINES = 20, 5

#: What is allowed of rows, not of a cell.
ONCE = "a patient (site, patient_id) once in the table"
ALLOWED: dict[Kind, str] = {
    "site": "the name of a hospital folder beside the table; lay an empty one for a small hospital without images",
    "key": "any text, not empty",
    "age": f"a number from 0 to {MAX_AGE_YEARS}, or empty",
    "sex": "M, F or empty",
    "count": "a whole number of at least 0, or empty",
    "yes_no": "0, 1 or empty; a measurement carries its unit in the column's name (crp_mg_l)",
    "date": "an ISO date (2020-03-09), or empty",
    "number": "a number of at least 0, or empty",
}


def read_clinical(path: Path, sites: Collection[str] | None = None, endpoints: Collection[str] = ()) -> pd.DataFrame:
    """Read and check a clinical table (CSV in UTF-8, parquet or Excel).

    Args:
        path: the table.
        sites: the hospital folders that exist. None skips the check of hospital names (a repository of tables only). A
            hospital of at least five patients may lack a folder, if every folder is named in the table.
        endpoints: additional 0/1 columns that are endpoints, beside ``ENDPOINTS`` and ``FURTHER_ENDPOINTS``.

    Returns:
        One row per patient: identifiers as text, ``sex`` as ``M``/``F``/None, dates as ``date`` or None, every other
        column float with NaN for empty. Text columns and register numbers are left out. The index is the line or row of
        the file. ``attrs["converted"]`` holds the number of values converted by ``columns.yaml``, by description;
        ``attrs["endpoints"]`` holds the endpoints of the table.

    Raises:
        TableError: the file is missing, empty, not UTF-8, lacks a required column, or has bad cells.
    """
    cells = read_clinical_cells(path)
    converted = cells.attrs.get("converted", {})
    if missing := [column for column in REQUIRED if column not in cells]:
        raise TableError(
            f"{path}: required column(s) missing: {', '.join(missing)}; found: {', '.join(map(str, cells))}. "
            "The first line names the columns, separated by commas"
        )
    if cells.empty:
        raise TableError(f"{path}: the table has no patients; give one line per patient below the column names")
    _refuse_names_that_act(path, [*map(str, cells), *cells["site"].dropna()])
    cells["site"] = normalize_site_names(cells["site"], sites)
    if unknown := sorted(set(endpoints) - set(map(str, cells))):
        raise TableError(f"{path} has no column {', '.join(unknown)}, which cohort.endpoints names")
    named = [*ENDPOINTS, *(name for name in (*FURTHER_ENDPOINTS, *endpoints) if name in cells)]
    kinds: dict[str, Kind] = {str(column): _kind(str(column), cells[column]) for column in cells}
    kinds |= {name: "yes_no" for name in named if name in cells}
    _refuse_bad_cells(path, cells, kinds, known_sites(path, cells["site"], sites))
    table = _typed(path, cells, kinds)
    table.attrs |= {"converted": converted, "endpoints": list(dict.fromkeys(named))}
    return table


def read_clinical_cells(path: Path) -> pd.DataFrame:
    """Read the cells of a clinical table as text, under our column names if a ``columns.yaml`` is beside it.

    Raises:
        TableError: as for :func:`read_clinical`.
    """
    cells, file = read_cells(path), find_columns_file(path)
    return cells if file is None else map_columns(cells, path, file)


def _refuse_names_that_act(path: Path, names: Sequence[str]) -> None:
    """Refuse control characters in names of hospitals and columns, because these names are printed in reports."""
    if found := next((name for name in names if any(map(is_control_character, name))), None):
        raise TableError(
            f"{path}: the name {make_printable(found)!r} of a hospital or column holds a line break, a control "
            "character or one that turns the direction of writing; rename it (a hospital's folder too)"
        )


def feature_names(table: pd.DataFrame) -> list[str]:
    """List the feature columns: age, sex, and numbers or 0/1 that are not endpoints, image counts or later columns."""
    left_out = {*REQUIRED, *endpoint_columns(table), *IMAGE_COUNTS, *later_columns(table)}
    others = [str(column) for column in table.select_dtypes("number") if column not in left_out]
    return ["age_years", "sex", *others]


def endpoint_columns(table: pd.DataFrame) -> list[str]:
    """List the endpoints of a table that :func:`read_clinical` read; for any other table, all known endpoints."""
    return table.attrs.get("endpoints", [*ENDPOINTS, *FURTHER_ENDPOINTS])


def is_register(name: str, cells: pd.Series) -> bool:
    """Tell whether a column holds register or telephone numbers, by its name or by the size of its numbers."""
    if REGISTER.search(name):
        return True
    if UNIT_AT_END.search(name) or not pd.api.types.is_numeric_dtype(cells):
        return False
    return bool(((cells >= REGISTER_NUMBER_FROM) & (cells % 1 == 0)).any())


def later_columns(table: pd.DataFrame) -> list[str]:
    """List the columns whose name contains a treatment or a later event (``LATER_WORDS``)."""
    numbers = [str(column) for column in table.select_dtypes("number") if column not in endpoint_columns(table)]
    return [column for column in numbers if LATER_WORDS & set(column.lower().split("_"))]


def features(table: pd.DataFrame) -> pd.DataFrame:
    """Select the columns of :func:`feature_names` as float; ``sex`` is 1 for men, 0 for women; NaN for unknown."""
    return table.assign(sex=table["sex"].map({"M": 1.0, "F": 0.0}))[feature_names(table)].astype(float)


def _kind(column: str, cells: pd.Series) -> Kind:
    named: dict[str, Kind] = {
        **dict.fromkeys(YES_NO, "yes_no"),
        **dict.fromkeys(IMAGE_COUNTS, "count"),
        **{"site": "site", "patient_id": "key", "person_id": "identifier", "age_years": "age", "sex": "sex"},
    }
    if column in named:
        return named[column]
    if column.endswith("_date"):
        return "date"
    if UNIT_AT_END.search(column):
        return "number"
    numbers = pd.to_numeric(cells.dropna(), errors="coerce")
    if numbers.isin([0, 1]).mean() >= 0.5:
        return "yes_no"
    return "number" if numbers.notna().mean() >= 0.5 else "text"


def _is_allowed(kind: Kind, cells: pd.Series, sites: Collection[str] | None) -> pd.Series:
    """Tell for each filled cell whether it is allowed."""
    if kind == "site":
        return cells.isin(list(sites)) if sites is not None else cells.notna()
    if kind == "sex":
        return cells.isin(["M", "F"])
    if kind == "date":
        return cells.map(_is_iso_date).astype(bool)
    numbers = pd.to_numeric(cells, errors="coerce")
    if kind == "yes_no":
        return numbers.isin([0, 1])
    if kind == "count":
        return (numbers >= 0) & (numbers % 1 == 0)
    return (numbers >= 0) & (numbers <= (MAX_AGE_YEARS if kind == "age" else np.finfo(float).max))


def _is_iso_date(cell: str) -> bool:
    try:
        date.fromisoformat(cell)
    except ValueError:
        return False
    return True


def _column_schema(kind: Kind, sites: Collection[str] | None) -> pa.Column:
    checks = []
    if kind in ALLOWED and kind != "key":
        checks = [pa.Check(lambda cells: _is_allowed(kind, cells, sites), error=ALLOWED[kind])]
    return pa.Column(None, checks, nullable=kind not in ("site", "key"))


def _refuse_bad_cells(path: Path, cells: pd.DataFrame, kinds: dict[str, Kind], sites: Collection[str] | None) -> None:
    once = pa.Check(
        lambda table: ~(table.duplicated(["site", "patient_id"], keep=False) & table["patient_id"].notna()),
        error=ONCE,
        ignore_na=False,
    )
    schema = pa.DataFrameSchema({name: _column_schema(kind, sites) for name, kind in kinds.items()}, once)
    try:
        schema.validate(cells, lazy=True)
    except SchemaErrors as errors:
        raise _bad_cells(path, errors.failure_cases, kinds, cells) from None


def _bad_cells(path: Path, failures: pd.DataFrame, kinds: dict[str, Kind], table: pd.DataFrame) -> TableError:
    """Make an error with one line per bad cell: its place, its content and the allowed values."""
    doubled = failures["check"] == ONCE
    failures = failures[~doubled | (failures["column"] == "patient_id")]  # pandera repeats the row per column
    unit = row_word(path)
    bad = failures.sort_values(["index", "column"]).to_dict("records")
    cells = [(f"{unit} {one['index']}, {one['column']}", _allowed(one, kinds, table, unit)) for one in bad]
    values = ["empty" if pd.isna(one["failure_case"]) else repr(one["failure_case"]) for one in bad]
    shown = [f"  {cell}: {value} (allowed: {allowed})" for (cell, allowed), value in zip(cells, values, strict=True)]
    more = [f"  ... and {len(bad) - SHOWN_CELLS} more"] if len(bad) > SHOWN_CELLS else []
    lines = [f"{path}: {len(bad)} bad cell(s); correct them:", *shown[:SHOWN_CELLS], *more]
    return TableError("\n".join(lines), cells)


def _allowed(failure: dict, kinds: dict[str, Kind], table: pd.DataFrame, unit: str) -> str:
    if failure["check"] == "not_nullable":
        return ALLOWED[kinds[failure["column"]]]
    if failure["check"] == ONCE:
        return f"{ONCE}, not on {unit}s {_lines_of_patient(table, failure['index'])}"
    return str(failure["check"])


def _lines_of_patient(table: pd.DataFrame, line: int) -> str:
    """List all lines of the patient on one line: ``2, 7 and 9``."""
    own = table.loc[line, ["site", "patient_id"]]
    lines = table.index[(table[["site", "patient_id"]] == own).all(axis=1)]
    shown, more = list(map(str, lines[:SHOWN_LINES])), len(lines) - SHOWN_LINES
    shown += [f"{more} more"] if more > 0 else []
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def _typed(path: Path, cells: pd.DataFrame, kinds: dict[str, Kind]) -> pd.DataFrame:
    if ignored := [column for column, kind in kinds.items() if kind == "text"]:
        logger.warning("%s: columns of text are not used: %s", path, ", ".join(ignored))
    dates = {column.removesuffix("_date") for column, kind in kinds.items() if kind == "date"} - {"admission"}
    if unused := sorted(dates - set(kinds)):
        names = ", ".join(f"{name}_date" for name in unused)
        logger.warning("%s: dates of no column are not used: %s; a value's date is named <column>_date", path, names)
    table = cells.drop(columns=ignored)
    for column in table:
        kind = kinds[str(column)]
        if kind == "date":
            table[column] = table[column].map(date.fromisoformat, na_action="ignore").astype(object)
        elif kind in ("age", "count", "yes_no", "number"):
            table[column] = pd.to_numeric(table[column]).astype(float)
    numbers = [column for column, kind in kinds.items() if kind == "number"]
    if registers := [column for column in numbers if is_register(column, table[column])]:
        logger.warning("%s: columns that number persons or places are not used: %s", path, ", ".join(registers))
    return table.drop(columns=registers)
