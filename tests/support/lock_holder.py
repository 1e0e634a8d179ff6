"""Another process that holds a lock."""

import subprocess
import sys
from pathlib import Path

HOLD = """
import sys, time
from pathlib import Path
from kicc_ml.core.locks import hold
with hold(Path(sys.argv[1]), "x"):
    print("held", flush=True)
    time.sleep(600)
"""


def other_process(lock: Path) -> subprocess.Popen[str]:
    """Start a process that holds ``lock`` until it is killed; returns when it does."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process
