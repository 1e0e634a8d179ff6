"""``columns.yaml`` beside a clinical table: from a hospital's column names, units and codes to ours.

Each entry is one of our columns, with the hospital's behind it::

    patient_id: Fallnummer
    site: {value: Heidelberg}
    sex: {column: Geschlecht, codes: {männlich: M, weiblich: F}}
    admission_date: {column: Aufnahme, date: "%d.%m.%Y"}
    crp_mg_l: {column: CRP, unit: mg/dL}
    creatinine_mg_dl: {column: Krea, unit: {Heidelberg: µmol/L, Mannheim: mg/dL}}

Where there is such a file, only the columns that it names are taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from kicc_ml.cohort.table_file import TableError, row_word
from kicc_ml.cohort.units import UnitError, converted
from kicc_ml.core.received import read_yaml
from kicc_ml.core.shown import make_printable

NAME = "columns.yaml"
#: Words that YAML reads as yes and no, unless they are in quotes.
WORDS_OF = {True: ("true", "yes", "on"), False: ("false", "no", "off")}


@dataclass(frozen=True)
class Source:
    """Where one of our columns comes from: a ``column`` of the table, or one ``value`` for all.

    ``unit`` is that of its numbers, or that of each hospital; ``codes`` says what its words stand for, ``date`` how its
    days are written (``%d.%m.%Y``).
    """

    column: str | None = None
    value: str | None = None
    unit: str | Mapping[str, str] | None = None
    codes: Mapping[str, str] | None = None
    date: str | None = None


def columns_file(table: Path) -> Path | None:
    """The file beside a table that says what its columns are; None where there is none."""
    path = table.parent / NAME
    return path if path.is_file() else None


def read_sources(path: Path) -> dict[str, Source]:
    """Our columns and where each comes from. Raises TableError for an entry that cannot be meant, by its name."""
    content = read_yaml(path, f"write it as README ('Your own hospitals') shows, or take {NAME} away")
    if not isinstance(content, dict) or not content:
        raise TableError(f"{path} names no columns; write one line for each, for example crp_mg_l: CRP")
    return {str(name): _source(path, str(name), entry) for name, entry in content.items()}


def _source(path: Path, name: str, entry: Any) -> Source:
    given = entry if isinstance(entry, dict) else {"column": entry}
    known = [field.name for field in fields(Source)]
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
    return Source(
        **plain,
        unit={_text(site): _text(one) for site, one in unit.items()} if isinstance(unit, dict) else unit,
        codes=None if codes is None else _words(codes),
    )


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value).strip()


def _words(codes: Mapping[Any, Any]) -> dict[str, str]:
    """What each word stands for, the words in small letters."""
    found: dict[str, str] = {}
    for word, meaning in codes.items():
        words = WORDS_OF[word] if isinstance(word, bool) else (str(word).strip().casefold(),)
        found |= dict.fromkeys(words, _text(meaning))
    return found


def mapped(cells: pd.DataFrame, table: Path, file: Path) -> pd.DataFrame:
    """The cells of a table under our names, with our codes, days in ISO and numbers in our units.

    ``attrs["converted"]`` of the result counts the values that were converted, in words.

    Raises:
        TableError: the file names a column that the table does not have, a word that stands for nothing, a day written
            otherwise, or a unit that cannot be converted.
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


def _spelt(column: pd.Series, name: str, source: Source, table: Path) -> pd.Series:
    """The column with our codes and ISO days."""
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
    """What was told of a column; raises TableError for filled cells of which nothing was."""
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
    """A day in ISO; Excel gives days so, whatever they look like there."""
    for one in (form, "%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"):
        try:
            return datetime.strptime(cell, one).date().isoformat()
        except ValueError:
            continue
    return None


def _in_our_unit(
    found: pd.DataFrame, name: str, unit: str | Mapping[str, str], file: Path, notes: dict[str, int]
) -> pd.Series:
    """A column of numbers as text in our unit; what is no number stays for the table's own check to name."""
    plain = found[name].map(lambda cell: cell.replace(",", ".") if isinstance(cell, str) else cell)
    numbers = pd.to_numeric(plain, errors="coerce").astype(float)
    told = found[name].copy()
    for place, stated in ({"": unit} if isinstance(unit, str) else unit).items():
        rows = numbers.notna() & (found["site"].eq(place) if place and "site" in found else True)
        try:
            new = converted(numbers[rows], name, stated)
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
