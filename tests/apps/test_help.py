"""What ``--help`` says: first what to type, in lines that a terminal of 80 columns shows whole."""

import itertools
import re

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from typer.testing import CliRunner

from kicc_ml.apps.cli import app
from kicc_ml.apps.configuration import CONFIGS, compose_configuration

COLUMNS = 80
SCRIPTS = ("train", "evaluate")
COMMANDS = ("index", "doctor", "export-dataset", "predict", "export", "cases", "datasets check")


def template(script: str) -> str:
    """Hydra's help of a script, before Hydra puts in the groups."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return str(compose(script, return_hydra_config=True).hydra.help.template)


def examples(script: str) -> list[str]:
    return re.findall(rf"^  python {script}\.py(?: (\S.*?))?(?: {{3,}}.*)?$", template(script), re.MULTILINE)


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_help_of_a_script_begins_with_what_to_type(script: str):
    first = template(script).splitlines()[:8]
    assert sum(f"python {script}.py " in line for line in first) >= 2
    assert any("--cfg job" in line for line in template(script).splitlines())


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_help_of_a_script_fits_into_the_terminal(script: str):
    assert [line for line in template(script).splitlines() if len(line) > COLUMNS] == []


@pytest.mark.parametrize(("script", "least"), [("train", 4), ("evaluate", 3)])
def test_hydra_takes_every_example_of_the_help(script: str, least: int):
    typed = examples(script)
    assert len(typed) >= least
    for one in typed:
        words = one.replace("-m ", "").replace("seed=1,2", "seed=1").split()
        cfg = compose_configuration(script, words)
        for word in words:
            key, value = word.split("=", 1)
            if key not in ("experiment", "cohort"):
                assert str(OmegaConf.select(cfg, key)) == value


@pytest.mark.parametrize("command", COMMANDS)
def test_a_line_of_help_ends_only_where_the_next_word_does_not_fit(command: str):
    shown = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": str(COLUMNS)}).output
    prose = shown.split("╭")[0].split("\n", 3)[3]
    paragraphs = re.split(r"\n *\n", prose.strip("\n"))
    assert any(len(paragraph.splitlines()) > 1 for paragraph in paragraphs)
    for paragraph in paragraphs:
        lines = [line.strip() for line in paragraph.strip().splitlines()]
        for line, after in itertools.pairwise(lines):
            assert len(f" {line} {after.split()[0]} ") > COLUMNS, line
