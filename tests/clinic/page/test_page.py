"""The page works in Chromium, from disk, without a network."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kicc_ml.clinic.page.page import PatientPage, Scan, make_zone_cells, write_page
from kicc_ml.clinic.page.scan import make_ct_display
from kicc_ml.clinic.page.words import TRANSLATIONS
from kicc_ml.core.types import Risk
from kicc_ml.severity.grade import grade
from tests.support.page_pixels import pixels

CALIBRATION = {"slope": "-0.91 (-16.11 to 12.19)", "O:E": "1.10 (0.10 to 12.62)", "held_out": "48 patients"}


@pytest.fixture(scope="module")
def scan(chest) -> Scan:
    volume, masks = chest
    severity = grade(masks, volume.affine_ras, volume.array)
    return Scan(make_ct_display(volume, masks), severity, involved_interval=(3.0, 9.0))


def open_page(browser, path: Path, scan: Scan):
    """The page in a browser, with what it asked for and what it complained of."""
    risk = Risk("oxygen", 0.31, 0.22, 0.43, CALIBRATION, 0.18)
    unsaid = Risk("death", 0.04, None, None, {})
    write_page(path, PatientPage("seoul_17", scan, risks=(risk, unsaid), provenance={"model": "12ab"}))
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.asked, page.complaints = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector(".viewer[data-ready=yes]")
    return page


@pytest.fixture(scope="module")
def shown(browser, scan: Scan, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """A page that tests look at and do not touch."""
    page = open_page(browser, tmp_path_factory.mktemp("shown") / "patient.html", scan)
    yield page
    page.close()


@pytest.fixture
def opened(browser, page_path: Path, scan: Scan) -> Iterator:
    """A page for one test, which may click on it."""
    page = open_page(browser, page_path, scan)
    yield page
    page.close()


def find_orange(picture: np.ndarray) -> np.ndarray:
    red, blue = picture[..., 0].astype(int), picture[..., 2].astype(int)
    return red - blue > 60


def test_nothing_is_asked_for_and_nothing_complained_of(shown):
    assert [url for url in shown.asked if not url.startswith(("file:", "data:"))] == []
    assert shown.complaints == []


def test_a_lesion_of_the_right_lower_zone_is_drawn_on_the_left_and_low_down(opened):
    drawn = find_orange(pixels(opened))
    _, columns = np.nonzero(drawn)
    assert columns.mean() < drawn.shape[1] / 2
    opened.click("button[data-set='plane=coronal']")
    rows, columns = np.nonzero(find_orange(pixels(opened)))
    assert rows.mean() > pixels(opened).shape[0] * 0.6
    assert columns.mean() < drawn.shape[1] / 2


def test_a_sagittal_slice_has_the_front_on_the_left_and_the_feet_below(opened):
    axial_rows, _ = np.nonzero(find_orange(pixels(opened)))
    from_front = axial_rows.mean() / pixels(opened).shape[0]
    opened.focus(".viewer")
    opened.keyboard.press("s")
    drawn = find_orange(pixels(opened))
    rows, columns = np.nonzero(drawn)
    assert from_front > 0.55, "the lesion lies behind the middle, so that a mirrored slice shows"
    assert columns.mean() / drawn.shape[1] == pytest.approx(from_front, abs=0.06)
    assert rows.mean() > drawn.shape[0] * 0.6


def test_windows_are_chosen_by_key_and_by_a_drag_with_the_right_button(opened):
    lung, where = pixels(opened), opened.inner_text(".where")
    opened.focus(".viewer")
    opened.keyboard.press("2")
    soft = pixels(opened)
    opened.keyboard.press("1")
    np.testing.assert_array_equal(pixels(opened), lung)
    opened.hover("canvas.plane")
    opened.mouse.down(button="right")
    opened.mouse.move(500, 500)
    opened.mouse.up(button="right")
    dragged = pixels(opened)
    assert all((one != other).any() for one, other in ((lung, soft), (lung, dragged), (soft, dragged)))
    assert opened.inner_text(".where") == where, "a drag with the right button does not scroll"


def test_it_opens_at_the_slice_with_most_lesion_and_scrolls_by_key_wheel_and_bar(opened):
    seen = [pixels(opened)]
    opened.focus(".viewer")
    for act in (
        lambda: [opened.keyboard.press("ArrowUp") for _ in range(6)],
        lambda: (opened.hover("canvas.plane"), opened.mouse.wheel(0, 100)),
        lambda: opened.evaluate("b => { b.value = 1; b.oninput(); }", opened.query_selector("input.level")),
    ):
        act()
        opened.wait_for_timeout(50)
        seen.append(pixels(opened))
    assert find_orange(seen[0]).any()
    assert not find_orange(seen[1]).any()
    where = opened.inner_text(".where")
    assert where.startswith("2 /")


def test_window_opacity_and_map_change_the_picture(opened):
    lung = pixels(opened)
    opened.click("button[data-set='window=soft']")
    soft = pixels(opened)
    assert (lung != soft).any()
    opened.evaluate("b => { b.value = 90; b.oninput(); }", opened.query_selector("input.opacity"))
    assert find_orange(pixels(opened)).sum() >= find_orange(soft).sum()
    assert (pixels(opened) != soft).any()
    opened.focus(".viewer")
    opened.keyboard.press("m")
    assert not find_orange(pixels(opened)).any()


def test_every_word_is_there_in_both_languages_and_one_is_shown(opened):
    assert opened.is_visible("text=Severity score")
    opened.click("text=한국어")
    assert opened.is_visible("text=중증도 점수")
    assert not opened.is_visible("text=Severity score")
    assert all(english and korean for english, korean in TRANSLATIONS.values())


def test_nothing_is_wider_than_the_window(opened):
    for width in (1440, 390):
        opened.set_viewport_size({"width": width, "height": 844})
        assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_the_summary_is_above_the_fold(shown):
    for text in ("of 24", "of the lung involved", "not compared with the scans", "Predicted outcome"):
        box = shown.locator(f"text={text}").first.bounding_box()
        assert box["y"] + box["height"] < 900


def test_previous_scan_stands_beside_with_the_change(browser, page_path: Path, scan: Scan):
    write_page(page_path, PatientPage("seoul_17", scan, previous=scan))
    page = browser.new_page()
    page.goto(page_path.as_uri())
    page.wait_for_selector(".viewer[data-ready=yes] >> nth=1")
    rows = [row.split("\t") for row in page.inner_text("table.change").splitlines()]
    assert ["lesion volume", "120 mL", "120 mL", "+0 mL"] in rows
    page.close()


def test_a_prior_scan_without_its_files_is_shown_by_its_values_and_a_link(browser, page_path: Path, scan: Scan):
    before = replace(
        scan, display=None, severity=replace(scan.severity, lesion_ml=20.0), days_before=6, link="../a.html"
    )
    write_page(page_path, PatientPage("seoul_17", scan, previous=before))
    page = browser.new_page()
    page.goto(page_path.as_uri())
    page.wait_for_selector(".viewer[data-ready=yes]")
    assert page.locator(".viewer").count() == 1
    assert "+100 mL" in page.inner_text("table.change")
    assert page.get_attribute("main a", "href") == "../a.html"
    assert "6 days before" in page.inner_text("main")
    page.close()


def test_dots_mark_uncertain_voxels_on_request(browser, page_path: Path, chest):
    volume, masks = chest
    unsure = {**masks, "uncertain": masks["left_lung"]}
    severity = grade(unsure, volume.affine_ras, volume.array)
    write_page(
        page_path, PatientPage("seoul_17", Scan(make_ct_display(volume, unsure), severity), uncertainty_flag="unusual")
    )
    page = browser.new_page()
    page.goto(page_path.as_uri())
    page.wait_for_selector(".viewer[data-ready=yes]")
    plain = pixels(page)
    page.click("button[data-set='unsure=on']")
    dotted = (pixels(page) != plain).any(axis=2)
    assert np.nonzero(dotted)[1].mean() > plain.shape[1] / 2  # the left lung, on the picture's right
    page.focus(".viewer")
    page.keyboard.press("u")
    assert (pixels(page) == plain).all()
    assert "more than in 19 of 20" in page.inner_text("tr.doubt")
    page.close()


def test_a_risk_stands_with_its_interval_the_model_beside_and_its_calibration(shown):
    cells = [row.split("\t") for row in shown.inner_text("table.risks").splitlines()]
    assert cells[0][1:] == ["risk", "90 % interval", "clinical model"]
    assert ["oxygen", "31 %", "22–43 %", "18 %"] in cells
    assert ["death", "4 %", "–", "–"] in cells
    assert "oxygen\t-0.91 (-16.11 to 12.19)\t–\t1.10 (0.10 to 12.62)" in shown.inner_text(".calibration table")


def test_the_zone_diagram_is_coloured_by_score(scan: Scan):
    cells = {(cell["side"], cell["third"]): cell for cell in make_zone_cells(scan.severity)}
    assert cells["right", "lower"]["score"] == 1
    assert cells["left", "lower"]["score"] == 0
    assert cells["right", "lower"]["fill"] != cells["left", "lower"]["fill"]
    assert cells["right", "lower"]["column"] == 0  # the patient's right stands on the left


def test_identity_is_on_the_page_only_where_it_was_given(page_path: Path, scan: Scan):
    write_page(page_path, PatientPage("seoul_17", scan, identity={"Name": "Hong <Gildong>"}))
    assert "Hong &lt;Gildong&gt;" in page_path.read_text(encoding="utf-8")


def test_a_page_that_cannot_be_written_leaves_none_behind(page_path: Path, scan: Scan, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_page(page_path, PatientPage("seoul_17", scan))
    assert not page_path.exists()
