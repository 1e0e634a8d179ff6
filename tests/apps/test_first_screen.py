"""``kicc-ml`` alone: a newcomer's commands, which are there, and ``kicc-ml demo``."""

import re
import sys

import pytest
from typer.testing import CliRunner

from kicc_ml.apps.cli import app


def test_kicc_ml_alone_ends_well_and_names_only_commands_that_are_there():
    shown = CliRunner().invoke(app, [])
    assert shown.exit_code == 0
    commands = set(re.findall(r"^  kicc-ml ([a-z-]+)", shown.output, re.MULTILINE)) - {"--help"}
    assert {"demo", "doctor", "train", "predict", "view"} <= commands
    there = {command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands}
    assert commands <= there


def test_the_first_screen_fits_a_terminal():
    lines = CliRunner().invoke(app, []).output.splitlines()
    assert len(lines) <= 24
    assert max(len(line) for line in lines) <= 80


def test_a_command_shows_no_first_screen():
    assert "Begin here" not in CliRunner().invoke(app, ["--help"]).output
    assert "Begin here" not in CliRunner().invoke(app, ["summary", "--help"]).output


def test_kicc_ml_demo_is_the_training_of_the_demo_with_the_settings_that_follow(monkeypatch: pytest.MonkeyPatch):
    started: list[list[str]] = []
    monkeypatch.setattr("kicc_ml.apps.train.run", lambda: started.append(sys.argv))
    monkeypatch.setattr(sys, "argv", ["kicc-ml"])
    CliRunner().invoke(app, ["demo", "run_dir=elsewhere"], catch_exceptions=False)
    assert started == [["kicc-ml demo", "experiment=demo", "run_dir=elsewhere"]]
