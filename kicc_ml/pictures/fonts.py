"""Find a font for names in Hangul on this machine; none is shipped, because such fonts are large."""

import logging
from functools import cache

from matplotlib import font_manager
from PIL import ImageFont

logger = logging.getLogger(__name__)

#: Fonts with Hangul on Linux, Windows and macOS, in order of preference; only the first face of a collection is used.
HANGUL_FONTS = (
    *("Noto Sans CJK KR", "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans KR", "NanumGothic", "NanumBarunGothic"),
    *("Malgun Gothic", "Apple SD Gothic Neo", "AppleGothic", "Source Han Sans K", "Pretendard", "UnDotum", "Gulim"),
    *("Noto Serif CJK KR", "Noto Serif CJK JP", "Baekmuk Gulim", "WenQuanYi Zen Hei"),
)
#: Blocks of Hangul: Jamo, compatibility Jamo, syllables.
HANGUL = (range(0x1100, 0x1200), range(0x3130, 0x3190), range(0xAC00, 0xD7B0))
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def list_font_families() -> list[str]:
    """List the font families from which matplotlib takes glyphs, in order."""
    return ["DejaVu Sans", *([font.name] if (font := _find_hangul_font()) else [])]


def choose_font(text: str, size_px: float) -> Font:
    """Choose the font for a text: one with Hangul if it is needed and installed, else Pillow's default font."""
    if has_hangul(text):
        if font := _find_hangul_font():
            return ImageFont.truetype(font.fname, size_px)
        _warn_of_boxes()
    return ImageFont.load_default(size_px)


def has_hangul(text: str) -> bool:
    """Return whether a text has Korean letters."""
    return any(ord(letter) in block for letter in text for block in HANGUL)


@cache
def _find_hangul_font() -> font_manager.FontEntry | None:
    installed = {font.name: font for font in reversed(font_manager.fontManager.ttflist)}
    return next((installed[name] for name in HANGUL_FONTS if name in installed), None)


@cache
def _warn_of_boxes() -> None:
    logger.warning("no font with Hangul was found, so pictures show boxes in its place; install Noto Sans CJK")
