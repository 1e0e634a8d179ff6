"""The commands of the project as a user starts them, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KICC_ML = (str(Path(sys.executable).with_name("kicc-ml")),)
TRAIN, EVALUATE = (sys.executable, "train.py"), (sys.executable, "evaluate.py")
#: Budgets in steps, so that a run is the same however busy the machine is.
QUICK = ("trainer.max_time=null", "++trainer.max_steps=4")
Result = subprocess.CompletedProcess[str]


def run(*command: object, timeout_s: float = 600) -> Result:
    """One command from the project's folder, on one thread."""
    return subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def train(repository: Path, folder: Path, *settings: str) -> Result:
    """``train.py`` on a repository, into ``folder``; the store lies beside it."""
    where = (f"cohort.root={repository}", f"run_dir={folder}", f"store_dir={folder.parent / 'store'}")
    return run(*TRAIN, "cohort=repository", *where, *settings)


def finished(result: Result) -> Path:
    """The report that a command ends with."""
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    last = result.stdout.strip().splitlines()[-1]
    assert last.startswith("report: ")
    return Path(last.removeprefix("report: "))


def refused(result: Result) -> str:
    """The one message of a user's error."""
    assert result.returncode == 2, result.stdout[-2000:] + result.stderr[-4000:]
    assert "Traceback" not in result.stderr
    messages = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(messages) == 1
    return result.stderr[result.stderr.index("error: ") :]
