"""A run says at its start where it writes, when its training ends, and how it goes on after Ctrl-C."""

from datetime import datetime
from pathlib import Path

import pytest

from kicc_ml.runs.start_line import describe_run

RUN = Path("runs/lesion_ct")
GOES_ON = "Ctrl-C stops it; the same command goes on, and keeps finished folds"
EVENING = datetime(2026, 3, 1, 23, 30)


@pytest.mark.parametrize(
    ("folds", "budget", "start", "words"),
    [
        (4, "00:00:05:00", EVENING, "4 folds to do, 5 minutes of training each; training ends at about 23:50, then"),
        (4, "00:00:10:00", EVENING, "training ends at about 2026-03-02 00:10, then the report is written"),
        (1, "00:00:00:20", EVENING, "1 fold to do, 20 seconds of training each; training ends at about 23:30"),
        (2, "01:00:00:00", None, "2 folds to do, 1440 minutes of training each. Ctrl-C"),
        (3, None, EVENING, "3 folds to do. Ctrl-C"),
    ],
)
def test_the_end_is_told_from_the_budget_of_each_fold(folds: int, budget: str | None, start, words: str):
    line = describe_run(RUN, folds, budget, start)
    assert line.startswith("runs/lesion_ct: ")
    assert words in line
    assert line.endswith(GOES_ON)
