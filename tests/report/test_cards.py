"""A card says what the report says, with the figures of summary.json, and of no patient; a hostile name is text."""

import itertools
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from markdown_it import MarkdownIt

from kicc_ml.cohort.case_summary import summarise_cases
from kicc_ml.core.types import Case
from kicc_ml.evaluation.summary import summarise
from kicc_ml.report.cards.write import write_cards
from kicc_ml.report.report import write_report
from tests.support.finished_run import evaluate, outcome_run
from tests.support.result_rows import NO_ROWS, case_rows, prediction_rows

SETTINGS = """cohort: {_target_: kicc_ml.cohort.repository.repository, gaps: refuse}
split: {_target_: kicc_ml.cohort.splits.leave_one_site_out}
"""
ABOUT = {
    "name": "run",
    "description": "3 models, leave one site out.",
    "config": SETTINGS,
    "seed": "1",
    "torch": "2.13",
}
CARDS = ("model_card", "data_card")
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+\.\d+")
#: Parts of a model card whose numbers are figures of the run.
WITH_FIGURES = ("What was shown", "Figures", "Subgroups", "Calibration")
HOSTILE = (
    *("<img src=x onerror=alert(1)>", "[x](http://evil.example)", "![x](http://evil.example/x.png)", "a|b|c"),
    *("<script>alert(1)</script>", "`x`", "**b**", "https://evil.example", "# x", "- x", "1. x", "a\nb", "&lt;b&gt;"),
    *(
        "<!-- x",
        "](x)",
        "\\",
        "```",
        "|",
        "a\\|b",
        "~~x~~",
        "www.evil.example",
        "x@evil.example",
        "$$x$$",
        "---",
        "===",
    ),
)


def make_cases() -> list[Case]:
    """The patients of the rows, with sex and age."""
    return [
        Case(row.case_id, row.site, row.case_id, clinical={"sex": number % 2, "age_years": 40.0 + number, "fever": 1.0})
        for number, row in enumerate(case_rows().itertuples())
    ]


def make_rows(kind: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of a run that segments, predicts outcomes, or has baselines alone."""
    if kind == "segmentation":
        return case_rows().assign(slice_mm=1.5, seconds=2.0), NO_ROWS
    baselines = {"model": {"clinical": "age_sex", "network": "clinical"}}
    return NO_ROWS, prediction_rows().replace(baselines if kind == "clinical" else {})


def make_summary(kind: str) -> dict[str, Any]:
    ids = case_rows()["case_id"]
    groups = pd.DataFrame({"case_id": ids, "sex": ["men", "women"] * 12, "age_band": ["under 50"] * 24})
    flow = {"rows": 26, "cases": 24, "counts": {}, "excluded": {"no image": 2}, "unit": "rows of the table"}
    return summarise(*make_rows(kind), groups) | {
        "quarantined": {"north_99": "file /data/hong_gildong.dcm is damaged"},
        "flow": [{"name": "run", "flow": flow, "held_out": {"north": 8}}],
        "table_1": summarise_cases(make_cases()),
        "leakage": {"site_probe": [], "duplicates": [], "pictures": {}, "validation_gap": []},
    }


@pytest.fixture(scope="module", params=["segmentation", "outcome", "clinical"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an evaluated run: its report and its cards."""
    folder = tmp_path_factory.mktemp(request.param) / "run"
    (folder / "north").mkdir(parents=True)
    (folder / "cohort.json").write_text("{}")
    summary, rows = make_summary(request.param), make_rows(request.param)
    write_report(folder, summary, *rows, ABOUT)
    write_cards(folder, summary, *rows, ABOUT, [folder / "north"])
    return folder


class Page(HTMLParser):
    """The tags of a page, the texts of its list items, the ids, and where links lead."""

    def __init__(self, path: Path, only: str = "") -> None:
        super().__init__()
        self.tags: list[str] = []
        self.items: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []
        self._only, self._within, self._item = only, not only, False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = dict(attrs)
        self.tags.append(tag)
        self.ids |= {of["id"] or ""} if "id" in of else set()
        self.links += [of["href"] or ""] if "href" in of else []
        if tag == "section":
            self._within = not self._only or of.get("id") == self._only
        if tag == "li" and self._within:
            self.items.append("")
            self._item = True

    def handle_endtag(self, tag: str) -> None:
        self._item &= tag != "li"

    def handle_data(self, data: str) -> None:
        if self._item:
            self.items[-1] += data


def read_sections(path: Path) -> dict[str, list[str]]:
    """The texts of each section of a Markdown page: items of lists, cells of tables."""
    found: dict[str, list[str]] = {}
    tokens = MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))
    for before, token in itertools.pairwise(tokens):
        if token.type == "inline":
            text = "".join(child.content for child in token.children or ())
            if before.type == "heading_open":
                title = text
            found.setdefault(title, []).append(text)
    return found


