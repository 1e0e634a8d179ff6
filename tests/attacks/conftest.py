"""A server of commands, an attacker of them, and runs that the attacked commands work on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.attack import Attacker
from tests.attacks.commands import SMALL, Commands


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    running = Commands(tmp_path_factory.mktemp("attacks") / "home")
    yield running
    running.stop()


@pytest.fixture
def attacker(commands: Commands, browser: Any, tmp_path: Path) -> Attacker:
    return Attacker(commands, browser, tmp_path)


@pytest.fixture(scope="session")
def demo(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic repository of two hospitals."""
    root = tmp_path_factory.mktemp("demo") / "repository"
    size = ("--patients", 8, "--sites", 2, "--matrix", 48, "--slices", 24, "--seed", 3)
    commands.run_apart(root.parent, "synthesize", "--preset", "demo", *size, root)
    return root


@pytest.fixture(scope="session")
def lesion_run(commands: Commands, demo: Path) -> Path:
    """A segmentation run on all of it."""
    where = (f"cohort.root={demo}", f"run_dir={demo.parent / 'lesion'}", f"store_dir={demo.parent / 'store'}")
    settings = ("experiment=lesion_ct", "cohort=repository", *where, *SMALL, "split=all")
    done = commands.run(demo.parent, "train.py", *settings)
    assert done.status == 0, done.stdout + done.stderr
    return demo.parent / "lesion"


@pytest.fixture(scope="session")
def radiograph_run(commands: Commands, demo: Path) -> Path:
    """A run that segments radiographs, on all of it."""
    where = (f"cohort.root={demo}", f"run_dir={demo.parent / 'radiograph'}", f"store_dir={demo.parent / 'store'}")
    small = (
        "data.canonical.size=32",
        "data.patches_per_epoch=16",
        "trainer.max_steps=4",
        "network.channels=[4,8,8,8,8]",
    )
    done = commands.run(
        demo.parent, "train.py", "experiment=lesion_cxr", "cohort=repository", *where, *small, "split=all"
    )
    assert done.status == 0, done.stdout + done.stderr
    return demo.parent / "radiograph"
