"""Fonts for names in Hangul: one is looked for on this machine, since none of the size is shipped."""

import logging
from functools import cache

from matplotlib import font_manager
from PIL import ImageFont

logger = logging.getLogger(__name__)

#: Fonts with Hangul of Linux, Windows and macOS, in order of preference; of a collection the first face is known.
HANGUL_FONTS = (
    *("Noto Sans CJK KR", "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans KR", "NanumGothic", "NanumBarunGothic"),
    *("Malgun Gothic", "Apple SD Gothic Neo", "AppleGothic", "Source Han Sans K", "Pretendard", "UnDotum", "Gulim"),
    *("Noto Serif CJK KR", "Noto Serif CJK JP", "Baekmuk Gulim", "WenQuanYi Zen Hei"),
)
#: Blocks of Hangul: Jamo, compatibility Jamo, syllables.
HANGUL = (range(0x1100, 0x1200), range(0x3130, 0x3190), range(0xAC00, 0xD7B0))
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def list_font_families() -> list[str]:
    """What matplotlib takes glyphs from, in turn."""
    return ["DejaVu Sans", *([font.name] if (font := _find_hangul_font()) else [])]


def choose_font(text: str, size_px: float) -> Font:
    """The font to draw ``text`` with: Pillow's own, or one with Hangul where that is needed and there is one."""
    if has_hangul(text):
        if font := _find_hangul_font():
            return ImageFont.truetype(font.fname, size_px)
        _warn_of_boxes()
    return ImageFont.load_default(size_px)


def has_hangul(text: str) -> bool:
    return any(ord(letter) in block for letter in text for block in HANGUL)


@cache
def _find_hangul_font() -> font_manager.FontEntry | None:
    installed = {font.name: font for font in reversed(font_manager.fontManager.ttflist)}
    return next((installed[name] for name in HANGUL_FONTS if name in installed), None)


@cache
def _warn_of_boxes() -> None:
    logger.warning("no font with Hangul was found, so pictures show boxes in its place; install Noto Sans CJK")
