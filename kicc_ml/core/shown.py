"""Make foreign text safe to show: one function per medium (terminal, page, Markdown, plot, link, JSON, spreadsheet)."""

import json
import logging
import re
import sys
import unicodedata
from collections.abc import Callable
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    import pandas as pd

#: Unicode categories of invisible characters: control characters, and surrogates of bytes that cannot be decoded.
INVISIBLE = frozenset({"Cc", "Cs"})
#: Characters that change the direction of the following text, by which one name can look like another.
DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
#: First characters of a cell that a spreadsheet runs as a formula (OWASP, CSV injection), and the escape. The last
#: four are full-width signs, which Korean, Japanese and Chinese spreadsheets treat as the plain ones.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
ESCAPE = "'"
#: Characters that can be markup anywhere in a line of Markdown, and addresses that GitHub makes links of.
MARKDOWN_SIGNS = re.compile(r"[\\`*_\[\]|~$@]|:(?=//)|(?<=www)\.", re.IGNORECASE)
#: What makes a heading, a list, a rule or a quotation at the start of a line; its last character is escaped.
MARKDOWN_START = re.compile(r"^(?:\d+[.)](?=\s|$)|[-+](?=[-+\s]|$)|=|#(?=[#\s]|$))")


def make_printable(text: object, *, lines: bool = False) -> str:
    r"""Make foreign text printable for terminal and log: control characters are written out, as ``\x1b``.

    Args:
        text: foreign text.
        lines: leave line breaks and tabs, for messages of several lines.
    """
    kept = "\n\t" if lines else ""
    return "".join(
        character
        if character in kept or not is_control_character(character)
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in str(text)
    )


def is_control_character(character: str) -> bool:
    """Whether a character is not readable but acts: it steers a terminal or changes the direction of writing."""
    return unicodedata.category(character) in INVISIBLE or character in DIRECTION


def escape_for_page(value: Any) -> Any:
    """Make foreign text printable for a page. This is the ``finalize`` of jinja2, which then escapes HTML.

    Markup of this project stays as it is.
    """
    own = not isinstance(value, str) or hasattr(value, "__html__")
    return value if own else make_printable(value, lines=True)


def escape_markup(text: object) -> str:
    """Escape foreign text for a Rich table or console, so that no tag in it is interpreted."""
    from rich.markup import escape  # a bundle that is handed over runs this module where there is no rich

    return escape(make_printable(text))


def say(text: object, *, to_stderr: bool = False) -> None:
    """Print a message that may quote foreign text, to standard output, or with ``to_stderr`` to standard error."""
    print(make_printable(text, lines=True), file=sys.stderr if to_stderr else sys.stdout, flush=True)


def format_count(count: int, one: str, several: str = "") -> str:
    """Format a number with its noun: ``1 patient``, ``2 patients``."""
    return f"{count} {one if count == 1 else several or one + 's'}"


def format_json(content: Any) -> str:
    """Format JSON that is safe to show in a terminal.

    Raises:
        ValueError: the content holds NaN or infinity.
    """
    return escape_json(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False))


def escape_json(text: str) -> str:
    """Escape the control characters in JSON text; its meaning stays the same."""
    return "".join(
        f"\\u{ord(character):04x}" if is_control_character(character) and character != "\n" else character
        for character in text
    )


def escape_for_plot(text: object) -> str:
    """Escape foreign text for matplotlib, which interprets text between two dollar signs as a formula.

    Letters are composed (NFC): names from macOS hold decomposed Hangul, which no font draws correctly.
    """
    return escape_for_picture(text).replace("$", r"\$")


def escape_for_picture(text: object) -> str:
    """Make foreign text safe to draw into a picture: printable, and with composed letters (NFC)."""
    return make_printable(unicodedata.normalize("NFC", str(text)))


def escape_markdown(text: object) -> str:
    """Escape foreign text for one line of Markdown: it can be no markup, no HTML, no link, and end no cell of a table.

    Plain sentences stay as they are, so that the source of the page can be read.
    """
    line = " ".join(make_printable(text, lines=True).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = MARKDOWN_SIGNS.sub(r"\\\g<0>", line)
    return MARKDOWN_START.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", line)


def make_link(path: PurePath | str) -> str:
    """Make a relative link to a file below the page. No name in it can act as a scheme, a query or a fragment."""
    return "./" + quote(PurePath(path).as_posix(), errors="surrogateescape")


def escape_formulas(table: "pd.DataFrame") -> "pd.DataFrame":
    """Put an apostrophe before each text and column name that a spreadsheet would run as a formula.

    The change is reversible: a formula that already has apostrophes before it gets one more.
    """
    return _change_texts(table, escape_cell)


def restore_formulas(table: "pd.DataFrame") -> "pd.DataFrame":
    """Undo :func:`escape_formulas`."""
    return _change_texts(table, restore_cell)


def escape_cell(text: str) -> str:
    """Mark a cell that a spreadsheet would take for a formula as text."""
    return ESCAPE + text if text.lstrip(ESCAPE).startswith(FORMULA_STARTS) else text


def restore_cell(text: str) -> str:
    """Undo ``escape_cell``."""
    return text[1:] if text.startswith(ESCAPE) and text.lstrip(ESCAPE).startswith(FORMULA_STARTS) else text


class PlainTextFormatter(logging.Formatter):
    """Formats a log record so that no foreign name in it can act on the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a log record with control characters made visible."""
        return make_printable(super().format(record), lines=True)


class OncePerMessage(logging.Filter):
    """Lets each log message pass once: a cohort is read for every fold and logs the same messages every time."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether this message has not been logged before."""
        message = record.getMessage()
        new = message not in self.seen
        self.seen.add(message)
        return new


def _change_texts(table: "pd.DataFrame", change: Callable[[str], str]) -> "pd.DataFrame":
    def changed(cell: Any) -> Any:
        return change(cell) if isinstance(cell, str) else cell

    import pandas as pd

    result = table.rename(columns=changed)
    for position, name in enumerate(result.columns):
        if not pd.api.types.is_numeric_dtype(table.dtypes.iloc[position]):
            result[name] = table.iloc[:, position].map(changed)
    return result
