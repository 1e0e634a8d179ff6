"""Start a script whose imports take seconds, so that Ctrl-C during them ends it quietly."""

import os
import signal
from importlib import import_module
from types import FrameType

#: Exit status of a program that was stopped by Ctrl-C.
STOPPED = 128 + signal.SIGINT


def start(module: str, function: str) -> None:
    """Import a module and call a function of it. Until it is called, Ctrl-C ends the program with status 130.

    Nothing is written while modules are imported, so nothing has to be said of it.

    Args:
        module: its name.
        function: the name of a function without arguments.
    """
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else the shell ignores Ctrl-C
    if ours:
        signal.signal(signal.SIGINT, _end)
    run = getattr(import_module(module), function)
    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def start_command() -> None:
    """Start ``kicc-ml``."""
    start("kicc_ml.apps.cli", "main")


def _end(number: int, frame: FrameType | None) -> None:
    """End at once; an exception could be caught by a library that is being imported."""
    os._exit(STOPPED)
