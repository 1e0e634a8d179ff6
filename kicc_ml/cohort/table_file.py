"""The cells of a table file as text, each with the line it stands on; what they mean is another matter."""

import codecs
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from kicc_ml.core.errors import UserError
from kicc_ml.core.shown import restore_formulas


class TableError(UserError):
    """The clinical table cannot be used; the message lists every reason at once.

    ``bad_cells`` are pairs of where a cell stands ("line 4, sex") and what is allowed there, without what it holds.
    """

    def __init__(self, message: str, bad_cells: Sequence[tuple[str, str]] = ()):
        super().__init__(message)
        self.bad_cells = tuple(bad_cells)


def read_cells(path: Path) -> pd.DataFrame:
    """Every cell as stripped text or None, indexed by the line of the file (row number for parquet).

    An apostrophe that keeps a spreadsheet from running a cell (``core.shown.escape_formulas``) is none of it.
    """
    if not path.is_file():
        raise TableError(f"{path} does not exist; lay the clinical table there (README, 'Your own hospitals')")
    cells = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    return restore_formulas(cells.apply(lambda column: column.map(_stripped)).astype(object))


def _stripped(cell: object) -> str | None:
    text = "" if pd.isna(cell) else str(cell).strip()  # type: ignore[call-overload] # any cell
    return None if text.lower() in ("", "na", "nan") else text


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        lines = list(_csv_lines(path))
    except UnicodeDecodeError as error:
        raise TableError(f"{path} is not UTF-8 but {_likely_encoding(path)}; save it as 'CSV UTF-8'") from error
    if not lines:
        raise TableError(f"{path} is empty; the first line names the columns")
    columns = [name.strip() for name in lines[0][1]]
    if len(columns) == 1 and (other := next((mark for mark in ";\t" if mark in columns[0]), "")):
        raise TableError(f"{path}: cells are separated by {other!r}; save it as 'CSV UTF-8', separated by commas")
    if doubled := sorted({name for name in columns if columns.count(name) > 1}):
        raise TableError(f"{path}: column name(s) given twice: {', '.join(map(repr, doubled))}; rename or remove one")
    if uneven := [number for number, row in lines[1:] if len(row) != len(columns)]:
        raise TableError(
            f"{path}: {len(uneven)} line(s) do not have the first line's {len(columns)} cells, for example "
            f"line {uneven[0]}; put a cell that contains a comma in quotes"
        )
    return pd.DataFrame([row for _, row in lines[1:]], [number for number, _ in lines[1:]], columns)


def _likely_encoding(path: Path) -> str:
    """What a table that is no UTF-8 was probably written in: Excel in Korea writes CP949, its 'Unicode text' UTF-16."""
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "probably UTF-16"
    try:
        content.decode("cp949")
    except UnicodeDecodeError:
        return "in an encoding that is not known"
    return "probably CP949"


def _csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Non-blank records with the line they start on; ``utf-8-sig`` drops the byte order mark of Excel."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        start = 1
        for row in reader:
            if any(cell.strip() for cell in row):
                yield start, row
            start = reader.line_num + 1


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        typed = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise TableError(f"{path} cannot be read as parquet: {error}") from error
    typed.index = pd.RangeIndex(1, len(typed) + 1)
    # A whole number beside empty cells is stored as float: a patient must not become "7.0".
    return typed.convert_dtypes().apply(
        lambda column: (
            column.dt.strftime("%Y-%m-%d")
            if pd.api.types.is_datetime64_any_dtype(column)
            else column.astype("Int64")
            if pd.api.types.is_bool_dtype(column)
            else column
        )
    )
