"""Folds as processes of their own on this machine, several at a time (``hydra/launcher=joblib``).

The workers of joblib would be lost together: where the system kills one, joblib ends all others too.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

import joblib

from kicc_ml.training.interruption import TERMINATED


def train_in_processes(settings: Mapping[str, Sequence[str]], processes: int) -> dict[str, str]:
    """Train folds and wait for all.

    Args:
        settings: by name of fold, as Hydra reads them.
        processes: how many at a time, as joblib counts: -1 is one for each processor.

    Returns:
        why each fold that failed did.
    """
    at_a_time = min(joblib.effective_n_jobs(processes), len(settings))
    threads = str(max(1, joblib.cpu_count() // at_a_time))
    environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads), **import_path()}
    pool = joblib.Parallel(at_a_time, backend="threading")
    codes = pool(joblib.delayed(_run)(words, environment) for words in settings.values())
    return {fold: _describe(code) for fold, code in zip(settings, codes, strict=True) if code != 0}


def import_path() -> dict[str, str]:
    """The variable by which another Python finds what this one imports, packages of the user's own among it."""
    return {"PYTHONPATH": os.pathsep.join(place for place in sys.path if place)}


def _run(overrides: Sequence[str], environment: Mapping[str, str]) -> int:
    command = (sys.executable, "-m", "kicc_ml.apps.fold_job", *overrides)
    return subprocess.run(command, env=dict(environment), check=False).returncode


def _describe(code: int) -> str:
    if code in (-signal.SIGTERM, TERMINATED):
        return "it was ended by SIGTERM"
    if code == -signal.SIGKILL:
        return "it was killed; the system does so where memory is short: hydra.launcher.n_jobs=N trains fewer at a time"
    return f"it was ended by signal {-code}" if code < 0 else "its error stands above"
