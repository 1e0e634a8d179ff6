"""The report page has its figures and tables, and requests nothing from a network."""

import io
import json
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from kicc_ml.cohort.case_summary import summarise_cases
from kicc_ml.core.errors import UserError
from kicc_ml.core.regions import REGIONS
from kicc_ml.core.shown import make_printable
from kicc_ml.core.types import ENDPOINTS
from kicc_ml.evaluation.outcome import METRICS
from kicc_ml.evaluation.summary import format_summary, summarise
from kicc_ml.report import report
from kicc_ml.report.report import ShownCase, write_report
from kicc_ml.report.site_table import make_site_columns, make_site_table
from tests.support.planted import clinical_case
from tests.support.result_rows import NO_ROWS, case_rows, prediction_rows

ABOUT = {
    "name": "<demo>",
    "seed": "1",
    "config": "cohort: {_target_: a.catanzaro}\nsplit: {_target_: a.leave_one_site_out}",
}


class Requests(HTMLParser):
    """Collects what a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            fetched = name in ("src", "href", "xlink:href", "srcset", "data") and value
            if tag in ("script", "link") or (fetched and not value.startswith(("#", "data:"))):
                self.found.append(f"{tag} {name}={value}")


def test_summary_has_the_agreed_keys_whatever_was_run() -> None:
    for cases, predictions in (
        (case_rows(), prediction_rows()),
        (case_rows(), NO_ROWS),
        (NO_ROWS, prediction_rows()),
        (NO_ROWS, NO_ROWS),
    ):
        summary = summarise(cases, predictions)
        for part in (summary, *summary["sites"].values()):
            assert all({"mean", "low", "high", "n"} <= set(part["segmentation"][r]["dice"]) for r in REGIONS)
            assert all(set(part["outcome"][endpoint]["network"]) == set(METRICS) for endpoint in ENDPOINTS)
            assert {"mae", "within_1", "within_2"} <= set(part["severity"]["score"])
            assert "icc" in part["severity"]["percent_involved"]


def test_summary_is_strict_json_and_every_null_has_a_reason() -> None:
    def check(node: object) -> None:
        if isinstance(node, dict):
            assert None not in node.values() or node.get("reason"), node
            for child in node.values():
                check(child)

    text = format_summary(summarise(case_rows(), prediction_rows()))
    assert "NaN" not in text
    check(json.loads(text))


def test_means_are_means_of_the_rows_and_severity_is_compared_pairwise() -> None:
    cases = case_rows()
    summary = summarise(cases, NO_ROWS)
    dice = summary["segmentation"]["lesion"]["dice"]
    assert dice["mean"] == pytest.approx(cases["lesion_dice"].mean())
    assert (dice["n"], dice["left_out"]) == (16, 8)
    assert summary["severity"]["score"]["within_1"] == pytest.approx(2 / 3)
    assert summary["severity"]["score"]["mae"] == pytest.approx(1.0)


def test_hospitals_that_cannot_be_judged_are_listed_with_the_reason() -> None:
    listed = summarise(case_rows(), prediction_rows())["not_evaluable"]
    assert {"site": "south", "endpoint": "death", "reason": "no event among 8 cases"} in listed
    assert any(row["site"] == "north" and row["endpoint"] == "lesion" for row in listed)
    assert len(listed) == 2


def test_a_case_that_a_model_did_not_predict_is_counted_beside_its_figures() -> None:
    predictions = prediction_rows()
    lost = predictions.index[(predictions["model"] == "clinical") & predictions["label"].notna()][0]
    predictions.loc[lost, "probability"] = np.nan
    endpoint = summarise(NO_ROWS, predictions)["outcome"][predictions.loc[lost, "endpoint"]]
    assert {figure["left_out"] for figure in endpoint["clinical"].values()} == {1}
    assert endpoint["network"]["brier"]["n"] == endpoint["clinical"]["brier"]["n"] + 1
    assert "left_out" not in endpoint["network"]["brier"]


def test_a_case_predicted_twice_is_refused_by_name() -> None:
    doubled = pd.concat([prediction_rows(), prediction_rows().iloc[[5]]])
    with pytest.raises(UserError, match="south_01"):
        summarise(case_rows(), doubled)


def test_the_summary_is_the_same_after_the_tables_were_written_and_read(tmp_path: Path) -> None:
    case_rows().to_csv(tmp_path / "cases.csv", index=False)
    prediction_rows().to_csv(tmp_path / "predictions.csv", index=False)
    again = summarise(pd.read_csv(tmp_path / "cases.csv"), pd.read_csv(tmp_path / "predictions.csv"))
    assert format_summary(again) == format_summary(summarise(case_rows(), prediction_rows()))


def test_the_page_requests_nothing_and_nothing_half_written_stays(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "JPEG")
    summary = summarise(case_rows(), prediction_rows())
    worst = ShownCase("death", "worst", (stream.getvalue(),))
    page = write_report(tmp_path / "run", summary, case_rows(), prediction_rows(), ABOUT, [worst])
    text = page.read_text(encoding="utf-8")
    requests = Requests()
    requests.feed(text)
    assert requests.found == []
    assert "http" not in text
    assert "url(" not in text.replace("url(#", "")
    assert "&lt;demo&gt;" in text
    written = ["cases.csv", "checklist.csv", "figures", "report.html", "summary.csv", "summary.json"]
    assert sorted(path.name for path in page.parent.iterdir()) == written
    assert json.loads((page.parent / "summary.json").read_text())["n"] == 24


def test_two_evaluations_of_one_run_do_not_mix_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held, write_text = [], report.write_text

    def note_lock(path: Path, text: str) -> None:
        held.append((tmp_path / report.LOCK).is_file())
        write_text(path, text)

    monkeypatch.setattr(report, "write_text", note_lock)
    write_report(tmp_path, summarise(case_rows(), NO_ROWS), case_rows(), NO_ROWS, ABOUT)
    assert held
    assert all(held)
    assert not (tmp_path / report.LOCK).exists()


def test_a_figure_that_cannot_be_drawn_leaves_the_former_report_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(report, "draw_figures", fail)
    with pytest.raises(ZeroDivisionError):
        write_report(tmp_path, summarise(case_rows(), NO_ROWS), case_rows(), NO_ROWS, ABOUT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("cases", "predictions", "absent"),
    [
        (case_rows(), NO_ROWS, "There are no results of outcome:"),
        (NO_ROWS, prediction_rows(), "There are no results of segmentation, severity:"),
        (NO_ROWS, NO_ROWS, "There are no results of segmentation, severity, outcome:"),
    ],
)
def test_one_sentence_says_what_there_are_no_results_of(
    tmp_path: Path, cases: pd.DataFrame, predictions: pd.DataFrame, absent: str
) -> None:
    page = write_report(tmp_path, summarise(cases, predictions), cases, predictions, {"name": "run"})
    assert absent in page.read_text(encoding="utf-8")


def test_the_terminal_table_has_a_row_per_hospital_and_one_for_all() -> None:
    table = make_site_table(summarise(case_rows(), prediction_rows()))
    console = Console(width=120, record=True, quiet=True)
    assert table.row_count == 4
    assert [column.header for column in table.columns][4:] == [
        "oxygen AUC, network / clinical",
        "death AUC, network / clinical",
    ]
    console.print(table)


def test_all_figures_of_the_row_of_all_hospitals_answer_one_question_and_it_is_named() -> None:
    summary = summarise(case_rows(), prediction_rows())
    models = summary["outcome"]["oxygen"]
    assert models["network"]["auroc"]["question"] == "hospitals_like_these", "the headline answers another question"
    expected = [f"{models[model]['auroc']['these_hospitals']['value']:.2f}" for model in ("network", "clinical")]
    header, rows = make_site_columns(summary)
    row = dict(zip(header, rows[-1], strict=True))
    assert row["hospital"] == "all, at these hospitals"
    assert row["oxygen AUC, network / clinical"] == " / ".join(expected)


def test_columns_that_are_empty_for_every_hospital_are_left_out(tmp_path: Path) -> None:
    nothing = pd.DataFrame()
    outcomes = make_site_table(summarise(nothing, prediction_rows()))
    assert [column.header for column in outcomes.columns][:2] == ["hospital", "n"]
    assert not {"lesion Dice", "severity ±2"} & {column.header for column in outcomes.columns}
    masks = make_site_table(summarise(case_rows(), nothing))
    assert "lesion Dice" in {column.header for column in masks.columns}
    page = write_report(tmp_path, summarise(nothing, prediction_rows()), nothing, prediction_rows(), {"name": "run"})
    assert "<th>lesion Dice</th>" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "site", ["[red]x[/red]", "[/b]", "\x1b[31mx", "\u202ex", r"A$\foo$B", "<script>x</script>", "서울"]
)
def test_a_hospital_of_any_name_is_shown_letter_by_letter(tmp_path: Path, site: str) -> None:
    cases, predictions = case_rows(), prediction_rows()
    name = str(cases["site"].iloc[0])
    cases["site"], predictions["site"] = (table["site"].replace(name, site) for table in (cases, predictions))
    out = io.StringIO()
    Console(file=out, width=200).print(make_site_table(summarise(cases, predictions)))
    assert make_printable(site) in out.getvalue()
    assert "\x1b" not in out.getvalue()
    page = write_report(tmp_path, summarise(cases, predictions), cases, predictions, {"name": "run"})
    assert "<script>x</script>" not in page.read_text(encoding="utf-8")


def test_two_hospitals_whose_names_differ_in_their_composition_alone_stand_side_by_side_in_table_1(tmp_path: Path):
    names = [unicodedata.normalize(form, "한빛") for form in ("NFC", "NFD")]
    assert names[0] != names[1]
    cohort = [clinical_case(name, number, 1.0, age_years=60.0) for name in names for number in range(3)]
    summary = summarise(case_rows(), NO_ROWS) | {"table_1": summarise_cases(cohort)}
    page = write_report(tmp_path, summary, case_rows(), NO_ROWS, ABOUT).read_text(encoding="utf-8")
    assert all(f"<th>{name}</th>" in page for name in names)


def test_a_link_in_the_place_of_figures_leads_no_figure_elsewhere(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "figures").symlink_to(tmp_path / "elsewhere")
    cases, predictions = case_rows(), prediction_rows()
    with pytest.raises(UserError, match="leads out of"):
        write_report(tmp_path / "run", summarise(cases, predictions), cases, predictions, {"name": "run"})
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["figures"]
