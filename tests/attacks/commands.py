"""Commands of the project as a user types them, and what every one of them has to keep to whatever it is given."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from tests.attacks.controls import controls_in

ROOT = Path(__file__).resolve().parents[2]
SERVER = Path(__file__).with_name("command_server.py")
KICC_ML = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]["kicc-ml"]
SCRIPTS = {"kicc-ml": KICC_ML, "train.py": str(ROOT / "train.py"), "evaluate.py": str(ROOT / "evaluate.py")}

#: Finished, the user's error, finished with cases set aside.
STATUSES = {0, 2, 3}
#: One command may take this long, in seconds, before it counts as hanging.
HANGING_S = 300
TRACEBACK = re.compile(r"^\s*Traceback \(most recent call last\)|^  File \".+\", line \d+, in ", re.MULTILINE)

#: Sizes and steps that make a run in seconds; what it predicts is of no interest.
SMALL = (
    *("data=ct_patches", "data.canonical.spacing_mm=[6,6,8]", "data.patch_size=[48,48,24]", "data.patches_per_epoch=4"),
    *("data.batch_size=2", "network=unet_light", "network.channels=[4,8,8,8]", "trainer.max_time=null"),
    *("++trainer.max_steps=4", "plan.memory_gib=4"),
)


@dataclass(frozen=True)
class Said:
    """How a command ended and what it said; bytes that are no UTF-8 stand as lone surrogates."""

    command: tuple[str, ...]
    status: int
    stdout: str
    stderr: str

    @property
    def refused(self) -> bool:
        return self.status == 2

    def faults(self) -> list[str]:
        """What is wrong with it as an answer to anybody: status, traceback, raw control characters."""
        found = []
        if self.status not in STATUSES:
            found.append(f"exit status {self.status}: {self.stderr[-300:]!r}")
        if TRACEBACK.search(self.stderr) or TRACEBACK.search(self.stdout):
            found.append(f"traceback: {self.stderr[-300:]!r}")
        if self.refused and "rror" not in self.stderr:
            found.append(f"exit status 2 without a word: {self.stderr[-300:]!r}")
        for name, text in (("stdout", self.stdout), ("stderr", self.stderr)):
            if controls := controls_in(text, progress=name == "stderr"):
                found.append(f"raw {controls[0]} on {name}")
        return [f"{' '.join(self.command)[:160]!r}: {fault}" for fault in found]


class Commands:
    """A running server of commands; ``home`` is where they keep what they keep for their user."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "said").mkdir(parents=True)
        self._process = subprocess.Popen(
            [sys.executable, str(SERVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | self.environment | {"PYTHONPATH": str(ROOT)},
        )
        assert self._read() == "ready"

    @property
    def environment(self) -> Mapping[str, str]:
        """Strict streams, as in any UTF-8 locale but C; one thread; a home of its own."""
        return {
            **{
                "HOME": str(self.home),
                "XDG_CACHE_HOME": str(self.home / "cache"),
                "KICC_KEYS": str(self.home / "keys"),
            },
            **{"XDG_CONFIG_HOME": str(self.home / "config"), "TMPDIR": str(self.home / "said"), "OMP_NUM_THREADS": "1"},
            **{"PYTHONIOENCODING": "utf-8:strict", "COLUMNS": "200", "KICC_DATA": str(self.home / "no-data")},
        }

    def run(self, folder: Path, script: str, *arguments: object) -> Said:
        """One command from ``folder``: ``kicc-ml``, ``train.py`` or ``evaluate.py`` with its arguments."""
        streams = {name: self.home / "said" / name for name in ("stdout", "stderr")}
        words = [str(word) for word in arguments]
        request = {
            "script": SCRIPTS[script],
            "arguments": words,
            "folder": str(folder),
            "environment": {**os.environ, **self.environment},
            **{name: str(path) for name, path in streams.items()},
            "seconds": HANGING_S,
        }
        self._write(json.dumps(request))
        status = int(self._read())
        texts = {name: path.read_bytes().decode("utf-8", "surrogateescape") for name, path in streams.items()}
        return Said((script, *words), status, texts["stdout"], texts["stderr"])

    def run_apart(self, folder: Path, *arguments: object) -> None:
        """A command of ``kicc-ml`` in an interpreter of its own, for one that starts workers, which a fork cannot."""
        module, _, function = KICC_ML.partition(":")
        words = [sys.executable, "-c", f"from {module} import {function}; {function}()", *map(str, arguments)]
        environment = {**os.environ, **self.environment, "PYTHONPATH": str(ROOT)}
        subprocess.run(words, cwd=folder, env=environment, check=True, capture_output=True, timeout=HANGING_S)

    def stop(self) -> None:
        cast(IO[str], self._process.stdin).close()
        self._process.wait(timeout=30)

    def _write(self, line: str) -> None:
        stdin = cast(IO[str], self._process.stdin)
        stdin.write(line + "\n")
        stdin.flush()

    def _read(self) -> str:
        return cast(IO[str], self._process.stdout).readline().strip()


def quoted(value: str) -> str:
    """A value of a setting as Hydra's grammar takes it: in single quotes, with those within escaped."""
    within = re.sub(r"(\\*)'", lambda found: found[1] * 2 + "\\'", value)
    tail = len(within) - len(within.rstrip("\\"))
    return "'" + within + "\\" * tail + "'"


def setting(key: str, value: str | Sequence[str]) -> str:
    """``key=value`` for Hydra, of one value or of several."""
    return f"{key}={quoted(value)}" if isinstance(value, str) else f"{key}=[{','.join(map(quoted, value))}]"
