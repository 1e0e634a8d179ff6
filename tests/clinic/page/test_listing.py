"""The worst patient is the first in the list."""

from pathlib import Path

from kicc_ml.clinic.page.listing import Entry, sort_worst_first, write_listing
from kicc_ml.core.types import SeverityMap
from kicc_ml.severity.grade import ZONES


def make_entry(name: str, score: int | None, percent: float | None) -> Entry:
    zones = dict.fromkeys(ZONES, 1) if score is not None else {}
    return Entry(name, SeverityMap({}, zones, score, percent, None, None, None, None), f"{name}/page.html")


def test_order_is_by_score_then_by_share_and_unknown_comes_last():
    entries = [
        make_entry("a", None, None),
        make_entry("b", 6, 9.0),
        make_entry("c", 20, 60.0),
        make_entry("d", 6, 12.0),
    ]
    assert [one.case_id for one in sort_worst_first(entries)] == ["c", "d", "b", "a"]


def test_every_patient_is_linked_and_unknown_figures_are_dashes(tmp_path: Path):
    html = write_listing(tmp_path / "index.html", [make_entry("a", None, None), make_entry("b", 6, 9.0)]).read_text()
    assert html.index('href="b/page.html"') < html.index('href="a/page.html"')
    assert html.count("<td>–</td>") == 6  # all four of a, and consolidation and volume of b


def test_markup_in_a_case_id_is_shown_not_run(tmp_path: Path):
    html = write_listing(tmp_path / "index.html", [make_entry("<b>x", 1, 1.0)]).read_text()
    assert "<b>x" not in html
