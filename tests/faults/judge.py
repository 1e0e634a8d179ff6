"""Whether a disturbed command ended as it may: with the undisturbed result, or by telling the user what to do."""

import os
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.faults.content import LOGS, content, content_of, differences, files_of, is_hidden
from tests.faults.process import Running
from tests.faults.sandbox import Sandbox

EQUAL, TOLD = "equal", "told"
#: Exit status of what the user can mend.
USERS_ERROR = 2
TWO_DAYS_S = 2 * 24 * 3600


def said(running: Running) -> str:
    """The end of what a command printed, for a message."""
    return running.stdout.read_text(errors="replace")[-800:] + running.stderr.read_text(errors="replace")[-2500:]


def message_of(running: Running) -> str:
    """The one sentence of a user's error; fails where a command that ended with 2 printed anything else."""
    text = running.stderr.read_text(errors="replace")
    assert "Traceback" not in text, f"a traceback: {said(running)}"
    assert len(re.findall("^error: ", text, re.MULTILINE)) == 1, f"not one message: {said(running)}"
    return text[text.index("error: ") :].strip()


def check_ended_well(running: Running, status: int) -> str:
    """``equal`` where it ended like the undisturbed one, ``told`` where it said one sentence; fails otherwise."""
    assert status in (0, USERS_ERROR), f"status {status}: {said(running)}"
    if status == USERS_ERROR:
        message_of(running)
        return TOLD
    assert "Traceback" not in running.stderr.read_text(errors="replace"), f"a traceback: {said(running)}"
    return EQUAL


def check_nothing_partial(out: Path, expected: Mapping[str, Any]) -> None:
    """No file may be seen that a user would take for a result and that differs from the undisturbed one."""
    seen = {name: path for name, path in files_of(out).items() if not is_hidden(name) and not LOGS.search(name)}
    differing = differences({name: content(path) for name, path in seen.items()}, expected)
    partial = [line for line in differing if not line.startswith("missing")]
    assert not partial, f"left visible, and no part of the undisturbed result: {partial[:12]}"


def check_equal(out: Path, expected: Mapping[str, Any]) -> None:
    differing = differences(content_of(out), expected)
    assert not differing, f"not the undisturbed result: {differing[:12]}"


def take_up(sandbox: Sandbox, words: tuple[str, ...], expected: Mapping[str, Any]) -> str:
    """Run the command again, and once more where it says what to remove; how that came to the undisturbed result."""
    age_partials(sandbox.root)
    running = sandbox.start(words, "again")
    ended = check_ended_well(running, running.wait())
    if ended == TOLD:
        remove_what_is_named(message_of(running), sandbox.root)
        running = sandbox.start(words, "again")
        assert check_ended_well(running, running.wait()) == EQUAL, f"told again: {message_of(running)}"
    check_equal(sandbox.out, expected)
    return ended


def age_partials(root: Path) -> None:
    """As if the command were taken up two days later: what it left half written must not stay."""
    for name, path in files_of(root).items():
        if ".partial-" in name:
            for one in (path, *path.parents):
                if one.name.startswith(".partial-"):
                    os.utime(one, (time.time() - TWO_DAYS_S,) * 2)


def remove_what_is_named(message: str, root: Path) -> None:
    """Do what a message says: remove the last path in it."""
    named = [Path(path.rstrip(".,;:)'\"")) for path in re.findall(rf"{re.escape(str(root))}/[^\s,;]+", message)]
    existing = [path for path in named if path.exists()]
    assert existing, f"names nothing that could be removed: {message}"
    shutil.rmtree(existing[-1]) if existing[-1].is_dir() else existing[-1].unlink()
