"""A progress bar and a timer. The bar is on standard error: standard output is for results that a program may read."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from kicc_ml.core.shown import escape_markup

Item = TypeVar("Item")


def track(items: Iterable[Item] | Sequence[Item], description: str, total: int | None = None) -> Iterable[Item]:
    """Iterate over ``items`` with a progress bar that disappears at the end.

    Args:
        items: what to iterate over.
        description: text beside the bar.
        total: number of items, if ``items`` has no length.
    """
    from rich import progress  # a bundle that is handed over times stages where there is no rich
    from rich.console import Console

    console = Console(stderr=True, force_jupyter=False)  # in a notebook it would draw into the results
    return progress.track(items, escape_markup(description), total, console=console, transient=True)


@dataclass(frozen=True)
class StageTimer:
    """Seconds that each stage of some work took, by name, in the order in which the stages began."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time the block as a stage. The times of a stage that is repeated are added."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - started, 3)
