"""The report as it is read and printed: in Chromium, from disk, without a network."""

from pathlib import Path

import pytest
from PIL import Image

from kicc_ml.cohort.case_summary import summarise_cases
from kicc_ml.core.types import Case
from kicc_ml.evaluation.summary import summarise
from kicc_ml.report.report import ShownCase, write_report
from kicc_ml.report.worst_cases import encode_jpeg
from tests.support.result_rows import NO_ROWS, case_rows, prediction_rows

#: Pixels: a desk, and a telephone held upright.
WIDTHS = (1440, 390)
#: Pixels of a common laptop's screen.
SCREEN_HEIGHT = 900
#: Of a run on a table.
TABLE_SETTINGS = "cohort: {_target_: a.catanzaro}\nsplit: {_target_: a.leave_one_site_out}"
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


def open_page(browser, page_path: Path):
    page = browser.new_page(viewport={"width": WIDTHS[0], "height": SCREEN_HEIGHT})
    page.goto(page_path.as_uri())
    return page


@pytest.fixture(scope="module")
def table_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run on a table, without images."""
    summary = summarise(NO_ROWS, prediction_rows()) | {"table_1": study()["table_1"]}
    summary["leakage"] = study()["leakage"] | {"duplicates": [], "pictures": {}}
    folder = tmp_path_factory.mktemp("table")
    return write_report(folder, summary, NO_ROWS, prediction_rows(), {"name": "table", "config": TABLE_SETTINGS})


@pytest.mark.parametrize("name", ["report", "table_report"])
def test_the_first_screen_of_a_desk_holds_verdict_forest_plot_and_calibration(browser, request, name: str):
    page = open_page(browser, request.getfixturevalue(name))
    boxes = [page.locator(f"#verdict-1 {part}").bounding_box() for part in (".words", ".forest", ".calibration")]
    assert all(box["y"] + box["height"] <= SCREEN_HEIGHT for box in boxes), boxes
    assert boxes[0]["x"] < boxes[1]["x"] < boxes[2]["x"], "side by side"
    assert boxes[2]["x"] + boxes[2]["width"] > 0.9 * WIDTHS[0], "the width of the window is used"
    page.close()


def test_the_first_screen_of_a_segmentation_holds_its_words_and_figures(browser, tmp_path: Path):
    summary = summarise(case_rows(), NO_ROWS)
    page = open_page(browser, write_report(tmp_path, summary, case_rows(), NO_ROWS, {"name": "masks"}))
    boxes = [
        page.locator(f"#verdict-segmentation {part}").bounding_box() for part in (".words", ".forest", ".calibration")
    ]
    assert all(box["y"] + box["height"] <= SCREEN_HEIGHT for box in boxes), boxes
    assert page.locator("#verdict-segmentation li").count() >= 3
    page.close()


@pytest.mark.parametrize("name", ["report", "table_report"])
def test_every_link_leads_to_a_part_of_the_page_and_every_part_is_in_the_contents(browser, request, name: str):
    page = open_page(browser, request.getfixturevalue(name))
    targets = page.eval_on_selector_all("a", "links => links.map(a => a.getAttribute('href'))")
    assert [target for target in targets if page.locator(f"[id='{target[1:]}']").count() != 1] == []
    contents = page.eval_on_selector_all(".contents a", "links => links.map(a => a.getAttribute('href').slice(1))")
    assert contents == ["top", *page.eval_on_selector_all("section", "parts => parts.map(part => part.id)")]
    page.locator(".contents a").last.click()
    assert page.locator(".contents").bounding_box()["y"] == 0, "it stays at the top"
    page.close()


def test_the_contents_are_not_printed(opened):
    opened.emulate_media(media="print")
    assert not opened.locator(".contents").is_visible()


def test_a_run_without_images_has_no_part_and_no_column_of_images(browser, table_report: Path):
    page = open_page(browser, table_report)
    assert page.locator("#segmentation, #severity, #worst").count() == 0
    assert "with reference masks" not in page.inner_text("#participants")
    assert "Images" not in page.inner_text("#leakage")
    empty = """[...document.querySelectorAll('table')].flatMap(table => {
        const rows = [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.innerText.trim()));
        const named = table.tHead ? [...table.tHead.rows[0].cells].map(cell => cell.innerText) : [];
        return named.filter((_, place) => rows.every(row => ['', '–', '0'].includes(row[place] ?? '–')));
    })"""
    assert page.evaluate(empty) == []
    page.close()


def test_a_long_table_scrolls_inside_itself(opened):
    opened.set_viewport_size({"width": WIDTHS[0], "height": 500})
    heights = opened.eval_on_selector_all(
        ".scroll", "parts => parts.map(part => [part.clientHeight, part.scrollHeight])"
    )
    assert max(shown for shown, _ in heights) <= 500
    assert any(whole > shown for shown, whole in heights)
