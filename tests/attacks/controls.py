"""Characters that act on a terminal, an editor or a page in place of being read."""

import re
import unicodedata

#: C0 but tab and new line, DEL, C1 (of which 9B begins what ESC [ does), and what turns the direction of writing.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
#: A bar that is drawn over itself.
PROGRESS = re.compile(r"\r(?!\n)(?=[^\r\n]*(\d+%|it/s|s/it|\d+/\d+))")


def controls_in(text: str, *, progress: bool = False) -> list[str]:
    """The control characters of a text, each with what stands about it; bars of progress may return to their start.

    Bytes that are no UTF-8 and stand as lone surrogates count: a terminal takes those of C1 for what they are.
    """
    text = PROGRESS.sub("", text) if progress else text
    found = [*CONTROL.finditer(text), *re.finditer("[\udc80-\udcff]", text)]
    return [f"{_name(one[0])} in {text[max(0, one.start() - 40) : one.end() + 20]!r}" for one in found]


def _name(character: str) -> str:
    return unicodedata.name(character, f"U+{ord(character):04X}")
