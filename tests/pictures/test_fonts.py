"""Names in Hangul are drawn as such in pictures and figures, where the machine has a font with it."""

import importlib.util
import logging
import unicodedata
import warnings
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from matplotlib import font_manager
from PIL import Image, ImageDraw

from kicc_ml.pictures import fonts
from kicc_ml.pictures.fonts import choose_font, has_hangul, list_font_families
from kicc_ml.pictures.montage import draw_texts
from kicc_ml.report.figures import draw_dice_by_site, draw_forest, to_svg
from kicc_ml.report.flow_chart import Step, draw_flow_chart

needs_font = pytest.mark.skipif(len(list_font_families()) < 2, reason="no font with Hangul: apt install fonts-noto-cjk")
#: No glyph at all, which fonts draw as the same box.
MISSING = "\U0010ffff"


def drawn(text: str, like: str = "") -> np.ndarray:
    picture = Image.new("L", (200, 40))
    ImageDraw.Draw(picture).text((4, 4), text, fill=255, font=choose_font(like or text, 20))
    return np.asarray(picture)


@needs_font
def test_syllables_are_drawn_each_in_its_own_shape_and_not_as_boxes():
    seoul, busan = drawn("서"), drawn("부")
    assert seoul.any()
    assert not np.array_equal(seoul, busan)
    assert not np.array_equal(seoul, drawn(MISSING, like="서"))


def test_text_without_hangul_keeps_its_font():
    assert choose_font("Seoul é", 20).getname() == choose_font("x", 20).getname()
    assert not has_hangul("Seoul é 漢")
    assert all(map(has_hangul, ("서울", "a가", "ㄱ", "\u1109")))


@needs_font
def test_figures_and_flow_chart_have_glyphs_for_hangul_and_draw_no_formula():
    name = r"서울 $\foo$ [b]"
    interval = {"value": 0.7, "mean": 0.7, "low": 0.6, "high": 0.8, "n": 3}
    cases = pd.DataFrame({"site": [name] * 3, "lesion_dice": [0.6, 0.7, 0.8]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a glyph that it has not
        to_svg(draw_dice_by_site(cases, "lesion", {name: interval}))
        answers = dict.fromkeys(("these_hospitals", "hospitals_like_these", "new_hospital"), interval)
        to_svg(draw_forest({name: {name: interval}}, {name: answers}))
        to_svg(draw_flow_chart([Step([f"3 cases of {name}"], [f"1 {name}"])]))


@needs_font
def test_the_title_of_a_montage_is_drawn_in_hangul():
    def title(text: str) -> np.ndarray:
        sheet = Image.new("RGB", (300, 120))
        draw_texts(sheet, text, "", {})
        return np.asarray(sheet)[:30]

    assert not np.array_equal(title("서울_1"), title("부산_1"))
    assert np.array_equal(title("서울_1"), title(unicodedata.normalize("NFD", "서울_1")))
    assert np.array_equal(title("a\x1b[31m"), title("a\\x1b[31m"))


def fresh_copy_of(module: ModuleType) -> ModuleType:
    """A second copy, which has found and said nothing yet."""
    spec = importlib.util.find_spec(module.__name__)
    assert spec is not None
    assert spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    return copy


def test_without_such_a_font_it_is_said_once_and_the_picture_is_still_made(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
    without = fresh_copy_of(fonts)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert without.choose_font("서울", 20).getname() == choose_font("x", 20).getname()
    assert caplog.text.count("install Noto Sans CJK") == 1
    assert without.list_font_families() == ["DejaVu Sans"]
