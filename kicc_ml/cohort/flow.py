"""The participant flow of a cohort: counts of rows, cases and unused data."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from kicc_ml.core.types import Case

logger = logging.getLogger(__name__)


@dataclass
class Flow:
    """Counts of a cohort: the rows of the table, the excluded rows by reason, and the cases.

    Attributes:
        rows: the number of rows.
        cases: the number of cases: ``rows`` minus the sum of ``excluded``.
        counts: other counts, by description. A description that begins with ``cases`` counts cases; any other counts
            data that was converted or not used.
        excluded: the number of rows that became no case, by reason.
        unit: the meaning of a row, in words.
    """

    rows: int = 0
    cases: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    excluded: Counter[str] = field(default_factory=Counter)
    unit: str = "rows of the table"

    def log(self) -> None:
        """Log all counts."""
        logger.info("cohort: %d %s, %d cases", self.rows, self.unit, self.cases)
        for what, count in [*self.excluded.items(), *sorted(self.counts.items())]:
            logger.info("cohort: %s: %d", what, count)

    def as_json(self) -> dict[str, Any]:
        """Convert to a dictionary for JSON; counts keep the order in which they were first met."""
        return vars(self) | {"counts": dict(self.counts), "excluded": dict(self.excluded)}


class Cohort(list[Case]):
    """A list of cases that also holds the ``flow`` by which they were chosen."""

    def __init__(self, cases: Iterable[Case], flow: Flow) -> None:
        super().__init__(cases)
        self.flow = flow
