"""Runs commands of the project in forks of one process that has imported it, since importing takes seconds.

Started as a script. One request a line on standard input, as JSON ``{"script", "arguments", "folder", "environment",
"stdout", "stderr", "seconds"}``; one exit status a line back. ``script`` is a file that runs as ``__main__``, or
``module:function`` as an entry point names it. A command is a process of its own from there on: what it does to its
memory, environment and folder dies with it.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def import_project() -> None:
    """Import whatever a command may import later; what cannot be imported is that command's to complain about."""
    package = importlib.import_module("kicc_ml")
    for module in pkgutil.walk_packages(package.__path__, "kicc_ml.", onerror=lambda name: None):
        if not module.name.endswith(("__main__", "decode_worker")):
            try:
                importlib.import_module(module.name)
            except ImportError:
                continue


def begin(request: Mapping[str, Any]) -> None:
    """Turn this fork into the command: its folder, environment, arguments, streams and limit of time."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, number)
        os.close(file)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    signal.alarm(int(request["seconds"]))
    sys.argv = [request["script"].partition(":")[0], *request["arguments"]]


def command_of(script: str) -> Callable[[], Any]:
    """What runs: an entry point's function, or a file as ``__main__``."""
    module, _, function = script.partition(":")
    if function:
        return getattr(importlib.import_module(module), function)
    return lambda: runpy.run_path(script, run_name="__main__")


def end(command: Callable[[], Any]) -> None:
    """Run a command and end this fork as Python would, but for taking all modules apart, which takes seconds."""
    status = 1
    try:
        command()
        status = 0
    except SystemExit as asked:
        if isinstance(asked.code, str):
            print(asked.code, file=sys.stderr)
        status = asked.code if isinstance(asked.code, int) else int(asked.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def serve() -> None:
    """Answer requests until there are none, each in a fork."""
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            begin(request)
            end(command_of(request["script"]))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    import_project()
    gc.collect()
    gc.freeze()  # what was imported is never looked through again, and stays shared between the forks
    print("ready", flush=True)
    serve()
