"""One progress bar, on standard error: standard output is for results that another program may read; and a clock."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from rich import progress
from rich.console import Console

from kicc_ml.core.shown import escape_markup

Item = TypeVar("Item")


def track(items: Iterable[Item] | Sequence[Item], description: str, total: int | None = None) -> Iterable[Item]:
    """``items`` as they come, with a bar that goes when they are through; ``total`` where they have no length."""
    return progress.track(items, escape_markup(description), total, console=Console(stderr=True), transient=True)


@dataclass(frozen=True)
class StageTimer:
    """Seconds that each stage of some work took, by its name, in the order of their beginning."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time what is done within; a stage that comes again adds up."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - started, 3)
