"""The page of a radiograph shows the whole image, the map on the opacity, and sides only if the file states them."""

from dataclasses import replace

import numpy as np
import pytest

from kicc_ml.clinic.page.listing import Entry, write_listing
from kicc_ml.clinic.page.page import PatientPage, Scan, write_page
from kicc_ml.clinic.page.scan import LABELS, MAX_RADIOGRAPH_PIXELS, make_radiograph_display
from kicc_ml.core.types import OutOfRangeFeature, Volume
from kicc_ml.severity.grade import grade_radiograph
from tests.support.page_pixels import pixels

#: x to the patient's left, y to the feet, z to the back.
FRONTAL = np.array([[-1.0, 0, 0, 0], [0, 0, -1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def film() -> tuple[Volume, dict[str, np.ndarray]]:
    """200 x 160 pixels; the lowest 24 of 90 rows of the right lung, on the picture's left, are opaque."""
    right, left, lesion = np.zeros((3, 200, 160, 1), bool)
    right[20:80, 20:110], left[120:180, 20:110] = True, True
    lesion[20:80, 86:110] = True
    grey = np.full((200, 160, 1), 180, np.float32)
    grey[right | left] = 40
    grey[lesion] = 130
    return Volume(grey, FRONTAL, "arbitrary"), {"right_lung": right, "left_lung": left, "lesion": lesion}


def make_page(film, hanging: str) -> PatientPage:
    volume, masks = film
    severity = grade_radiograph(masks, volume.affine_ras)
    severity = severity.without_sides if hanging == "otherwise" else severity
    return PatientPage(
        "seoul_17", Scan(make_radiograph_display(volume, masks, hanging == "stated"), severity), hanging=hanging
    )


def test_the_map_of_the_page_holds_the_opacity_in_the_right_lower_field(film):
    display = make_radiograph_display(*film, sides=True)
    assert display.label_zyx.shape == (1, 160, 200)  # the whole film
    np.testing.assert_array_equal(display.label_zyx[0] == LABELS["lesion"], film[1]["lesion"][..., 0].T)


def test_a_large_film_is_thinned_and_keeps_its_proportion():
    large = Volume(np.zeros((3000, 2500, 1), np.float32), FRONTAL @ np.diag([0.1, 0.1, 0.1, 1]), "arbitrary")
    display = make_radiograph_display(large, {"lung": np.zeros(large.array.shape, bool)}, sides=False)
    _, rows, columns = display.label_zyx.shape
    assert max(rows, columns) <= MAX_RADIOGRAPH_PIXELS
    assert columns * display.spacing_mm[0] == pytest.approx(300)
    assert rows * display.spacing_mm[1] == pytest.approx(250)


def test_the_film_is_shown_with_its_figures_and_no_controls_of_a_ct(browser, page_path, film):
    write_page(page_path, make_page(film, "stated"))
    page, faults = browser.new_page(), []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(page_path.as_uri())
    page.wait_for_selector(".viewer[data-ready=yes]")
    rows = [row.split("\t") for row in page.inner_text("table.thirds").splitlines()]
    assert ["lower", "80 %", "0 %"] in rows
    assert ["whole", "27 %", "0 %"] in rows
    assert "2 of 8" in page.inner_text(".headline")
    assert "on CT" not in page.inner_text("body")
    assert "lung_ml" not in page.inner_text("body")
    assert not page.is_visible("input.level")
    assert page.locator("button[data-set^=plane]").count() == 0
    page.focus(".viewer")
    for key in ("c", "a", "w", "ArrowDown"):
        page.keyboard.press(key)
    shown = pixels(page)
    page.click("button[data-set='map=on']")
    plain = pixels(page)
    page.keyboard.press("m")
    assert (pixels(page) == shown).all()
    painted = shown.astype(int) - plain
    y, x = np.nonzero(painted[..., 0] - painted[..., 2] > 30)  # orange, not the blue outline of the lungs
    scale = shown.shape[1] / 200
    edges = np.array([x.min(), x.max(), y.min(), y.max()]) / scale
    assert edges == pytest.approx([20, 80, 86, 110], abs=2)
    assert faults == []
    page.close()


@pytest.mark.parametrize(
    ("hanging", "said"), [("unstated", "does not state the sides"), ("otherwise", "an unusual orientation")]
)
def test_sides_that_the_file_does_not_state_are_not_claimed(page_path, film, hanging: str, said: str):
    page = make_page(film, hanging)
    html = write_page(page_path, page).read_text(encoding="utf-8")
    assert said in html
    assert page.scan.display.make_payload()["sides"] is False
    assert ('<table class="thirds">' in html) == (hanging == "unstated")


def test_a_radiograph_out_of_range_names_the_feature_in_both_languages(page_path, film):
    because = (OutOfRangeFeature("middle_grey", -23.6, -14.8, 70.3),)
    odd = replace(make_page(film, "stated"), domain_check="outside", out_of_range=because)
    html = write_page(page_path, odd).read_text(encoding="utf-8")
    for text in ("below 0: inverted image", "반전된 사진", "-23.6", "-14.8 … 70.3"):
        assert text in html


def test_the_list_has_the_extent_of_radiographs(tmp_path, film):
    severity = make_page(film, "stated").scan.severity
    html = write_listing(tmp_path / "index.html", [Entry("seoul_17", severity)]).read_text(encoding="utf-8")
    assert "Geographic extent" in html
    assert "<td>2</td>" in html
