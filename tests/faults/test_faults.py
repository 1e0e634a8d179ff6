"""Every command is killed, runs out of disk and meets itself at random moments; taken up again it ends the same.

``KICC_FAULTS=full`` disturbs each command 20, 10 and 10 times. ``KICC_FAULT_SEED`` draws other moments; a failure names
its own, so that ``KICC_FAULT_SEED=... pytest tests/faults -m slow -k ...`` repeats it.
"""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.faults.commands import COMMANDS, Command, make_inputs
from tests.faults.content import content_of, differences
from tests.faults.judge import (
    EQUAL,
    TOLD,
    check_ended_well,
    check_equal,
    check_nothing_partial,
    message_of,
    said,
    take_up,
)
from tests.faults.process import Running, start_server
from tests.faults.sandbox import leave_room, sandbox, sandbox_on_a_small_disk

pytestmark = pytest.mark.slow

SEED = os.environ.get("KICC_FAULT_SEED", "1")
#: The second of two processes begins within this share of the first one's time.
OVERLAP = 0.7

Undisturbed = Callable[[str], "Reference"]
Note = Callable[[str, object], None]


@dataclass(frozen=True)
class Reference:
    """What a command leaves, how long it takes, and how many bytes it writes, all undisturbed."""

    content: dict[str, Any]
    seconds: float
    written_bytes: int


@pytest.fixture(scope="session")
def inputs(scratch: Path) -> Path:
    start_server(scratch)
    make_inputs(scratch / "inputs")
    return scratch / "inputs"


@pytest.fixture(scope="session")
def undisturbed(scratch: Path, inputs: Path) -> Undisturbed:
    @cache
    def run_once(name: str) -> Reference:
        return run_undisturbed(COMMANDS[name], scratch / "sandbox", inputs)

    return run_once


def run_undisturbed(command: Command, root: Path, inputs: Path) -> Reference:
    with sandbox(root, inputs, command.given) as place:
        before, others = bytes_below(place.root), place.others()
        running = place.start(command.words)
        seconds = seconds_until(place.out / command.until, running) if command.until else None
        assert running.wait() == 0, said(running)
        assert place.others() == others
        written = bytes_below(place.root) - before
        return Reference(content_of(place.out), seconds or running.seconds, written)


def seconds_until(path: Path, running: Running) -> float:
    while not path.exists() and running.goes_on(0.02):
        pass
    return running.age()


def bytes_below(root: Path) -> int:
    """As whole pages, since that is what a small disk counts."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in root.rglob("*") if path.is_file())


def fault(kind: str) -> Callable[[Callable], Callable]:
    def mark(test: Callable) -> Callable:
        test.fault = kind  # type: ignore[attr-defined]
        return pytest.mark.parametrize("name", list(COMMANDS))(test)

    return mark


@pytest.fixture
def draw(request: pytest.FixtureRequest, record_property: Note) -> random.Random:
    """Random numbers of this command, fault and number alone, so that each test can be repeated alone."""
    name, kind, number = (request.getfixturevalue(one) for one in ("name", "fault", "number"))
    record_property("command", name)
    record_property("fault", kind)
    return random.Random(f"{SEED} {name} {kind} {number}")


@pytest.mark.parametrize("name", list(COMMANDS))
def test_two_undisturbed_runs_are_equal(name: str, undisturbed: Undisturbed, scratch: Path, inputs: Path):
    again = run_undisturbed(COMMANDS[name], scratch / "sandbox", inputs)
    assert again.content
    assert differences(again.content, undisturbed(name).content) == []


@fault("killed")
def test_a_killed_command_is_taken_up_again(
    name: str,
    number: int,
    draw: random.Random,
    undisturbed: Undisturbed,
    scratch: Path,
    inputs: Path,
    record_property: Note,
    fault: str,
):
    expected, command = undisturbed(name), COMMANDS[name]
    moment_s, alone = draw.random() * expected.seconds, draw.random() < 0.5
    print(f"killed after {moment_s:.3f} of {expected.seconds:.3f} s, {'alone' if alone else 'with its children'}")
    with sandbox(scratch / "sandbox", inputs, command.given) as place:
        others = place.others()
        in_time = place.start(command.words).kill_at(moment_s, alone=alone)
        check_nothing_partial(place.out, expected.content)
        outcome = take_up(place, command.words, expected.content)
        assert place.others() == others
    record_property("outcome", outcome if in_time else "too late")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
@fault("full")
def test_a_command_that_ran_out_of_disk_says_so_and_is_taken_up_again(
    name: str,
    number: int,
    draw: random.Random,
    undisturbed: Undisturbed,
    scratch: Path,
    inputs: Path,
    record_property: Note,
    fault: str,
):
    expected, command = undisturbed(name), COMMANDS[name]
    room = int(draw.random() * expected.written_bytes)
    print(f"room for {room} of {expected.written_bytes} bytes")
    with sandbox_on_a_small_disk(scratch / "sandbox", inputs, command.given) as place:
        others = place.others()
        leave_room(place.root, room)
        running = place.start(command.words)
        ended = check_ended_well(running, running.wait())
        check_nothing_partial(place.out, expected.content)
        if ended == EQUAL:  # what did not fit can be done without
            check_equal(place.out, expected.content)
        print(message_of(running) if ended == TOLD else "there was room enough")
        leave_room(place.root, None)
        outcome = take_up(place, command.words, expected.content)
        assert place.others() == others
    record_property("outcome", "too late" if ended == EQUAL else outcome)


@fault("pair")
def test_two_processes_of_one_command_do_not_mix(
    name: str,
    number: int,
    draw: random.Random,
    undisturbed: Undisturbed,
    scratch: Path,
    inputs: Path,
    record_property: Note,
    fault: str,
):
    expected, command = undisturbed(name), COMMANDS[name]
    later_s = draw.random() * OVERLAP * expected.seconds if number else 0.0  # the first pair begins at once
    print(f"the second begins after {later_s:.3f} of {expected.seconds:.3f} s")
    with sandbox(scratch / "sandbox", inputs, command.given) as place:
        others = place.others()
        first = place.start(command.words, "first")
        first.goes_on(later_s)
        second = place.start(command.words, "second")
        ended = [check_ended_well(one, one.wait()) for one in (first, second)]
        assert EQUAL in ended, f"both were refused: {message_of(first)} {message_of(second)}"
        check_equal(place.out, expected.content)
        assert place.others() == others
    record_property("outcome", TOLD if TOLD in ended else EQUAL)
