"""One attack: a folder laid out with hostile names, commands run on it, and what has to hold whatever comes of it."""

import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.attacks.claims import faults_of_files
from tests.attacks.commands import Commands, Said
from tests.attacks.pages import faults_of_pages
from tests.support.tree import differences, snapshot

#: A test that fails says the first of what it found; the rest is counted.
SHOWN = 25
#: Names that were refused together are tried apart only where they are more.
FEW = 3


@dataclass(frozen=True)
class World:
    """A place with things in it that nobody asked to touch: only ``out`` may be written to."""

    folder: Path

    @property
    def source(self) -> Path:
        return self.folder / "source"

    @property
    def out(self) -> Path:
        return self.folder / "results" / "out"


Layout = Callable[[Path, Sequence[str]], None]
#: Commands one after the other, as script and arguments; the first that is refused ends them.
Line = Callable[[World], Sequence[tuple[object, ...]]]


@dataclass
class Attacker:
    """Runs lines of commands on layouts, halving the names where something is refused so that every name has its say.

    ``pages`` says how many pages of the results are opened in ``browser``.
    """

    commands: Commands
    browser: Any
    folder: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def faults(self, names: Sequence[str], lay: Layout, line: Line, pages: int = 3, halve: bool = True) -> list[str]:
        """Everything wrong that came of it; empty where every claim holds.

        ``halve=False`` is for names that are all to be refused, together.
        """
        world = self._world(lay, names)
        before = snapshot(world.folder, but=[world.out])
        said = self._run(world, line)
        broken = [fault for one in said for fault in one.faults()]
        touched = differences(before, snapshot(world.folder, but=[world.out]))
        found = touched + faults_of_files(world.out)
        written = [path for path in sorted(world.out.rglob("*.html")) if path.is_file()]
        found += faults_of_pages(self.browser, written[:pages])
        shutil.rmtree(world.folder)
        refused = said[-1].refused and len(names) > FEW
        if halve and len(names) > 1 and (refused or broken):
            of_parts = self._faults_of_halves(names, lay, line, pages, both=refused)
            return list(dict.fromkeys([*of_parts, *found, *([] if of_parts else broken)]))
        where = f"{names[0]!r:.80}: " if len(names) == 1 else ""
        return [where + fault for fault in found + broken]

    def _faults_of_halves(self, names: Sequence[str], lay: Layout, line: Line, pages: int, both: bool) -> list[str]:
        """Those of the names by half, so that one refused hides no other, and one that broke something is named.

        Of several that broke something, one is enough.
        """
        middle = len(names) // 2
        first = self.faults(names[:middle], lay, line, pages)
        return [*first, *(self.faults(names[middle:], lay, line, pages) if both or not first else [])]

    def _world(self, lay: Layout, names: Sequence[str]) -> World:
        world = World(self.folder / f"world-{next(self._numbers)}")
        for path in (world.out.parent / "earlier_patient" / "severity.json", world.folder / "thesis.txt"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("years of work", encoding="utf-8")
        (world.folder / "cwd").mkdir()
        world.source.mkdir()
        lay(world.source, names)
        return world

    def _run(self, world: World, line: Line) -> list[Said]:
        said = []
        for script, *arguments in line(world):
            said.append(self.commands.run(world.folder / "cwd", str(script), *arguments))
            if said[-1].status not in (0, 3):
                break
        return said


def none_of(faults: Sequence[str]) -> None:
    """Fail with the faults, the first of them in full."""
    more = f"\n... and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    shown = "\n".join(fault[:600] for fault in faults[:SHOWN]) + more
    assert not faults, shown.encode("ascii", "backslashreplace").decode()
