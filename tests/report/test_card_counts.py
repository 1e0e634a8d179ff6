"""No count of one to four patients can be told from a card, and each figure says what it is of."""

import re
from pathlib import Path
from typing import Any

from kicc_ml.cohort.case_summary import summarise_cases
from kicc_ml.core.types import Case
from kicc_ml.evaluation.summary import summarise
from kicc_ml.report.cards.card import format_small_count, hide_small_counts, hide_small_share
from kicc_ml.report.cards.write import write_cards
from tests.support.result_rows import case_rows, prediction_rows

ABOUT = {"name": "run"}
LEAKAGE: dict[str, Any] = {
    "site_probe": [
        {"features": "CT", "value": 0.61, "low": 0.55, "high": 0.67, "chance": 0.33, "flagged": True, "n": 24},
        {"features": "radiograph", "value": None, "low": None, "high": None, "chance": None, "flagged": False},
    ],
    "duplicates": [],
    "pictures": {"CT": 24, "radiograph": 3},
    "validation_gap": [],
}


def make_cards(folder: Path, **more: Any) -> dict[str, str]:
    """The Markdown of both cards of a run of 24 cases, of which two lack their CRP."""
    cases = [
        Case(row.case_id, row.site, row.case_id, clinical={"sex": 1.0, "crp_mg_l": 10.0, "fever": float(number % 2)})
        for number, row in enumerate(case_rows().itertuples())
    ]
    for case in cases[:2]:
        case.clinical["crp_mg_l"] = float("nan")
        case.clinical["fever"] = float("nan")
    flow = {"rows": 30, "cases": 24, "counts": {}, "excluded": {"no image": 4, "no CT": 2}}
    summary = summarise(case_rows(), prediction_rows()) | {"table_1": summarise_cases(cases), "leakage": LEAKAGE}
    summary |= {"flow": [{"name": "run", "flow": flow, "held_out": {}}], "quarantined": {"north_9": "bad"}} | more
    write_cards(folder, summary, case_rows(), prediction_rows(), ABOUT, [])
    names = ("model_card", "data_card")
    return {name: (folder / f"{name}.md").read_text(encoding="utf-8").replace("\\", "") for name in names}


def test_a_count_of_one_to_four_patients_is_not_shown_and_does_not_follow_from_the_total() -> None:
    assert hide_small_counts([8, 0, 12]) == ["8", "0", "12"]
    assert hide_small_counts([1, 4, 9]) == ["fewer than 5", "fewer than 5", "9"]
    assert hide_small_counts([20, 4, 9, 0]) == ["20", "fewer than 5", "not shown", "0"]
    assert hide_small_counts([3]) == ["fewer than 5"]
    assert hide_small_share(12, 24) == "12 of 24 (50 %)"
    assert all("fewer than 5" in hide_small_share(*share) for share in ((1, 24), (23, 24), (2, 3)))
    assert hide_small_share(24, 24) == "24 of 24 (100 %)"
    assert hide_small_share(None, 0) == "cannot be known from the run"
    assert hide_small_share(12, 24, 24) == "12 of 24 (50 %)"
    assert hide_small_share(12, 24, 26) == "50 % of those known (fewer than 5 unknown)"
    assert [format_small_count(count, "case") for count in (0, 1, 4, 5)] == [
        *("0 cases", "fewer than 5 cases", "fewer than 5 cases", "5 cases"),
    ]


def test_exclusions_missing_values_and_what_was_set_aside_are_not_counted_below_five(tmp_path: Path) -> None:
    cards = make_cards(tmp_path)
    for text in cards.values():
        assert "30 rows of the table, 6 excluded, 24 cases." in text
        assert "Excluded: no image: fewer than 5." in text
        assert "could not be read or predicted: fewer than 5 cases." in text
    assert "CRP, mg/L: fewer than 5" in cards["data_card"]
    assert "of 22" not in cards["data_card"], "22 of 24 would say that two are unknown"


def test_few_exclusions_do_not_follow_from_the_rows_and_the_cases(tmp_path: Path) -> None:
    flow = {"rows": 26, "cases": 24, "counts": {}, "excluded": {"no image": 2}}
    both = [{"name": name, "flow": flow, "held_out": {}} for name in ("lesion_ct", "outcome")]
    text = make_cards(tmp_path, flow=both)["data_card"]
    assert text.count("rows of the table:") == 1, "two runs of one cohort"
    assert "rows of the table: not shown, fewer than 5 excluded, 24 cases." in text


def test_leakage_is_told_with_its_base(tmp_path: Path) -> None:
    text = make_cards(tmp_path)["data_card"]
    assert "predicted from CT (balanced accuracy 0.61 (0.55 to 0.67), chance 0.33)" in text
    assert (
        "0 pairs of persons with the same or nearly the same image (compared were 24 CT, fewer than 5 radiographs)"
        in text
    )
    nothing = make_cards(tmp_path / "none", leakage=LEAKAGE | {"site_probe": [], "pictures": {}})["data_card"]
    assert "Leakage: whether the hospital can be predicted was not examined; no images were compared." in nothing


def test_each_table_of_figures_says_for_whom_they_are(tmp_path: Path) -> None:
    text = make_cards(tmp_path)["model_card"]
    tables = re.findall(r"([^\n]*)\n\n(\|[^\n]+)", text)
    of_figures = [before for before, header in tables if re.search("Dice|AUC|Brier|slope|observed", header)]
    assert len(of_figures) >= 4
    assert all(before.startswith("For patients like these at") for before in of_figures), of_figures
    page = (tmp_path / "model_card.html").read_text(encoding="utf-8")
    assert page.count("<p>For patients like these at") == len(of_figures)
