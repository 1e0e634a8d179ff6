"""Reading of a public table as its authors published it: columns are found by name, values are converted to our units.

A :class:`Measured` or :class:`Coded` column states what a cell may hold. A cell that holds something else becomes NaN
and is counted in the flow, because a user cannot ask the authors of a public table to correct it.
"""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kicc_ml.cohort.flow import Flow
from kicc_ml.core.errors import UserError
from kicc_ml.core.path_names import find_name_fault
from kicc_ml.core.shown import make_printable

#: Words for yes and no, as different programs write them.
YES_NO: Mapping[str, float] = {
    **dict.fromkeys(("1", "1.0", "yes", "y", "true", "si", "sì"), 1.0),
    **dict.fromkeys(("0", "0.0", "no", "n", "false"), 0.0),
}
#: Words for the sex, with the codes of the clinical table of a repository: 1 for men.
SEX: Mapping[str, float] = {
    **dict.fromkeys(("m", "male", "man"), 1.0),
    **dict.fromkeys(("f", "female", "woman"), 0.0),
}
#: Words for an empty cell, in addition to those of :func:`kicc_ml.cohort.table_file.read_cells`.
EMPTY = frozenset({"", "none", "null", "unknown", "not known", "missing", "n/a", "nd", "-", "."})


@dataclass(frozen=True)
class Measured:
    """A published column of numbers.

    Attributes:
        name: our name for the column; it ends with our unit.
        low: the lowest plausible value, in our unit.
        high: the highest plausible value, in our unit.
        factor: the factor that converts a published number to our unit.
    """

    name: str
    low: float
    high: float
    factor: float = 1.0


@dataclass(frozen=True)
class Coded:
    """A published column of words.

    Attributes:
        name: our name for the column.
        codes: the number for each word, in small letters.
        empty: the number for an empty cell. It is 0 if the authors fill a cell only for patients who have the
            condition.
    """

    name: str
    codes: Mapping[str, float]
    empty: float = np.nan


def find_set_folder(root: str | Path | None, inside: str) -> Path:
    """Find the folder of a set: ``root`` itself, or the folder ``inside`` in it if there is one.

    Raises:
        UserError: no folder is given, or the path is not a folder.
    """
    if root is None or not str(root):
        raise UserError(f"no folder of the set is given: cohort.root=DIR, or KICC_DATA=DIR with {inside} in it")
    if not Path(root).is_dir():
        raise UserError(f"{root} is not a folder; give that of the set as cohort.root=DIR")
    nested = [entry for entry in sorted(Path(root).iterdir()) if entry.name.casefold() == inside.casefold()]
    return next(filter(Path.is_dir, nested), Path(root))


def find_file(folder: Path, names: Sequence[str]) -> Path | None:
    """Find the first of ``names`` that exists in a folder or its subfolders, in any capitals; None if none exists."""
    found: dict[str, Path] = {}
    for place in (folder, *sorted(entry for entry in folder.iterdir() if entry.is_dir())):
        for path in sorted(place.iterdir()) if os.access(place, os.R_OK | os.X_OK) else ():
            if path.is_file():
                found.setdefault(path.name.casefold(), path)
    return next((found[name.casefold()] for name in names if name.casefold() in found), None)


def require_file(folder: Path, names: Sequence[str]) -> Path:
    """Find the first of ``names`` that exists in a folder or its subfolders, in any capitals.

    Raises:
        UserError: none of the files exists; the message lists them.
    """
    path = find_file(folder, names)
    if path is None:
        raise UserError(
            f"{folder} holds none of {', '.join(names)}; lay the published table there, and give that folder"
        )
    return path


