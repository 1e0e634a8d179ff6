"""Foreign text where people read it, in each medium."""

import csv
import io
import json
import logging
from pathlib import Path
from urllib.parse import unquote, urlsplit

import jinja2
import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from kicc_ml.core.files import read_table, write_table
from kicc_ml.core.shown import (
    PlainTextFormatter,
    escape_for_page,
    escape_for_plot,
    escape_markup,
    format_count,
    format_json,
    make_link,
    make_printable,
    say,
)

matplotlib.use("Agg")
HOSTILE = [
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "a\rb",
    "\x9b2J",
    "\u202egnp.exe",
    "\udcb0\udca1",
    "[red]x[/red]",
    "[/b]",
    "a\\",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_control_character_reaches_the_terminal(text: str):
    shown = make_printable(text)
    assert shown.isprintable()
    shown.encode("utf-8")


def test_ordinary_text_is_shown_as_it_is():
    assert make_printable("대구 1 – <b> $5 [x] é") == "대구 1 – <b> $5 [x] é"


@pytest.mark.parametrize("text", [*HOSTILE, "[bold", "\\[x]", "x\\"])
def test_rich_shows_foreign_text_letter_by_letter(text: str):
    out = io.StringIO()
    Console(file=out, width=200).print(f"[bold]{escape_markup(text)}[/bold]|")
    assert out.getvalue().rstrip("|\n").rstrip() == make_printable(text)


@pytest.mark.parametrize("text", [r"A$\foo$B", "$", "$$", r"\$x$", "a_b^c{d}"])
def test_matplotlib_draws_foreign_text_and_no_formula(text: str):
    figure = Figure()
    figure.text(0.5, 0.5, escape_for_plot(text))
    figure.savefig(io.BytesIO(), format="svg")


@pytest.mark.parametrize(
    "name", ["javascript:alert(1)", "a#1", "50%41", "q?x=1", "//host/x", "data:text/html,x", "한 글"]
)
def test_a_link_leads_to_the_file_of_that_name_and_nowhere_else(name: str):
    parts = urlsplit(make_link(Path(name)))
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
    assert unquote(parts.path) == "./" + str(Path(name))


@pytest.mark.parametrize(
    "text",
    [
        "=cmd|calc",
        "+1+1",
        "-2",
        "@SUM(1)",
        "\t=1",
        "'=1",
        "''@x",
        "'plain",
        "x=1",
        "01",
        "\n=1",
        "＝1",
        "＋1",
        "－1",
        "＠x",
    ],
)
def test_no_text_in_a_table_is_a_formula_and_reading_brings_it_back(text: str, tmp_path: Path):
    table = pd.DataFrame({"case_id": [text], text: ["x"], "number": [-1.5]})
    write_table(tmp_path / "t.csv", table)
    with (tmp_path / "t.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\n", "＝", "＋", "－", "＠"))] == [
        "-1.5"
    ]
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv"), table, check_dtype=False)


def test_numbers_and_unknown_cells_are_left_alone(tmp_path: Path):
    table = pd.DataFrame({"a": [-1.0, np.nan], "b": [None, "x"], "c": [True, False]})
    write_table(tmp_path / "t.csv", table)
    assert (tmp_path / "t.csv").read_text() == "a,b,c\n-1.0,,True\n,x,False\n"


def test_a_log_line_cannot_steer_the_terminal():
    record = logging.LogRecord("x", logging.WARNING, "", 0, "site %s", ("\x1b[31m\nred",), None)
    assert PlainTextFormatter("%(message)s").format(record) == "site \\x1b[31m\nred"


@pytest.mark.parametrize("text", HOSTILE)
def test_json_holds_the_text_and_no_character_that_steers_a_terminal(text: str):
    content = {text: [text, 1.5, None], "한글": "대구"}
    shown = format_json(content)
    assert all(character.isprintable() or character == "\n" for character in shown)
    shown.encode("utf-8")
    assert json.loads(shown) == content
    assert "대구" in shown


@pytest.mark.parametrize("aside", [True, False])
def test_a_message_keeps_its_lines_and_cannot_steer_the_terminal(capsys: pytest.CaptureFixture, aside: bool):
    say("site \x1b[31mred\nsecond line", to_stderr=aside)
    out, err = capsys.readouterr()
    assert (err if aside else out) == "site \\x1b[31mred\nsecond line\n"
    assert not (out if aside else err)


def test_what_is_counted_is_in_the_singular_or_plural():
    assert [format_count(count, "file") for count in (0, 1, 8)] == ["0 files", "1 file", "8 files"]
    assert format_count(8, "series", "series") == "8 series"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_page_holds_no_character_that_acts_and_our_own_markup_stays(text: str):
    environment = jinja2.Environment(autoescape=True, finalize=escape_for_page)
    page = environment.from_string("<p>{{ text }}</p>{{ own }}{{ 5 }}")
    written = page.render(text=text + "<i>\n", own=jinja2.utils.markupsafe.Markup("<b>"))
    assert written.replace("\n", "").isprintable()
    assert written.endswith("&lt;i&gt;\n</p><b>5")