def iterate_numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from iterate_numbers(one)
    elif isinstance(value, float):
        yield value


def test_a_card_holds_no_figure_that_summary_json_has_not(run: Path):
    summary = json.loads((run / "summary.json").read_text())
    known = {f"{abs(value):.{digits}f}" for value in iterate_numbers(summary) for digits in (1, 2, 3)}
    sections = read_sections(run / "model_card.md")
    shown = [text for title, texts in sections.items() if title.startswith(WITH_FIGURES) for text in texts]
    numbers = {number.lstrip("+-") for text in shown for number in NUMBER.findall(text)}
    assert len(numbers) > 5
    assert numbers - known - {"0.50"} == set()


def format_figure(figure: dict[str, Any], key: str) -> str:
    if figure[key] is None:
        return "–"
    bounds = f" ({figure['low']:.2f} to {figure['high']:.2f})" if figure["low"] is not None else ""
    return f"{figure[key]:.2f}{bounds}"


def test_figures_by_hospital_are_those_of_summary_json(run: Path):
    sites = json.loads((run / "summary.json").read_text())["sites"]
    lines = (run / "model_card.md").read_text(encoding="utf-8").splitlines()
    for site, figures in sites.items():
        if (run / "cases.csv").stat().st_size > 10:
            expected = [format_figure(figures["segmentation"]["lesion"]["dice"], "mean")]
        else:
            models = {"oxygen": figures["outcome"]["oxygen"], "death": figures["outcome"]["death"]}
            expected = [
                format_figure(of_model["auroc"], "value")
                for of_endpoint in models.values()
                for model, of_model in of_endpoint.items()
                if model in ("network", "clinical")
            ]
        assert any(line.startswith(f"| {site} | {' | '.join(expected)}") for line in lines), (site, expected)


def test_every_claim_is_a_sentence_of_the_reports_verdict_and_none_is_left_out(run: Path):
    sections = read_sections(run / "model_card.md")
    claims = [text for title, texts in sections.items() if title.startswith("What was shown") for text in texts[1:]]
    assert claims
    said = Page(run / "report.html", "verdict").items
    assert sorted(claims) == sorted(said)


@pytest.mark.parametrize("card", CARDS)
def test_markdown_and_page_say_the_same(run: Path, card: str):
    items = [text.strip() for text in Page(run / f"{card}.html").items]
    said = [text for texts in read_sections(run / f"{card}.md").values() for text in texts]
    assert items
    assert set(items) <= set(said)


@pytest.mark.parametrize("card", CARDS)
def test_every_link_of_a_card_leads_to_a_place_that_is_there(run: Path, card: str):
    for link in Page(run / f"{card}.html").links:
        path, _, place = link.removeprefix("./").partition("#")
        assert (run / path).is_file(), link
        assert not place or place in Page(run / path).ids, link


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("kind", ["md", "html"])
def test_no_case_is_named(run: Path, card: str, kind: str):
    text = (run / f"{card}.{kind}").read_text(encoding="utf-8")
    assert not [case_id for case_id in [*case_rows()["case_id"], "north_99", "gildong"] if case_id in text]
    assert "fewer than 5 cases" in text


