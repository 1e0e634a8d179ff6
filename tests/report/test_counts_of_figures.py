"""Figures of masks state the number of cases that they are of."""

from pathlib import Path

from kicc_ml.evaluation.summary import summarise
from kicc_ml.report.report import write_report
from kicc_ml.report.site_table import make_site_columns
from tests.support.result_rows import NO_ROWS, case_rows


def test_a_volume_error_of_more_cases_than_the_dice_states_its_own_n(tmp_path: Path) -> None:
    cases = case_rows()
    assert (cases["lesion_dice"].notna().sum(), cases["lesion_volume_error_ml"].notna().sum()) == (16, 24)
    page = write_report(tmp_path, summarise(cases, NO_ROWS), cases, NO_ROWS, {"name": "run"})
    text = page.read_text(encoding="utf-8")
    assert "<td>lesion</td><td>16</td>" in text
    assert text.count(", n 24</td>") == 1


def test_a_dice_by_hospital_of_fewer_cases_states_its_own_n() -> None:
    header, rows = make_site_columns(summarise(case_rows(), NO_ROWS))
    dice = {row[0]: row[header.index("lesion Dice")] for row in rows}
    assert dice["all, at these hospitals"].endswith(", n 16")
    assert ", n" not in dice["south"]
    assert dice["north"] == "–"
