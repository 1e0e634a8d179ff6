"""Every measured number of README has a line in docs/figures.md that says how it was made."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIGURES = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")


def rows_of(text: str) -> list[list[str]]:
    """The rows of all tables of a text, without their headings."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row, below in zip(rows, [*rows[1:], [""]], strict=True) if not {"---"} & {*row, *below}]


def numbers_of(text: str) -> Counter[str]:
    """Numbers of a text, as often as they stand in it, without those of a name such as ``covid19`` or ``3-D``."""
    return Counter(re.findall(r"(?<![\w.-])\d+(?:\.\d+)?(?![\w-]|\.\d)", text))


def without_code(cell: str) -> str:
    return re.sub(r"`[^`]*`", "", cell)


MEASURED = rows_of(README.split("## Measured")[1].split("\n## ")[0])
ENTRIES = rows_of(FIGURES)


@pytest.mark.parametrize("row", MEASURED, ids=lambda row: row[0])
def test_each_number_of_readme_stands_in_one_entry_of_the_figures(row: list[str]):
    wanted = numbers_of(without_code(" ".join(row)))
    assert wanted
    assert any(wanted <= numbers_of(" ".join(entry)) for entry in ENTRIES), sorted(wanted)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry[0])
def test_each_entry_names_its_command_or_that_there_is_none_and_a_commit(entry: list[str]):
    command, commit = entry[:2]
    assert "`" in command or "no command in the repository" in command
    assert re.search(r"\b[0-9a-f]{7}\b", commit), commit


def test_each_count_and_dice_on_the_page_of_new_patients_stands_in_an_entry():
    page = (ROOT / "docs" / "new-patients.md").read_text(encoding="utf-8")
    stated = re.findall(r"\b\d+ of \d+\b|\bOf \d+(?= public)|\b0\.\d\d\b", page)
    assert len(stated) >= 10
    entries = " ".join(" ".join(entry) for entry in ENTRIES)
    assert [one for one in stated if one.removeprefix("Of ") not in entries] == []


def test_the_times_of_the_two_commands_have_an_entry():
    times = re.findall(r"(?:about|under) \d+ minutes", README.split("## Try it")[1].split("```")[1])
    assert len(times) == 2
    assert all(any(entry[3] == time for entry in ENTRIES) for time in times)


def test_readme_has_at_most_150_lines():
    assert len(README.splitlines()) <= 150
