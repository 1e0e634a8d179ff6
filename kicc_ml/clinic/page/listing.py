"""Write the list of all patients of a folder as one page, worst first, with links to their own pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kicc_ml.clinic.page.page import ZONE_FILL, read_page_template
from kicc_ml.core.files import write_text
from kicc_ml.core.types import SeverityMap
from kicc_ml.severity.grade import ZONES, compute_change


@dataclass(frozen=True)
class Entry:
    """A patient in the list; ``link`` is the address of the page relative to the list, or "" if there is no page.

    ``previous`` is the severity of the patient's prior scan, if there is one.
    """

    case_id: str
    severity: SeverityMap
    link: str = ""
    previous: SeverityMap | None = None

    @property
    def change(self) -> dict[str, float | None]:
        """Return how each measure changed since the previous scan; empty where there is none."""
        return compute_change(self.previous, self.severity) if self.previous else {}

    @property
    def fills(self) -> list[str]:
        """Colours of the six zones, right upper to left lower."""
        scores = [self.severity.zone_score.get(zone) for zone in ZONES]
        return ["#eeeeee" if score is None else ZONE_FILL[score] for score in scores]


def sort_worst_first(entries: Sequence[Entry]) -> list[Entry]:
    """Sort by score, then by the share of lung involved; patients with neither come last."""

    def key(entry: Entry) -> tuple[float, float, str]:
        score, share = entry.severity.score, entry.severity.percent_involved
        return (-1 if score is None else score, -1.0 if share is None else share, entry.case_id)

    return sorted(entries, key=key, reverse=True)


def write_listing(path: Path, entries: Sequence[Entry]) -> Path:
    """Write the list as a whole or not at all, and return its path."""
    followed = any(entry.previous for entry in entries)
    films = any(entry.severity.geographic_extent is not None for entry in entries)
    html = read_page_template("listing.html.j2").render(
        entries=sort_worst_first(entries), followed=followed, films=films
    )
    write_text(path, html)
    return path
