"""The process of one fold, as joblib and Slurm start it: ``python -m kicc_ml.apps.fold_job SETTINGS``."""

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from kicc_ml.apps.configuration import log_to_terminal, run_with_clear_errors
from kicc_ml.training.interruption import ANNOUNCEMENTS

#: How many times Slurm has started this job again, for example because another took its place.
RESTARTS = "SLURM_RESTART_COUNT"


@dataclass(frozen=True)
class FoldJob:
    """Trains one fold in a job of Slurm.

    Attributes:
        overrides: the settings, as Hydra reads them.
        goes_on: whether a job that Slurm starts again goes on from the fold's own last checkpoint.
    """

    overrides: tuple[str, ...]
    goes_on: bool

    def __call__(self) -> None:
        """Train the fold."""
        undo_handlers_of_submitit()
        again = self.goes_on and os.environ.get(RESTARTS, "0") != "0"
        run_fold([*self.overrides, *(["ckpt_path=last"] if again else [])])


def undo_handlers_of_submitit() -> None:
    """Leave the end of a job to Slurm. It is announced by a signal, which concerns a training and nothing else."""
    for number in ANNOUNCEMENTS:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # submitit would ignore it, and the job would be killed later


def run_fold(overrides: Sequence[str]) -> None:
    """Train the fold that the settings name, and end the process with an exit status where that fails."""
    from kicc_ml.apps.train import main  # it imports what starts these processes

    sys.argv = [sys.argv[0], *overrides]
    log_to_terminal()
    run_with_clear_errors(main)


def end_with_parent() -> None:
    """End this process as SIGTERM does, with a checkpoint, soon after the one that has started it."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    end_with_parent()
    run_fold(sys.argv[1:])
