"""What became of rows, images and values on the way to a cohort: the participant flow of a report."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kicc_ml.records import Case

logger = logging.getLogger(__name__)


@dataclass
class Flow:
    """Rows of the table, cases, and counts under plain words, for a flow chart."""

    rows: int = 0
    cases: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def log(self) -> None:
        logger.info("cohort: %d rows of the table, %d cases", self.rows, self.cases)
        for what, count in sorted(self.counts.items()):
            logger.info("cohort: %s: %d", what, count)

    def as_json(self) -> dict[str, Any]:
        """``rows``, ``cases`` and ``counts``, in the order in which they were met."""
        return {"rows": self.rows, "cases": self.cases, "counts": dict(self.counts)}


class Cohort(list[Case]):
    """The cases, and how they came to be these: a list to whoever asks for no more."""

    def __init__(self, cases: Iterable[Case], flow: Flow) -> None:
        super().__init__(cases)
        self.flow = flow
