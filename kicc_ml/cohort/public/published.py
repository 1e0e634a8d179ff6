"""A public table as its authors published it: found by its names, spellings forgiven, values in our units or unknown.

What a cell may hold is said by a :class:`Measured` or :class:`Coded` column. A cell that holds something else becomes
unknown and is counted in the flow, since the authors of a public table cannot be asked to correct it.
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

#: Words for yes and no, as tables of several programs write them.
YES_NO: Mapping[str, float] = {
    **dict.fromkeys(("1", "1.0", "yes", "y", "true", "si", "sì"), 1.0),
    **dict.fromkeys(("0", "0.0", "no", "n", "false"), 0.0),
}
#: As in the clinical table of a repository: 1 for men.
SEX: Mapping[str, float] = {
    **dict.fromkeys(("m", "male", "man"), 1.0),
    **dict.fromkeys(("f", "female", "woman"), 0.0),
}
#: What stands for an empty cell beside those of :func:`kicc_ml.cohort.table_file.read_cells`.
EMPTY = frozenset({"", "none", "null", "unknown", "not known", "missing", "n/a", "nd", "-", "."})


@dataclass(frozen=True)
class Measured:
    """A column of numbers: our ``name``, which ends in our unit, the plausible range in that unit, and by what a
    published number is multiplied to come to it.
    """

    name: str
    low: float
    high: float
    factor: float = 1.0


@dataclass(frozen=True)
class Coded:
    """A column of words: our ``name``, what each word (in small letters) stands for, and what an empty cell does.

    ``empty`` is 0 where a set marks those alone who have something.
    """

    name: str
    codes: Mapping[str, float]
    empty: float = np.nan


def folder_of(root: str | Path | None, inside: str) -> Path:
    """The folder of a set: the one given, or ``inside`` of it where the user's folder of all public data is given.

    Raises:
        UserError: nothing is given, or it is no folder.
    """
    if root is None or not str(root):
        raise UserError(f"no folder of the set is given: cohort.root=DIR, or KICC_DATA=DIR with {inside} in it")
    if not Path(root).is_dir():
        raise UserError(f"{root} is not a folder; give that of the set as cohort.root=DIR")
    nested = [entry for entry in sorted(Path(root).iterdir()) if entry.name.casefold() == inside.casefold()]
    return next(filter(Path.is_dir, nested), Path(root))


def find_file(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of ``names`` that lies in the folder or one below it, whatever its capitals; None where none does."""
    found: dict[str, Path] = {}
    for place in (folder, *sorted(entry for entry in folder.iterdir() if entry.is_dir())):
        for path in sorted(place.iterdir()) if os.access(place, os.R_OK | os.X_OK) else ():
            if path.is_file():
                found.setdefault(path.name.casefold(), path)
    return next((found[name.casefold()] for name in names if name.casefold() in found), None)


def require_file(folder: Path, names: Sequence[str]) -> Path:
    """The same; raises UserError that names what should lie there."""
    path = find_file(folder, names)
    if path is None:
        raise UserError(
            f"{folder} holds none of {', '.join(names)}; lay the published table there, and give that folder"
        )
    return path


def loose(name: str) -> str:
    """A column name without what differs between releases: capitals, blanks, ``_``, ``-`` and other signs."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def spelt(cells: pd.DataFrame, path: Path, columns: Collection[str], required: Collection[str]) -> pd.DataFrame:
    """The table with those of ``columns`` that it has, under the names given there however they are spelt in it.

    Raises:
        UserError: a ``required`` column is not there, or two columns are spellings of one.
    """
    meant = {loose(name): name for name in columns}
    found: dict[str, str] = {}
    for column in map(str, cells):
        name = meant.get(loose(column))
        if name is not None and name in found.values():
            raise UserError(f"{path}: two columns are spellings of {name}; remove one")
        if name is not None:
            found[column] = name
    if missing := [name for name in required if name not in found.values()]:
        raise UserError(f"{path}: column(s) missing: {', '.join(missing)}; found: {_some(list(map(str, cells)))}")
    return cells[list(found)].rename(columns=found)


def decoded(cells: pd.DataFrame, columns: Mapping[str, Measured | Coded], path: Path, flow: Flow) -> pd.DataFrame:
    """Values of ``columns`` (by published name) as numbers under our names, NaN where unknown; absent ones are absent.

    Values that are no number or no known word, and numbers outside their plausible range, become unknown; ``flow``
    counts them.

    Raises:
        UserError: a column holds values, and not one that is known: it is another column, or coded otherwise.
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
    """Numbers in our unit. A comma is a decimal point, and what is beyond a detection limit (``<5``) is that limit."""
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


def records(values: pd.DataFrame) -> list[dict[str, float]]:
    """The rows of a decoded table, as a case holds them."""
    return [{str(name): float(value) for name, value in row.items()} for row in values.to_dict("records")]


def known_ids(cells: pd.DataFrame, column: str, flow: Flow) -> pd.DataFrame:
    """The rows with an id that can name a folder of results; the others are left out, and counted."""
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
