"""``columns.yaml`` beside a clinical table: it maps a hospital's column names, units and codes to ours.

Each entry begins with one of our columns, followed by the hospital's column::

    patient_id: Fallnummer
    site: {value: Heidelberg}
    sex: {column: Geschlecht, codes: {männlich: M, weiblich: F}}
    admission_date: {column: Aufnahme, date: "%d.%m.%Y"}
    crp_mg_l: {column: CRP, unit: mg/dL}
    creatinine_mg_dl: {column: Krea, unit: {Heidelberg: µmol/L, Mannheim: mg/dL}}

If the file exists, columns that it does not name are ignored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from kicc_ml.cohort.table_file import TableError, row_word
from kicc_ml.cohort.units import UnitError, convert_unit
from kicc_ml.core.received import read_yaml
from kicc_ml.core.shown import make_printable

NAME = "columns.yaml"
#: Words that YAML reads as yes and no, unless they are in quotes.
WORDS_OF = {True: ("true", "yes", "on"), False: ("false", "no", "off")}


@dataclass(frozen=True)
class ColumnSource:
    """The source of one of our columns: a ``column`` of the table, or one ``value`` for all patients.

    Attributes:
        column: the name of the hospital's column.
        value: one value for all patients.
        unit: the unit of the numbers, or the unit of each hospital.
        codes: our value for each word of the hospital.
        date: the format of the hospital's dates (``%d.%m.%Y``).
    """

    column: str | None = None
    value: str | None = None
    unit: str | Mapping[str, str] | None = None
    codes: Mapping[str, str] | None = None
    date: str | None = None


def find_columns_file(table: Path) -> Path | None:
    """Find the ``columns.yaml`` beside a table; None if there is none."""
    path = table.parent / NAME
    return path if path.is_file() else None


def read_sources(path: Path) -> dict[str, ColumnSource]:
    """Read the source of each of our columns. Raises TableError, with the column's name, for an invalid entry."""
    content = read_yaml(path, f"write it as docs/own-hospitals.md shows, or take {NAME} away")
    if not isinstance(content, dict) or not content:
        raise TableError(f"{path} names no columns; write one line for each, for example crp_mg_l: CRP")
    return {str(name): _source(path, str(name), entry) for name, entry in content.items()}


def _source(path: Path, name: str, entry: Any) -> ColumnSource:
    given = entry if isinstance(entry, dict) else {"column": entry}
    known = [field.name for field in fields(ColumnSource)]
    if unknown := [str(key) for key in given if key not in known]:
        raise TableError(f"{path}, {name}: {', '.join(unknown)} is unknown; an entry may have {', '.join(known)}")
    plain = {key: _text(given[key]) for key in ("column", "value", "date") if given.get(key) is not None}
    codes, unit = given.get("codes"), given.get("unit")
    if ("column" in plain) == ("value" in plain):
        raise TableError(f"{path}, {name}: give the column that it comes from, or one value for all patients")
    if not isinstance(codes, dict | None) or not isinstance(unit, str | dict | None):
        raise TableError(f"{path}, {name}: codes are written {{word: 1, other: 0}}, a unit as mg/dL or by hospital")
    if "date" in plain and not name.endswith("_date"):
        raise TableError(f"{path}, {name}: date is for columns of days, whose names end in _date")
    return ColumnSource(
        **plain,
        unit={_text(site): _text(one) for site, one in unit.items()} if isinstance(unit, dict) else unit,
        codes=None if codes is None else _words(codes),
    )


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value).strip()


def _words(codes: Mapping[Any, Any]) -> dict[str, str]:
    """Map each word, in small letters, to our value."""
    found: dict[str, str] = {}
    for word, meaning in codes.items():
        words = WORDS_OF[word] if isinstance(word, bool) else (str(word).strip().casefold(),)
        found |= dict.fromkeys(words, _text(meaning))
    return found


