"""A figure says for which hospitals it is, a first line says what is shown of it, and many radiographs are plural."""

import re
from pathlib import Path

import pytest

from kicc_ml.evaluation.summary import summarise
from kicc_ml.evaluation.supported import describe_order
from kicc_ml.report.cards.card_tables import make_calibration_table, make_segmentation_table
from kicc_ml.report.leakage_text import count_pictures, describe_leakage
from kicc_ml.report.report import write_report
from tests.support.judged_summary import answer, figure, summary_of
from tests.support.result_rows import NO_ROWS, case_rows, prediction_rows

ABOUT = {"name": "run", "config": "cohort: {_target_: a.catanzaro}\nsplit: {_target_: a.leave_one_site_out}"}


def test_the_calibration_of_the_verdict_is_in_the_table_beside_that_of_these_hospitals() -> None:
    slope = figure(1.15, 0.89, 1.41, hospitals_like_these={"value": 1.49, "low": 1.03, "high": 1.96, "reason": ""})
    summary = summary_of(-0.05, 0.10, calibration_slope=slope, calibration_intercept=figure(0.0, -0.2, 0.2))
    table = make_calibration_table(summary)
    shown = dict(zip(table.header, table.rows[0], strict=True))
    assert shown["calibration slope at these hospitals"] == "1.15 (0.89 to 1.41)"
    assert shown["calibration slope at hospitals like these"] == "1.49 (1.03 to 1.96)"
    assert shown["observed / expected at hospitals like these"] == "1.00 (0.90 to 1.10)"
    assert all("hospitals" in heading for heading in table.header[2:])


def test_every_figure_of_masks_names_its_hospitals() -> None:
    table = make_segmentation_table(summarise(case_rows(), NO_ROWS))
    assert table.rows
    assert {"Dice at these hospitals", "Dice at hospitals like these"} <= set(table.header)
    assert all("hospital" in heading for heading in table.header[2:])


@pytest.mark.parametrize(
    ("these", "like", "said"),
    [
        ((0.50, 0.92), (None, None), "is not shown to order patients better than chance"),
        ((0.60, 0.92), (0.55, 0.95), "orders patients better than chance"),
        ((0.36, 0.82), (0.55, 0.68), "is not shown to order patients better than chance"),  # too narrow to claim
        ((0.10, 0.40), (0.05, 0.45), "orders patients worse than chance"),
    ],
)
def test_a_first_line_claims_of_chance_what_the_verdict_may_claim(these, like, said: str) -> None:
    question = "these_hospitals" if like[0] is None else "hospitals_like_these"
    answers = {"these_hospitals": answer(*these), "hospitals_like_these": answer(*like), "question": question}
    assert describe_order(answers) == said


def test_one_radiograph_is_singular_and_several_are_plural() -> None:
    assert count_pictures({"CT": 2, "radiograph": 8}) == "2 CT, 8 radiographs"
    assert count_pictures({"radiograph": 1}) == "1 radiograph"
    leakage = {"site_probe": [], "duplicates": [], "pictures": {"radiograph": 3}}
    assert "fewer than 5 radiographs" in describe_leakage(leakage, lambda _: "fewer than 5")


def test_a_report_says_both_in_its_page(tmp_path: Path) -> None:
    leakage = {"site_probe": [], "duplicates": [], "pictures": {"radiograph": 8}, "validation_gap": []}
    summary = summarise(NO_ROWS, prediction_rows()) | {"leakage": leakage}
    page = write_report(tmp_path, summary, NO_ROWS, prediction_rows(), ABOUT).read_text(encoding="utf-8")
    lines = re.findall(r'<li><a href="#verdict-\d+">.*', page)
    assert len(lines) == 2
    assert all("is not shown to order patients better than chance, and" in line for line in lines), lines
    assert "Compared were 8 radiographs (the" in page
