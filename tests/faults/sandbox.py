"""A place for one command: what it may write to, and beside it what it must leave alone."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.process import Running
from tests.support.tree import Snapshot, snapshot

#: Folders that a command may write to: results, what is kept for the user between runs, temporary files.
WRITABLE = ("out", "cache", "keys", "tmp")
#: Folders that no command has anything to do with: where it is started, the user's home, a neighbour's results.
LEFT_ALONE = ("cwd", "home", "beside")


@dataclass(frozen=True)
class Sandbox:
    """``root`` always has the same path, since outputs may hold paths; ``inputs`` is shared by all commands."""

    root: Path
    inputs: Path

    @property
    def out(self) -> Path:
        return self.root / "out"

    def lay_out(self, given: dict[str, str]) -> None:
        """Make every folder, and copy what the command finds in ``out``: path below it -> path below ``inputs``."""
        for name in (*WRITABLE, *LEFT_ALONE):
            (self.root / name).mkdir(parents=True)
        shutil.copytree(self.inputs.parent / "keys", self.root / "keys", dirs_exist_ok=True)  # pseudonyms stay the same
        (self.root / "beside" / "earlier.csv").write_text("case_id\nsomebody\n")
        for target, source in given.items():
            copy = shutil.copytree if (self.inputs / source).is_dir() else shutil.copy2
            copy(self.inputs / source, self.out / target)

    def start(self, words: tuple[str, ...], name: str = "run") -> Running:
        """The command, with ``{out}`` and ``{inputs}`` in its words filled in."""
        environ = {
            "HOME": str(self.root / "home"),
            "XDG_CACHE_HOME": str(self.root / "cache"),
            "KICC_KEYS": str(self.root / "keys"),
            "TMPDIR": str(self.root / "tmp"),
        }
        argv = [word.format(out=self.out, inputs=self.inputs) for word in words]
        return Running(argv, self.root / "cwd", environ, self.inputs.parent / name)

    def others(self) -> Snapshot:
        """What the command must leave alone looks like."""
        places = [self.inputs, *(self.root / name for name in LEFT_ALONE)]
        unknown = {path.name for path in self.root.iterdir()} - {*WRITABLE, *LEFT_ALONE}
        assert not unknown, f"new beside the results: {unknown}"
        return {path: state for place in places for path, state in snapshot(place).items()}


@contextmanager
def sandbox(root: Path, inputs: Path, given: dict[str, str]) -> Iterator[Sandbox]:
    """A new sandbox at ``root``, which is removed afterwards."""
    shutil.rmtree(root, ignore_errors=True)
    one = Sandbox(root, inputs)
    one.lay_out(given)
    yield one
    shutil.rmtree(root, ignore_errors=True)


@contextmanager
def sandbox_on_a_small_disk(root: Path, inputs: Path, given: dict[str, str]) -> Iterator[Sandbox]:
    """The same on a file system of its own, whose room :func:`leave_room` sets. Needs root."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(root)], check=True)
    try:
        one = Sandbox(root, inputs)
        one.lay_out(given)
        yield one
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)


def leave_room(root: Path, free_bytes: int | None) -> None:
    """Let so much be written to the file system at ``root``, in whole pages; None for plenty."""
    size = 2**30 if free_bytes is None else used_bytes(root) + free_bytes
    subprocess.run(["mount", "-o", f"remount,size={size}", str(root)], check=True)


def used_bytes(root: Path) -> int:
    usage = shutil.disk_usage(root)
    return usage.total - usage.free
