"""The Tab key completes commands and options of kicc-ml, and settings of the scripts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import EVALUATE, KICC_ML, ROOT, TRAIN


def answer(command: tuple[str, ...], *words: str, **variables: str) -> list[str]:
    done = subprocess.run(
        [*command, *words], cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("kicc-ml pre", {"predict"}), ("kicc-ml predict --out", {"--outcome-run"}), ("kicc-ml e", {"evaluate", "export"})],
)
def test_bash_is_told_commands_and_options(typed: str, completed: set[str]):
    place = str(len(typed.split()) - 1)
    found = answer(KICC_ML, _KICC_ML_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=place)
    assert completed <= set(found)
    assert all(word.startswith(typed.split()[-1]) for word in found)


def test_it_is_installed_into_the_home_of_the_user(tmp_path: Path):
    assert "installed" in " ".join(answer(KICC_ML, "--install-completion", "bash", HOME=str(tmp_path)))
    written = (tmp_path / ".bash_completions" / "kicc-ml.sh").read_text(encoding="utf-8")
    assert "_KICC_ML_COMPLETE=complete_bash" in written
    assert str(tmp_path) in (tmp_path / ".bashrc").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "typed", "completed"),
    [(TRAIN, "experiment=le", "experiment=lesion_ct"), (EVALUATE, "cohort=hu", "cohort=hu_ct")],
)
def test_hydra_completes_the_settings_of_a_script(script: tuple[str, ...], typed: str, completed: str):
    line = f"python {script[1]} {typed}"
    assert completed in answer(script, "-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))


@pytest.mark.slow
def test_hydra_writes_what_bash_needs():
    assert "hydra_bash_completion()" in answer((sys.executable, "train.py"), "-sc", "install=bash")
