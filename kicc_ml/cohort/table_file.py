"""Reading of table files: cells as text, each with its line; their meaning is not interpreted here."""

import codecs
import csv
import logging
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import pandas as pd
from python_calamine import CalamineError, CalamineWorkbook

from kicc_ml.core.errors import UserError
from kicc_ml.core.shown import make_printable, restore_formulas

logger = logging.getLogger(__name__)

EXCEL_SUFFIXES = (".xlsx", ".xlsm", ".xls")
#: The highest size of an unpacked workbook; a larger one is not a consortium's table, or is made to fill the memory.
MAX_EXCEL_BYTES = 2**28


class TableError(UserError):
    """The clinical table cannot be used; the message lists every reason.

    ``bad_cells`` are pairs of the place of a cell ("line 4, sex") and the allowed values, without the cell's content.
    """

    def __init__(self, message: str, bad_cells: Sequence[tuple[str, str]] = ()):
        super().__init__(message)
        self.bad_cells = tuple(bad_cells)


def read_cells(path: Path, header_line: int = 1) -> pd.DataFrame:
    """Read every cell of a CSV, parquet or Excel table as stripped text or None.

    The index is the line of the file or the row of the sheet (for parquet the number of the row). The apostrophe that
    prevents a spreadsheet from running a cell (``core.shown.escape_formulas``) is removed.

    Args:
        path: the table; for a workbook, its first sheet is read.
        header_line: which line, blank ones not counted, names the columns; earlier lines are left out. Not for parquet.

    Raises:
        TableError: the file does not exist, or is not such a table.
    """
    if not path.is_file():
        raise TableError(f"{path} does not exist; lay the clinical table there (docs/own-hospitals.md)")
    if path.suffix.lower() == ".parquet":
        cells = _read_parquet(path)
    elif path.suffix.lower() in EXCEL_SUFFIXES:
        cells = _as_table(path, _excel_rows(path)[header_line - 1 :])
    else:
        cells = _read_csv(path, header_line)
    return restore_formulas(cells.apply(lambda column: column.map(_stripped)).astype(object))


def row_word(path: Path) -> str:
    """Return the word for a row of this kind of file in messages: ``row`` or ``line``."""
    return "row" if path.suffix.lower() in (".parquet", *EXCEL_SUFFIXES) else "line"


def _stripped(cell: object) -> str | None:
    text = "" if pd.isna(cell) else str(cell).strip()  # type: ignore[call-overload] # any cell
    return None if text.lower() in ("", "na", "nan") else text


def _read_csv(path: Path, header_line: int) -> pd.DataFrame:
    try:
        lines = list(_csv_lines(path))[header_line - 1 :]
    except UnicodeDecodeError as error:
        raise TableError(f"{path} is not UTF-8 but {_likely_encoding(path)}; save it as 'CSV UTF-8'") from error
    if lines and len(lines[0][1]) == 1 and (other := next((mark for mark in ";\t" if mark in lines[0][1][0]), "")):
        raise TableError(f"{path}: cells are separated by {other!r}; save it as 'CSV UTF-8', separated by commas")
    return _as_table(path, lines)


def _as_table(path: Path, rows: Sequence[tuple[int, list[str]]]) -> pd.DataFrame:
    """Make a table from numbered rows; the first row names the columns."""
    if not rows:
        raise TableError(f"{path} is empty; the first line names the columns")
    columns = [name.strip() for name in rows[0][1]]
    if doubled := sorted({name for name in columns if columns.count(name) > 1}):
        raise TableError(f"{path}: column name(s) given twice: {', '.join(map(repr, doubled))}; rename or remove one")
    if uneven := [number for number, row in rows[1:] if len(row) != len(columns)]:
        raise TableError(
            f"{path}: {len(uneven)} line(s) do not have the first line's {len(columns)} cells, for example "
            f"line {uneven[0]}; put a cell that contains a comma in quotes"
        )
    return pd.DataFrame([row for _, row in rows[1:]], [number for number, _ in rows[1:]], columns)


def _likely_encoding(path: Path) -> str:
    """Guess the encoding of a table that is not UTF-8: Excel in Korea writes CP949, its 'Unicode text' is UTF-16."""
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "probably UTF-16"
    try:
        content.decode("cp949")
    except UnicodeDecodeError:
        return "in an encoding that is not known"
    return "probably CP949"


def _csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Read non-blank records with their first line number; ``utf-8-sig`` drops the byte order mark of Excel."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        start = 1
        for row in reader:
            if any(cell.strip() for cell in row):
                yield start, row
            start = reader.line_num + 1


def _excel_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Read the non-blank rows of the first sheet with their numbers; empty columns at the right are left out."""
    _refuse_huge(path)
    try:
        with CalamineWorkbook.from_path(path) as book:
            sheet, *others = book.sheet_names
            rows = book.get_sheet_by_index(0).to_python(skip_empty_area=False)
    except (CalamineError, OSError, ValueError) as error:
        raise TableError(f"{path} cannot be read as an Excel table: {error}; save it as 'CSV UTF-8'") from error
    if others:
        logger.warning("%s: only the first sheet is read, %s", path, make_printable(sheet))
    filled = [(number, [_excel_text(cell) for cell in row]) for number, row in enumerate(rows, 1)]
    filled = [(number, row) for number, row in filled if any(row)]
    width = max((column for _, row in filled for column, cell in enumerate(row, 1) if cell), default=0)
    return [(number, row[:width]) for number, row in filled]


def _refuse_huge(path: Path) -> None:
    """Raise TableError for a workbook that would not fit into memory; an ``.xls`` file is not compressed."""
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as parts:
            size = sum(part.file_size for part in parts.infolist())
    if size > MAX_EXCEL_BYTES:
        raise TableError(f"{path} unpacks to more than {MAX_EXCEL_BYTES} bytes, so it is not read; save it as CSV")


def _excel_text(cell: object) -> str:
    """Convert a cell to text as in a CSV: whole numbers without ``.0``, yes and no as 1 and 0, dates in ISO."""
    if isinstance(cell, bool):
        return str(int(cell))
    if isinstance(cell, float):
        return repr(int(cell)) if cell.is_integer() else repr(cell)
    if isinstance(cell, date):  # also a datetime
        return cell.isoformat().removesuffix("T00:00:00")
    return str(cell).strip()


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        typed = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise TableError(f"{path} cannot be read as parquet: {error}") from error
    typed.index = pd.RangeIndex(1, len(typed) + 1)
    # pandas stores whole numbers beside empty cells as float: patient 7 must not become "7.0".
    return typed.convert_dtypes().apply(
        lambda column: (
            column.dt.strftime("%Y-%m-%d")
            if pd.api.types.is_datetime64_any_dtype(column)
            else column.astype("Int64")
            if pd.api.types.is_bool_dtype(column)
            else column
        )
    )