def normalize_column_name(name: str) -> str:
    """Reduce a column name to its letters and digits in lower case, because releases differ in the other characters."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def rename_columns(
    cells: pd.DataFrame, path: Path, columns: Collection[str], required: Collection[str]
) -> pd.DataFrame:
    """Select the known columns of a table and rename them to our spelling.

    Args:
        cells: the table as it was read.
        path: the file, for error messages.
        columns: the column names to select. A column of the table matches in any capitals and punctuation.
        required: the column names that must be present.

    Returns:
        The rows of ``cells`` with those of ``columns`` that are present, under the names in ``columns``.

    Raises:
        UserError: a required column is missing, or two columns match the same name.
    """
    meant = {normalize_column_name(name): name for name in columns}
    found: dict[str, str] = {}
    for column in map(str, cells):
        name = meant.get(normalize_column_name(column))
        if name is not None and name in found.values():
            raise UserError(f"{path}: two columns are spellings of {name}; remove one")
        if name is not None:
            found[column] = name
    if missing := [name for name in required if name not in found.values()]:
        raise UserError(f"{path}: column(s) missing: {', '.join(missing)}; found: {_some(list(map(str, cells)))}")
    return cells[list(found)].rename(columns=found)


def convert_columns(
    cells: pd.DataFrame, columns: Mapping[str, Measured | Coded], path: Path, flow: Flow
) -> pd.DataFrame:
    """Convert the cells of published columns to numbers.

    A cell without a number or a known word, and a number outside its plausible range, become NaN.

    Args:
        cells: the table under its published column names.
        columns: the description of each column, by published name. Columns that the table lacks are skipped.
        path: the file, for error messages.
        flow: receives the number of values that became NaN, by reason.

    Returns:
        One column per description, under our name, NaN where unknown.

    Raises:
        UserError: a column of words has filled cells, but none of them is a known word.
    """
    found = {}
    for published, column in columns.items():
        if published not in cells:
            continue
        filled = cells[published].map(lambda cell: isinstance(cell, str) and cell.casefold() not in EMPTY).astype(bool)
        text = cells[published].where(filled)
        values = _coded(text, column) if isinstance(column, Coded) else _measured(text, column, flow)
        strange = filled & values.isna()
        if isinstance(column, Coded):
            if filled.any() and strange.sum() == filled.sum():
                raise UserError(
                    f"{path}: column {published} holds no known value, for example {_example(text, strange)}"
                )
            _count(flow, f"values of {column.name} not known, now unknown", int(strange.sum()))
            values = values.where(filled, column.empty)
        found[column.name] = values
    return pd.DataFrame(found, index=cells.index)


def _coded(text: pd.Series, column: Coded) -> pd.Series:
    def code(cell: str) -> float:
        word = cell.casefold()
        return column.codes.get(word, column.codes.get("".join(word.split()), np.nan))

    return text.map(code, na_action="ignore").astype(float)


def _measured(text: pd.Series, column: Measured, flow: Flow) -> pd.Series:
    """Parse numbers and convert them to our unit. A comma is a decimal point; ``<5`` is read as 5."""
    plain = text.map(lambda cell: cell.replace(",", ".").lstrip("<>≤≥ "), na_action="ignore")
    numbers = pd.to_numeric(plain, errors="coerce").astype(float) * column.factor
    implausible = numbers.notna() & ~numbers.between(column.low, column.high)
    _count(flow, f"values of {column.name} not numbers, now unknown", int((text.notna() & numbers.isna()).sum()))
    _count(
        flow,
        f"values of {column.name} outside {column.low:g} to {column.high:g}, now unknown",
        int(implausible.sum()),
    )
    return numbers.mask(implausible)


def convert_to_rows(values: pd.DataFrame) -> list[dict[str, float]]:
    """Convert a decoded table to one dictionary per row."""
    return [{str(name): float(value) for name, value in row.items()} for row in values.to_dict("records")]


def drop_unusable_ids(cells: pd.DataFrame, column: str, flow: Flow) -> pd.DataFrame:
    """Select the rows with an id that can be the name of a results folder; count the others in the flow."""
    usable = cells[column].map(lambda cell: isinstance(cell, str) and not find_name_fault(cell)).astype(bool)
    if not usable.all():
        flow.excluded["no usable id"] += int((~usable).sum())
    return cells[usable]


def _count(flow: Flow, what: str, count: int) -> None:
    if count:
        flow.counts[what] += count


def _example(text: pd.Series, strange: pd.Series) -> str:
    return repr(make_printable(text[strange].iloc[0])[:40])


def _some(names: Sequence[str]) -> str:
    shown = [make_printable(name)[:40] for name in names[:12]]
    return ", ".join(shown) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
