"""Foreign text where people read it: one function for each medium (terminal, page, figure, link, JSON, spreadsheet)."""

import json
import logging
import sys
import unicodedata
from collections.abc import Callable
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

import pandas as pd
from rich.markup import escape

#: Unicode categories that no reader sees: control characters, surrogates of undecodable bytes.
INVISIBLE = frozenset({"Cc", "Cs"})
#: Characters that turn the direction of what follows, by which one name can look like another.
DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
#: How a cell begins that a spreadsheet takes for a formula (OWASP, CSV injection), and how it is escaped. The last four
#: are full-width signs, which spreadsheets in Korean, Japanese and Chinese take for the plain ones.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
ESCAPE = "'"


def make_printable(text: object, *, lines: bool = False) -> str:
    """Foreign text for terminal and log: what is invisible or turns the direction is written as ``\\x1b``.

    ``lines`` keeps line breaks and tabs, for a message of several lines of our own.
    """
    kept = "\n\t" if lines else ""
    return "".join(
        character
        if character in kept or not is_control_character(character)
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in str(text)
    )


def is_control_character(character: str) -> bool:
    """Whether a character does something in place of being read: it steers a terminal or turns the direction."""
    return unicodedata.category(character) in INVISIBLE or character in DIRECTION


def escape_for_page(value: Any) -> Any:
    """Foreign text for a page, as ``finalize`` of jinja2, which then escapes it; markup of our own stays as it is."""
    own = not isinstance(value, str) or hasattr(value, "__html__")
    return value if own else make_printable(value, lines=True)


def escape_markup(text: object) -> str:
    """Foreign text for a Rich table or console, shown as it is: no tag in it changes a colour or ends another."""
    return escape(make_printable(text))


def say(text: object, *, to_stderr: bool = False) -> None:
    """Print a message of one or several lines that may quote foreign text; on request to standard error."""
    print(make_printable(text, lines=True), file=sys.stderr if to_stderr else sys.stdout, flush=True)


def format_count(count: int, one: str, several: str = "") -> str:
    """``1 patient``, ``2 patients``."""
    return f"{count} {one if count == 1 else several or one + 's'}"


def format_json(content: Any) -> str:
    """JSON for files and standard output, which is a terminal as often as a program. Raises ValueError for NaN."""
    return escape_json(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False))


def escape_json(text: str) -> str:
    """The same JSON, in which no character that is invisible or turns the direction stands as itself."""
    return "".join(
        f"\\u{ord(character):04x}" if is_control_character(character) and character != "\n" else character
        for character in text
    )


def escape_for_plot(text: object) -> str:
    """Foreign text for matplotlib, which takes what stands between two dollar signs for a formula.

    Letters are put together (NFC): no font joins the parts of Hangul that names from macOS come in.
    """
    return escape_for_picture(text).replace("$", r"\$")


def escape_for_picture(text: object) -> str:
    """Foreign text for a picture: see :func:`escape_for_plot`, without its dollar signs."""
    return make_printable(unicodedata.normalize("NFC", str(text)))


def make_link(path: PurePath | str) -> str:
    """A relative link to a file below the page: no name in it is a scheme, a query or a fragment."""
    return "./" + quote(PurePath(path).as_posix(), errors="surrogateescape")


def escape_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """A table for a CSV: texts and column names that a spreadsheet would run get an apostrophe in front.

    Reversible: a text of apostrophes and then a formula gets one more.
    """
    return _change_texts(table, escape_cell)


def restore_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """What :func:`escape_formulas` changed, changed back."""
    return _change_texts(table, restore_cell)


def escape_cell(text: str) -> str:
    return ESCAPE + text if text.lstrip(ESCAPE).startswith(FORMULA_STARTS) else text


def restore_cell(text: str) -> str:
    return text[1:] if text.startswith(ESCAPE) and text.lstrip(ESCAPE).startswith(FORMULA_STARTS) else text


class PlainTextFormatter(logging.Formatter):
    """Formats a log record so that no foreign name in it can steer the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return make_printable(super().format(record), lines=True)


class OncePerMessage(logging.Filter):
    """Lets each message through once: a cohort is read for every fold, and says the same of itself every time."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        new = message not in self.said
        self.said.add(message)
        return new


def _change_texts(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    def changed(cell: Any) -> Any:
        return change(cell) if isinstance(cell, str) else cell

    result = table.rename(columns=changed)
    for position, name in enumerate(result.columns):
        if not pd.api.types.is_numeric_dtype(table.dtypes.iloc[position]):
            result[name] = table.iloc[:, position].map(changed)
    return result
