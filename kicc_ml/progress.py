"""One progress bar, on standard error: standard output is for results that another program may read."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich import progress
from rich.console import Console

Item = TypeVar("Item")


def track(items: Iterable[Item] | Sequence[Item], description: str, total: int | None = None) -> Iterable[Item]:
    """``items`` as they come, with a bar that goes when they are through; ``total`` where they have no length."""
    return progress.track(items, description, total, console=Console(stderr=True), transient=True)
