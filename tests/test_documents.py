"""What README, CONTRIBUTING and the other documents name is there: files, functions, settings, words, commands."""

import ast
import re
from pathlib import Path

import pytest

from kicc_ml.apps.cli import app
from kicc_ml.apps.configuration import CONFIGS
from kicc_ml.cohort.ct_ranking import CRITERIA

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "kicc_ml"
EVALUATION = PACKAGE / "evaluation" / "README.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), EVALUATION])
#: After a dot these end the name of a file; anything else is what a module defines.
SUFFIXES = frozenset({"py", "yaml", "json", "csv", "html"})
#: The changelog tells of files that are gone.
PRESENT = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]
#: Settings whose value is the name of a file in ``configs``.
GROUPS = ("experiment", "cohort", "split", "trainer")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def names_in(path: Path) -> set[str]:
    """Functions, classes and constants that a module defines at its top."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_link_leads_to_a_file(document: Path):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        assert "://" in target or (document.parent / target).exists(), target


@pytest.mark.parametrize("document", PRESENT, ids=name)
def test_every_module_that_is_named_is_there(document: Path):
    for path in re.findall(r"`([\w/]+\.(?:py|yaml))`", document.read_text(encoding="utf-8")):
        if "/" in path and not path.startswith("DIR/"):
            assert any((folder / path).is_file() for folder in (ROOT, PACKAGE)), path


@pytest.mark.parametrize("document", PRESENT, ids=name)
def test_every_function_that_is_named_with_its_module_is_defined_in_it(document: Path):
    text = document.read_text(encoding="utf-8")
    found = re.findall(r"`(\w+)` in `([\w/]+\.py)`", text)
    found += [(member, f"{module}.py") for module, member in re.findall(r"`([\w/]+/\w+)\.([A-Za-z]\w+)`", text)]
    if document == EVALUATION:
        found += [(member, f"evaluation/{module}.py") for module, member in re.findall(r"`([a-z_]+)\.(\w{4,})`", text)]
    for member, module in found:
        if member not in SUFFIXES and (PACKAGE / module).is_file():
            assert member in names_in(PACKAGE / module), f"{module} has no {member}"


def test_the_statistics_that_are_named_by_their_module_are_there():
    table = EVALUATION.read_text(encoding="utf-8").split("## Three questions")[0]
    for row in re.findall(r"^\|[^|]+\|([^|]+)\|", table, re.MULTILINE):
        for module in re.findall(r"`([a-z_]+)[`.]", row):
            assert (PACKAGE / "evaluation" / f"{module}.py").is_file(), module


def test_the_words_of_the_ranking_are_those_of_the_setting():
    text = (ROOT / "docs" / "own-hospitals.md").read_text(encoding="utf-8")
    table = text.split("| word of `cohort.ct_ranking`")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(CRITERIA)


@pytest.mark.parametrize("group", GROUPS)
def test_every_choice_that_is_named_has_its_file(group: str):
    there = {path.stem for path in (CONFIGS / group).glob("*.yaml")} | {"NAME"}
    for document in (ROOT / "README.md", *ROOT.glob("docs/*.md")):
        for chosen in re.findall(rf"(?<![\w.]){group}=(\w+(?:,\w+)*)", document.read_text(encoding="utf-8")):
            assert set(chosen.split(",")) <= there, f"{document.name}: {group}={chosen}"


def test_every_command_of_kicc_ml_that_is_named_is_one():
    commands = {command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands}
    commands |= {group.name for group in app.registered_groups}
    for document in (ROOT / "README.md", *ROOT.glob("docs/*.md")):
        for word in re.findall(r"(?:^|`)kicc-ml ([a-z][a-z-]+)", document.read_text(encoding="utf-8"), re.MULTILINE):
            assert word in commands, f"{document.name}: kicc-ml {word}"


def test_a_reader_finds_the_glossary_within_the_first_twenty_lines():
    assert "(docs/glossary.md)" in "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:20])


def test_a_term_stands_in_the_glossary_once():
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").split("## Index letters")[0]
    terms = [term for row in re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE) for term in row.split(", ")]
    terms = [term for term in terms if term != "term"]
    assert "fold" in terms
    assert sorted(terms) == sorted(set(terms))