def test_what_was_not_measured_is_named(run: Path):
    text = (run / "model_card.md").read_text(encoding="utf-8")
    assert "Energy: not measured." in text
    assert "Time of the training: not measured." in text
    assert "PROBAST+AI: no list is filled in" in text
    if not (run / "cases.csv").stat().st_size > 10:
        assert "Domain shift of a new image: not measured" in text
        assert "By sex: not measured" not in text
    else:
        assert "Time of the prediction, median: 2 s for one image." in text
        assert "Calibration of risks: not measured." in text
        assert "Segmentation by subgroup: not measured." in text
    assert "Consent and ethics approval: cannot be known from the run." in (run / "data_card.md").read_text()


def test_the_snapshot_is_named_by_the_digest_of_its_file(run: Path):
    digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # sha256sum of {}
    assert digest in (run / "model_card.md").read_text()
    assert digest in (run / "data_card.html").read_text()


@pytest.fixture(scope="module", params=["segmentation", "outcome"])
def summarised(request: pytest.FixtureRequest) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    return make_summary(request.param), *make_rows(request.param)


def test_the_name_of_a_hospital_is_nothing_but_text(
    summarised: tuple[dict[str, Any], pd.DataFrame, pd.DataFrame], tmp_path: Path
):
    text = json.dumps(summarised[0])
    write_cards(tmp_path / "plain", *summarised, ABOUT, [])
    for start in range(0, len(HOSTILE), 3):
        names = dict(zip(("north", "south", "west"), HOSTILE[start : start + 3], strict=False))
        quoted = {name: json.dumps(hostile)[1:-1] for name, hostile in names.items()}
        summary = json.loads(re.sub("|".join(names), lambda found, quoted=quoted: quoted[found[0]], text))
        cases, predictions = (rows.replace(names) for rows in summarised[1:])
        named = tmp_path / str(start)
        write_cards(named, summary, cases, predictions, ABOUT, [])
        for card in CARDS:
            assert Page(named / f"{card}.html").tags == Page(tmp_path / "plain" / f"{card}.html").tags, names
            assert list_markup(named / f"{card}.md") == list_markup(tmp_path / "plain" / f"{card}.md"), names
        said = read_sections(named / "model_card.md")["Training hospitals"]
        assert {" ".join(name.split()) for name in names.values()} <= set(said)


def list_markup(path: Path) -> list[str]:
    """All markup of a page of Markdown, with links, sorted: the names of hospitals change their order."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    tokens = parser.parse(path.read_text(encoding="utf-8"))
    inline = [child for token in tokens for child in token.children or () if child.type not in ("text", "text_special")]
    return sorted(f"{token.type} {token.attrGet('href') or ''}" for token in [*tokens, *inline])


@pytest.mark.parametrize("width", [1440, 390])
def test_a_card_opens_without_a_request_and_fits_the_window(run: Path, browser, width: int):
    page = browser.new_page(viewport={"width": width, "height": 900})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for card in CARDS:
        page.goto((run / f"{card}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
    assert asked == [(run / f"{card}.html").as_uri() for card in CARDS]


def test_an_evaluation_writes_cards_without_the_reasons_of_what_was_set_aside(tmp_path: Path):
    run = outcome_run(tmp_path, {"seoul_1": "hong_gildong.dcm is damaged"})
    evaluate(run)
    text = (run / "model_card.md").read_text(encoding="utf-8")
    assert "Prediction of ICU" in text
    assert "Set aside, because they could not be read or predicted: fewer than 5 cases." in text
    assert "gildong" not in text + (run / "data_card.html").read_text(encoding="utf-8")
