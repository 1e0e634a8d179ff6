"""All patients of a folder on one page, worst first, each with a link to its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kicc_ml.clinic.page.page import ZONE_FILL, read_page_template
from kicc_ml.core.files import write_text
from kicc_ml.core.types import SeverityMap
from kicc_ml.severity.grade import ZONES, compute_change


@dataclass(frozen=True)
class Entry:
    """A patient in the list; ``link`` is the page's address as seen from the list, "" where there is none.

    ``previous`` is the patient's scan before this one, if there is one.
    """

    case_id: str
    severity: SeverityMap
    link: str = ""
    previous: SeverityMap | None = None

    @property
    def change(self) -> dict[str, float | None]:
        return compute_change(self.previous, self.severity) if self.previous else {}

    @property
    def fills(self) -> list[str]:
        """Colours of the six zones, right upper to left lower."""
        scores = [self.severity.zone_score.get(zone) for zone in ZONES]
        return ["#eeeeee" if score is None else ZONE_FILL[score] for score in scores]


def sort_worst_first(entries: Sequence[Entry]) -> list[Entry]:
    """By score, then by the share of lung involved; what has neither comes last."""

    def key(entry: Entry) -> tuple[float, float, str]:
        score, share = entry.severity.score, entry.severity.percent_involved
        return (-1 if score is None else score, -1.0 if share is None else share, entry.case_id)

    return sorted(entries, key=key, reverse=True)


def write_listing(path: Path, entries: Sequence[Entry]) -> Path:
    """Write the list whole or not at all; returns its path."""
    followed = any(entry.previous for entry in entries)
    films = any(entry.severity.geographic_extent is not None for entry in entries)
    html = read_page_template("listing.html.j2").render(
        entries=sort_worst_first(entries), followed=followed, films=films
    )
    write_text(path, html)
    return path