def map_columns(cells: pd.DataFrame, table: Path, file: Path) -> pd.DataFrame:
    """Convert the cells of a table to our column names, codes, ISO dates and units.

    Returns:
        The converted cells as text. ``attrs["converted"]`` holds the number of converted values, by description.

    Raises:
        TableError: the file names a column that the table lacks, or a cell has a word without a code, a date in another
            format, or a unit that cannot be converted.
    """
    sources = read_sources(file)
    wanted = {source.column for source in sources.values() if source.column}
    if missing := sorted(wanted - set(map(str, cells))):
        raise TableError(
            f"{file} names column(s) that {table.name} does not have: {', '.join(missing)}; it has "
            f"{', '.join(make_printable(column) for column in cells)}"
        )
    ours = {
        name: cells[source.column] if source.column else pd.Series(source.value, cells.index, dtype=object)
        for name, source in sources.items()
    }
    told = {name: _spelt(column, name, sources[name], table) for name, column in ours.items()}
    found = pd.DataFrame(told, cells.index)
    notes: dict[str, int] = {}
    for name, source in sources.items():
        if source.unit is not None:
            found[name] = _in_our_unit(found, name, source.unit, file, notes)
    found.attrs["converted"] = notes
    return found


def _spelt(column: pd.Series, name: str, source: ColumnSource, table: Path) -> pd.Series:
    """Convert a column to our codes and ISO dates."""
    told: list[str | None]
    if source.codes is not None:
        codes = source.codes
        told = [codes.get(cell.casefold()) if isinstance(cell, str) else None for cell in column]
        allowed = f"{', '.join(codes)}, or empty; or name the word under codes in {NAME}"
        return _require(column, told, name, table, allowed)
    if source.date is not None:
        told = [_iso_day(cell, source.date) if isinstance(cell, str) else None for cell in column]
        return _require(column, told, name, table, f"a day as {source.date}, as {NAME} says, or empty")
    return column


def _require(column: pd.Series, told: Sequence[str | None], name: str, table: Path, allowed: str) -> pd.Series:
    """Return the converted column. Raises TableError if a filled cell could not be converted."""
    meant = pd.Series(list(told), column.index, dtype=object)
    if (lost := column.notna() & meant.isna()).any():
        bad = [(f"{row_word(table)} {row}, {name}", column[row]) for row in column.index[lost]]
        where, cell = bad[0]
        raise TableError(
            f"{table}: {len(bad)} bad cell(s); correct them, the first: {where}: {make_printable(cell)!r} "
            f"(allowed: {allowed})",
            [(place, allowed) for place, _ in bad],
        )
    return meant


def _iso_day(cell: str, form: str) -> str | None:
    """Convert a date to ISO format. Excel dates arrive in ISO format, in any display format."""
    for one in (form, "%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"):
        try:
            return datetime.strptime(cell, one).date().isoformat()
        except ValueError:
            continue
    return None


def _in_our_unit(
    found: pd.DataFrame, name: str, unit: str | Mapping[str, str], file: Path, notes: dict[str, int]
) -> pd.Series:
    """Convert a column of numbers to our unit, as text. Other cells stay; the later check of the table reports them."""
    plain = found[name].map(lambda cell: cell.replace(",", ".") if isinstance(cell, str) else cell)
    numbers = pd.to_numeric(plain, errors="coerce").astype(float)
    told = found[name].copy()
    for place, stated in ({"": unit} if isinstance(unit, str) else unit).items():
        rows = numbers.notna() & (found["site"].eq(place) if place and "site" in found else True)
        try:
            new = convert_unit(numbers[rows], name, stated)
        except UnitError as error:
            raise TableError(f"{file}, {name}: {error}") from error
        told[rows] = [f"{number:.12g}" for number in new]
        at = f" at {make_printable(place)}" if place else ""
        notes[f"values of {name}{at} converted from {make_printable(stated)}"] = int(rows.sum())
    hospitals = set(found["site"].dropna()) if "site" in found else set()
    if not isinstance(unit, str) and (left := sorted(hospitals - set(unit))):
        raise TableError(
            f"{file}, {name}: no unit is given for {', '.join(map(make_printable, left))}; give one for all"
        )
    return told
