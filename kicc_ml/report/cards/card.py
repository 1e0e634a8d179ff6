"""A card: sections of sentences and tables, written as Markdown and as a page with the same content."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kicc_ml.core.files import write_text
from kicc_ml.core.pages import read_template
from kicc_ml.core.shown import escape_markdown, format_count, make_link

#: What stands in the place of a fact that a run does not hold.
NOT_MEASURED = "not measured"
UNKNOWN = "cannot be known from the run"
#: Counts of patients from 1 to one less than this are not shown, because they could single out a patient.
MIN_SHOWN_PATIENTS = 5
TOO_FEW, HIDDEN = f"fewer than {MIN_SHOWN_PATIENTS}", "not shown"
#: The first sentence of every card, as of the report.
NOTICE = "Research use only. Not a medical device; not for decisions about patients."


@dataclass(frozen=True)
class CardTable:
    """A table: the headings, rows of as many cells, and a sentence above it that says what its figures answer."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A part of a card: sentences as a list, then tables, then links ``(text, relative path, place in the page)``."""

    title: str
    sentences: Sequence[str] = ()
    tables: Sequence[CardTable] = ()
    links: Sequence[tuple[str, str, str]] = ()


@dataclass(frozen=True)
class Card:
    """A model card or a data card.

    Attributes:
        kind: ``Model card`` or ``Data card``.
        name: the name of the run.
        sections: its parts.
    """

    kind: str
    name: str
    sections: Sequence[Section]


def write_card(folder: Path, file_name: str, card: Card) -> None:
    """Write a card as ``file_name`` with the suffixes ``.md`` and ``.html``, each completely or not at all."""
    write_text(folder / f"{file_name}.md", render_markdown(card))
    write_text(folder / f"{file_name}.html", render_page(card))


def render_page(card: Card) -> str:
    """Render a card as a page that requests nothing from a network."""
    links = {link: make_address(link) for section in card.sections for link in section.links}
    template = read_template("kicc_ml.report.cards", "card.html.j2")
    return template.render(card=card, notice=NOTICE, address_of=links)


def render_markdown(card: Card) -> str:
    """Render a card as Markdown in which foreign text is only text."""
    lines = [f"# {card.kind}: {escape_markdown(card.name)}", "", f"**{NOTICE}**", ""]
    for section in card.sections:
        lines += [f"## {escape_markdown(section.title)}", ""]
        lines += [f"- {escape_markdown(sentence)}" for sentence in section.sentences]
        lines += [f"- [{escape_markdown(link[0])}]({make_address(link)})" for link in section.links]
        lines += [""] if section.sentences or section.links else []
        for table in section.tables:
            lines += [escape_markdown(table.caption), ""] if table.caption else []
            lines += [*_make_markdown_table(table), ""]
    return "\n".join(lines).rstrip() + "\n"


def _make_markdown_table(table: CardTable) -> list[str]:
    rows = [table.header, ["---"] * len(table.header), *table.rows]
    return [
        "| " + " | ".join(cell if place == 1 else escape_markdown(cell) for cell in row) + " |"
        for place, row in enumerate(rows)
    ]


def make_address(link: tuple[str, str, str]) -> str:
    """Make the relative address of a link ``(text, path, place in the page)``."""
    _, path, place = link
    return make_link(path) + (f"#{place}" if place else "")


def hide_small_counts(counts: Sequence[int]) -> list[str]:
    """Format counts of patients that add up to a known total; none below :data:`MIN_SHOWN_PATIENTS` can be told.

    If one count alone is too small to be shown, the smallest other one is hidden too: else it would follow from the
    total.
    """
    small = {place for place, count in enumerate(counts) if 0 < count < MIN_SHOWN_PATIENTS}
    others = sorted((count, place) for place, count in enumerate(counts) if count and place not in small)
    also = {others[0][1]} if len(small) == 1 and others else set()
    return [
        TOO_FEW if place in small else HIDDEN if place in also else str(count) for place, count in enumerate(counts)
    ]


def hide_small_share(count: int | None, known: int, everybody: int | None = None) -> str:
    """Format a share of patients; TOO_FEW if fewer than :data:`MIN_SHOWN_PATIENTS` have it, or have it not.

    Args:
        count: how many have it; None if that is unknown.
        known: of how many that is known.
        everybody: how many there are; if the unknown ones are too few to be told, the share is given without counts.

    Returns:
        ``12 of 24 (50 %)``.
    """
    if count is None or not known:
        return UNKNOWN
    if any(0 < part < MIN_SHOWN_PATIENTS for part in (count, known - count)):
        return f"{TOO_FEW} have it, or have it not, of {known}" if known >= MIN_SHOWN_PATIENTS else TOO_FEW
    share = f"{100 * count / known:.0f} %"
    if everybody is not None and 0 < everybody - known < MIN_SHOWN_PATIENTS:
        return f"{share} of those known ({TOO_FEW} unknown)"
    return f"{count} of {known} ({share})"


def format_small_count(count: int, one: str = "", several: str = "") -> str:
    """Format a count of patients, cases or images that no total gives away.

    Args:
        count: the count.
        one: its noun; "" for none.
        several: the noun of several, where it is not that of one with an s.

    Returns:
        the count; from 1 to 4 :data:`TOO_FEW`.
    """
    if not 0 < count < MIN_SHOWN_PATIENTS:
        return format_count(count, one, several) if one else str(count)
    return f"{TOO_FEW} {several or one + 's'}" if one else TOO_FEW


def list_facts(known: Mapping[str, str], wanted: Iterable[tuple[str, str]]) -> list[str]:
    """List facts as ``heading: fact``; one that is not known is named as such.

    Args:
        known: the facts by name.
        wanted: name and heading of each.
    """
    return [f"{heading}: {known.get(name) or UNKNOWN}." for name, heading in wanted]
