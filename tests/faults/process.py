"""Commands of the project as processes that begin within milliseconds and can be killed at any moment.

A server of :mod:`multiprocessing` imports PyTorch and the project once and is forked for each command, so that it
costs its own work alone. Each is the leader of its own session, as one started in a terminal is.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
import threading
import time
import tomllib
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import EntryPoint
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: No command of these tests takes a minute on an idle machine.
TIMEOUT_S = 600


def start_server(scratch: Path) -> None:
    """Start the server; what libraries keep for the user goes to ``scratch``."""
    os.environ |= {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "COLUMNS": "200",
        "MPLCONFIGDIR": str(scratch / "matplotlib"),
    }
    _context().set_forkserver_preload(["tests.faults.preloaded"])
    assert Running(["true"], scratch, {}, scratch / "server").wait() == 0


class Running:
    """A command in a process of its own; ``logs`` is the path of its output less ``.out`` and ``.err``."""

    def __init__(self, argv: Sequence[str], cwd: Path, environ: Mapping[str, str], logs: Path) -> None:
        self.stdout, self.stderr = logs.with_suffix(".out"), logs.with_suffix(".err")
        ready = _context().Event()
        arguments = (list(argv), cwd, dict(environ), self.stdout, self.stderr, ready)
        self._process = _context().Process(target=_become, args=arguments)
        self._process.start()
        ready.wait()
        self.started = time.monotonic()

    def kill_at(self, moment_s: float, *, alone: bool) -> bool:
        """Kill -9 that long after the start; whether it still ran. ``alone`` leaves its own children to themselves."""
        if not self.goes_on(max(0.0, moment_s - self.age())):
            return False
        with suppress(ProcessLookupError):
            (os.kill if alone else os.killpg)(self._process.pid, signal.SIGKILL)
        self._process.join()
        return True

    def goes_on(self, seconds: float) -> bool:
        """Wait so long, or until it ends; whether it still runs."""
        self._process.join(seconds)
        return self._process.exitcode is None

    def age(self) -> float:
        """Seconds since it started."""
        return time.monotonic() - self.started

    def wait(self) -> int:
        """The exit status; negative for a signal."""
        self._process.join(TIMEOUT_S)
        if self._process.exitcode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise TimeoutError(f"still running after {TIMEOUT_S} s")
        self.seconds = self.age()
        return self._process.exitcode


def _context() -> multiprocessing.context.ForkServerContext:
    return multiprocessing.get_context("forkserver")


def _become(argv: list[str], cwd: Path, environ: dict[str, str], stdout: Path, stderr: Path, ready) -> None:
    os.setsid()
    for path, number in ((stdout, 1), (stderr, 2)):
        path.unlink(missing_ok=True)  # a child of an earlier command may still write into the file of this name
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    os.environ |= environ
    tempfile.tempdir = None  # as the new environment says
    os.chdir(cwd)
    ready.set()
    _end(_status_of(argv))


def _status_of(argv: list[str]) -> int:
    """Run a command; its exit status, as the interpreter makes it of how a program ends."""
    try:
        _run(argv)
    except SystemExit as end:
        if isinstance(end.code, int | None):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _end(status: int) -> None:
    """End as a program does. A process of multiprocessing waits for its children first, and joblib's never end."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _run(argv: list[str]) -> None:
    name = argv[0]
    if name == "true":
        return
    sys.path.insert(0, str(ROOT))
    sys.argv = [str(ROOT / name) if name.endswith(".py") else name, *argv[1:]]
    if name.endswith(".py"):
        runpy.run_path(sys.argv[0], run_name="__main__")
        return
    # Not from what is installed, which may be another version.
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    sys.exit(EntryPoint(name, scripts[name], "console_scripts").load()())
