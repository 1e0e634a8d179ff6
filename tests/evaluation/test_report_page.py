"""The report as it is read and printed: in Chromium, from disk, without a network."""

from pathlib import Path

import pytest
from PIL import Image

from kicc_ml.cohort.case_summary import summarise_cases
from kicc_ml.core.types import Case
from kicc_ml.evaluation.summary import summarise
from kicc_ml.report.report import ShownCase, write_report
from kicc_ml.report.worst_cases import encode_jpeg
from tests.support.result_rows import case_rows, prediction_rows

#: Pixels: a desk, and a telephone held upright.
WIDTHS = (1200, 390)
#: Pixels of an A4 page less its margins, at 96 to the inch.
PRINTED_WIDTH = 687


def study() -> dict:
    """What :mod:`kicc_ml.report.study_description` adds, of seventeen hospitals with long names."""
    sites = [f"University hospital {number}" for number in range(17)]
    flow = {"rows": 30, "cases": 24, "excluded": {"outcome not known": 6}, "counts": {"series refused": 2}}
    probe = {"features": "CT", "n": 24, "value": 0.5, "low": 0.3, "high": 0.7, "chance": 0.3, "flagged": False}
    copy = {"image": "CT", "kind": "near", "similarity": 0.999, "one": "a", "other": "b"}
    gap = {"endpoint": "death", "model": "network", "metric": "auroc", "n": 24}
    return {
        "flow": [{"name": "run", "flow": flow, "held_out": dict.fromkeys(sites, 1)}],
        "table_1": summarise_cases(Case(site, site, site, clinical={"sex": 1.0, "crp_mg_l": 3.5}) for site in sites),
        "leakage": {
            "site_probe": [probe | {"left_out": sites}],
            "duplicates": [copy | {"site_one": sites[0], "site_other": sites[1]}],
            "pictures": {"CT": 24},
            "validation_gap": [gap | {"difference": 0.1, "low": 0.0, "high": 0.2}],
        },
        "quarantined": {"south_99": "the file is cut short"},
    }


def shown() -> list[ShownCase]:
    """A segmented case, one predicted from CT and radiograph, and one whose image was lost."""
    montage, row, film = (encode_jpeg(Image.new("L", size)) for size in ((1276, 540), (1056, 266), (480, 650)))
    return [
        ShownCase("segmentation", "lesion Dice 0.1", (montage,)),
        ShownCase("death", "had the event", (row, film)),
        ShownCase("death", "cannot be shown: " + "x" * 200),
    ]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cases, predictions = case_rows(), prediction_rows()
    summary = summarise(cases, predictions) | study()
    config = (
        "cohort: {_target_: a.repository}\nsplit: {_target_: a.leave_one_site_out}\ndata: {canonical_ct: {size: 1}}"
    )
    run = {"name": "a_run_" + "x" * 80, "config": config}
    return write_report(tmp_path_factory.mktemp("report"), summary, cases, predictions, run, shown())


@pytest.fixture
def opened(browser, report: Path):
    page = browser.new_page()
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(report.as_uri())
    yield page
    page.close()


def test_nothing_is_asked_for(opened):
    assert [url for url in opened.asked if not url.startswith(("file:", "data:"))] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_no_wider_than_the_screen(opened, width: int):
    opened.set_viewport_size({"width": width, "height": 900})
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_nothing_is_cut_off_at_the_edge_of_a_printed_page(opened):
    opened.emulate_media(media="print")
    opened.set_viewport_size({"width": PRINTED_WIDTH, "height": 1000})
    wide = (
        "[...document.querySelectorAll('table, figure, svg, img, p, pre')]"
        ".filter(e => e.getBoundingClientRect().right > {})"
    )
    assert opened.evaluate(wide.format(PRINTED_WIDTH + 1) + ".map(e => e.outerHTML.slice(0, 200))") == []


def test_ct_and_radiograph_of_a_case_lie_side_by_side_on_a_desk_and_below_each_other_on_a_telephone(opened):
    def tops() -> list[float]:
        return [image.bounding_box()["y"] for image in opened.locator("#worst figure:nth-of-type(2) img").all()]

    opened.set_viewport_size({"width": WIDTHS[0], "height": 900})
    ct, film = tops()
    assert ct == film
    opened.set_viewport_size({"width": WIDTHS[1], "height": 900})
    ct, film = tops()
    assert film > ct


def test_every_section_of_the_study_is_there(opened):
    headings = opened.locator("h2").all_inner_texts()
    assert {"Verdict", "Participants", "Table 1", "Leakage", "TRIPOD+AI checklist", "CLAIM checklist"} <= set(headings)
    assert "south_99" in opened.inner_text("#not-evaluated")
