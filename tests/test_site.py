"""The pages of docs/ hang together, and become a site that needs no network."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SETTINGS = yaml.safe_load((DOCS / "site" / "mkdocs.yml").read_text(encoding="utf-8"))
HOOKS = (DOCS / "site" / "hooks.py").read_text(encoding="utf-8")
#: Pages of the site that hooks.py makes, or takes from other folders.
MADE = set(re.findall(r'"([\w/-]+\.md)": write_', HOOKS)) | set(re.findall(r'\.md": "([\w/-]+\.md)"', HOOKS))
MADE |= {f"tutorials/{notebook.stem}.md" for notebook in (DOCS / "tutorials").glob("*.ipynb")}
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DOCS.glob("**/*.md"), ROOT / "kicc_ml/evaluation/README.md"])


def pages_of(nav: list | dict | str) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for part in (nav.values() if isinstance(nav, dict) else nav) for page in pages_of(part)]


def anchors_of(document: Path) -> set[str]:
    """The anchors that a code host gives to the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_that_the_menu_names_is_there():
    assert [page for page in pages_of(SETTINGS["nav"]) if not (DOCS / page).is_file() and page not in MADE] == []


def test_every_page_stands_in_the_menu_once():
    named = pages_of(SETTINGS["nav"])
    pages = {str(path.relative_to(DOCS)) for path in DOCS.glob("**/*.md")}
    decisions = {page for page in pages if page.startswith("decisions/2")}  # their own page lists them
    assert sorted(named) == sorted((pages - decisions - {"site/README.md"}) | MADE)


def test_every_decision_stands_in_their_list():
    listed = re.findall(r"\]\((2[^)]+)\)", (DOCS / "decisions" / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(path.name for path in (DOCS / "decisions").glob("2*.md"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_a_heading_finds_it(document: Path):
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)#([^)\s]+)\)", document.read_text(encoding="utf-8")):
        assert anchor in anchors_of((document.parent / target) if target else document), f"{target}#{anchor}"


class Fetched(HTMLParser):
    """Addresses that a browser asks for when it shows a page."""

    def __init__(self):
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]):
        said = dict(attrs)
        if tag == "link" or "src" in said:
            self.addresses += [value for value in (said.get("src"), said.get("href")) if value]


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs is not installed (pip install 'kicc_ml[docs]')")
def test_the_site_is_built_strictly_and_its_pages_fetch_nothing_from_elsewhere(tmp_path: Path):
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", str(DOCS / "site" / "mkdocs.yml")]
    built = subprocess.run([*command, "-d", str(site)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert built.returncode == 0, built.stderr
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(pages_of(SETTINGS["nav"]))
    for page in pages:
        parser = Fetched()
        parser.feed(page.read_text(encoding="utf-8"))
        assert parser.addresses
        assert [address for address in parser.addresses if re.match(r"(\w+:)?//", address)] == [], page
    for sheet in site.rglob("*.css"):
        assert re.findall(r"url\([\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8")) == [], sheet
    assert "cohort.gaps" in (site / "refusal.html").read_text(encoding="utf-8")
    for notebook in (DOCS / "tutorials").glob("*.ipynb"):
        drawn = re.findall(r'<img[^>]+src="([^"]+)"', (site / "tutorials" / f"{notebook.stem}.html").read_text("utf-8"))
        assert drawn
        assert all((site / "tutorials" / picture).is_file() for picture in (*drawn, notebook.name))
    for page, word in (("python", "split_by_site"), ("command-line", "export-dataset"), ("settings", "val_fraction")):
        assert word in (site / "reference" / f"{page}.html").read_text(encoding="utf-8")
