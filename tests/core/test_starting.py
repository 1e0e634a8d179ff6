"""Ctrl-C while modules are imported ends a script quietly."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Sends itself a Ctrl-C while it is imported, and hides the exception as some libraries do.
INTERRUPTED = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
except BaseException:
    raise ImportError("interrupted") from None
"""
#: The same once the import is over: then the program has its own words.
LATER = """
import os, signal
def run():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        signal.sigtimedwait([], 60)
    except KeyboardInterrupt:
        print("stopped by the program")
"""


def run_module(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    (folder / "slow_module.py").write_text(source)
    # A test run in the background of a shell ignores Ctrl-C, and so would what it starts.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{listen}; from kicc_ml.core.starting import start; start('slow_module', 'run')"
    environment = os.environ | {"PYTHONPATH": f"{folder}:{ROOT}"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)


def test_ctrl_c_during_the_imports_ends_with_130_and_says_nothing(tmp_path: Path) -> None:
    ended = run_module(tmp_path, INTERRUPTED)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_ctrl_c_after_the_imports_is_what_the_program_makes_of_it(tmp_path: Path) -> None:
    ended = run_module(tmp_path, LATER)
    assert (ended.returncode, ended.stdout) == (0, "stopped by the program\n")


@pytest.mark.parametrize("script", ["train.py", "evaluate.py"])
def test_a_script_imports_nothing_slow_before_it_listens(script: str) -> None:
    lines = [line for line in (ROOT / script).read_text().splitlines() if line.lstrip().startswith(("import", "from"))]
    assert lines == ["from kicc_ml.core.starting import start"]


def test_the_command_starts_so_too() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"kicc-ml": "kicc_ml.core.starting:start_command"}
