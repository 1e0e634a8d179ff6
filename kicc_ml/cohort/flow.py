"""What became of rows, images and values on the way to a cohort: the participant flow of a report."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kicc_ml.core.types import Case

logger = logging.getLogger(__name__)


@dataclass
class Flow:
    """Rows of the table, those that became no case by reason, cases, and further counts under plain words.

    ``rows`` less ``excluded`` are the ``cases``; ``unit`` says what a row is. Of ``counts`` those that begin with
    ``cases`` describe the cases, the others are what of them was not used.
    """

    rows: int = 0
    cases: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    excluded: Counter[str] = field(default_factory=Counter)
    unit: str = "rows of the table"

    def log(self) -> None:
        logger.info("cohort: %d %s, %d cases", self.rows, self.unit, self.cases)
        for what, count in [*self.excluded.items(), *sorted(self.counts.items())]:
            logger.info("cohort: %s: %d", what, count)

    def as_json(self) -> dict[str, Any]:
        """The fields, what was counted in the order in which it was met."""
        return vars(self) | {"counts": dict(self.counts), "excluded": dict(self.excluded)}


class Cohort(list[Case]):
    """The cases, and how they came to be these: a list to whoever asks for no more."""

    def __init__(self, cases: Iterable[Case], flow: Flow) -> None:
        super().__init__(cases)
        self.flow = flow
