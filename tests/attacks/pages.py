"""Pages as somebody opens them from disk, in Chromium: which script of a stranger ran, and which link leads nowhere."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

#: What a page may link to outside of its folder: papers and documentation.
OUTSIDE = ("https", "mailto")
MARKER = "kicc-attack"
#: A page opens in a tenth of a second, on a machine that has nothing else to do.
HANGING_MS = 180_000
#: Everything that waits for a mouse or the focus gets it.
TOUCH = """() => document.querySelectorAll('*').forEach(one => {
    for (const kind of ['mouseover', 'mouseenter', 'focus', 'toggle']) one.dispatchEvent(new Event(kind));
})"""
LINKS = """() => [...document.querySelectorAll('[href], [src], [action], [formaction]')].map(one =>
    ['href', 'src', 'action', 'formaction'].filter(name => one.hasAttribute(name)).map(name =>
        [one.tagName, one.getAttribute(name), String(new URL(one.getAttribute(name), document.baseURI))])).flat()"""


def faults_of_pages(browser: Any, paths: Sequence[Path]) -> list[str]:
    """Scripts that ran and links that lead nowhere, of all pages."""
    tab = browser.new_page()
    tab.set_default_timeout(HANGING_MS)
    try:
        return [f"{path.name}: {fault}" for path in paths for fault in _faults(tab, path)]
    finally:
        tab.close()


def _faults(tab: Any, path: Path) -> list[str]:
    heard: list[str] = []

    def dialog(one: Any) -> None:
        heard.append(f"a dialog opened: {one.message!r}")
        one.dismiss()

    def console(one: Any) -> None:
        if MARKER in one.text:
            heard.append(f"the console says {one.text[:80]!r}")

    tab.on("dialog", dialog)
    tab.on("console", console)
    try:
        tab.goto(path.absolute().as_uri(), wait_until="load")
        tab.evaluate(TOUCH)
        tab.wait_for_timeout(20)
        links = tab.evaluate(LINKS)
        if urlsplit(tab.url).path != urlsplit(path.absolute().as_uri()).path:
            heard.append(f"went to {tab.url}")
    finally:
        tab.remove_listener("dialog", dialog)
        tab.remove_listener("console", console)
    return heard + [fault for tag, written, url in links if (fault := _fault_of_link(tag, written, url))]


def _fault_of_link(tag: str, written: str, url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "file" and not parts.netloc:
        target = Path(unquote(parts.path, errors="surrogateescape"))
        return "" if target.exists() else f"dead link {written!r}"
    if parts.scheme == "data" and tag != "A":
        return ""  # a picture in the page itself
    return "" if parts.scheme in OUTSIDE else f"link to {written[:80]!r}"
