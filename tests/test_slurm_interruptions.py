"""Random interruptions of the folds of a run on a real Slurm: no fold inherits anything, and the report is the same.

Each row of the metrics that is ever seen is one of the undisturbed run: a fold that began with foreign weights, or went
on from a foreign checkpoint, would write others. ``KICC_INTERRUPTIONS`` says how many there are, and
``KICC_INTERRUPTIONS_SEED`` draws others.
"""

import csv
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.support.slurm import Slurm
from tests.support.training_on_slurm import ON_SLURM, Place, make_place

pytest.importorskip("submitit", reason="the extra kicc_ml[slurm] is not installed")
pytestmark = pytest.mark.slow

INTERRUPTIONS = int(os.environ.get("KICC_INTERRUPTIONS", "5"))
SEED = os.environ.get("KICC_INTERRUPTIONS_SEED", "1")
LENGTH = "trainer.max_steps=1000"
FOLDS = ("busan-1", "daegu-1", "daejeon-1", "seoul-1")
CALM = "calm/outcome"
#: Seconds between two interruptions.
APART_S = (2.0, 10.0)
#: How often, of all looks at a run none of whose folds is in its training, one is interrupted all the same.
OUTSIDE_TRAINING = 0.005
KINDS: dict[str, Callable[[Slurm, str], object]] = {
    "USR1": lambda cluster, job: cluster.call("scancel", "--signal=USR1", job),
    "USR2": lambda cluster, job: cluster.call("scancel", "--signal=USR2", job),
    "TERM": lambda cluster, job: cluster.call("scancel", "--signal=TERM", job),
    "requeue": lambda cluster, job: cluster.call("scontrol", "requeue", job),
    "scancel": lambda cluster, job: cluster.call("scancel", job),
    "node down": lambda cluster, _: cluster.lose_node(),
}
Rows = set[frozenset[tuple[str, str]]]


@pytest.fixture(scope="module")
def place(cluster: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return make_place(cluster, tmp_path_factory.mktemp("interruptions"), patients=32, sites=4)


def read_rows(path: Path) -> Rows:
    """The rows of a metrics.csv, also of one that is being written: its last line may be half a line."""
    if not path.exists():
        return set()
    whole, _, _ = path.read_text().rpartition("\n")
    return {frozenset((key, value) for key, value in row.items() if value) for row in csv.DictReader(whole.split("\n"))}


class Interruptions:
    """Draws interruptions and keeps what was seen of the folds meanwhile."""

    def __init__(self, place: Place, calm: dict[str, Rows]) -> None:
        self.place, self.calm = place, calm
        self.drawn = random.Random(SEED)
        self.done: list[str] = []
        self.next_at = 0.0
        self.seen: dict[tuple[str, str], Rows] = {}
        self.in_training: set[str] = set()

    def train(self, run: str) -> None:
        """Train a run to its end, by the same command again and again where folds are lost."""
        for _ in range(INTERRUPTIONS + 2):
            again = self.drawn.choice((("ckpt_path=last",), ()))
            started = self.place.start(LENGTH, f"run_dir={run}", *ON_SLURM, *again)
            while started.poll() is None:
                time.sleep(0.5)
                self.look_at(run)
                if len(self.done) < INTERRUPTIONS and time.monotonic() > self.next_at:
                    self.interrupt(run)
            said = (self.place.folder / "output").read_text()
            if started.returncode == 0:
                return
            assert started.returncode in (2, 3), said
            assert "lost" in said, said
        pytest.fail(f"{run} is not finished: {said}")

    def look_at(self, run: str) -> None:
        self.in_training = set()
        for fold in FOLDS:
            rows = read_rows(self.place.folder / run / fold / "metrics.csv")
            foreign = rows - self.calm[fold]
            assert not foreign, (fold, self.done, [dict(row) for row in foreign])
            if rows - self.seen.get((run, fold), set()):
                self.in_training.add(fold)
            self.seen[run, fold] = rows

    def interrupt(self, run: str) -> None:
        anywhere = self.drawn.random() < OUTSIDE_TRAINING
        running = sorted(set(FOLDS if anywhere else self.in_training) & set(self.place.jobs("RUNNING")))
        if not running:
            return
        kind, fold = self.drawn.choice(sorted(KINDS)), self.drawn.choice(running)
        steps = len(self.seen[run, fold])
        try:
            KINDS[kind](self.place.cluster, self.place.job_of(fold))
        except (KeyError, AssertionError):  # the job ended in this moment
            return
        self.done.append(f"{kind} of {fold} at row {steps} of {run}")
        print(f"{len(self.done)}: {self.done[-1]}", flush=True)
        self.next_at = time.monotonic() + self.drawn.uniform(*APART_S)


def test_after_random_interruptions_each_fold_and_the_report_are_those_of_the_undisturbed_run(place: Place):
    status, said = place.train(LENGTH, f"run_dir={CALM}")
    assert status == 0, said
    calm = {fold: read_rows(place.folder / CALM / fold / "metrics.csv") for fold in FOLDS}
    assert all(len(rows) >= 1000 for rows in calm.values())
    interruptions, runs = Interruptions(place, calm), 0
    while len(interruptions.done) < INTERRUPTIONS:
        run = f"disturbed-{runs}/outcome"
        interruptions.train(run)
        refuse_differences(place.folder / run, place.folder / CALM)
        runs += 1
        print(f"{runs} runs are as the undisturbed one", flush=True)
    print(Counter(one.partition(" of ")[0] for one in interruptions.done))
    assert not list(place.folder.rglob("hpc_ckpt_*"))


def refuse_differences(run: Path, calm: Path) -> None:
    for fold in FOLDS:
        for table in ("metrics.csv", "predictions.csv"):
            one, other = (pd.read_csv(which / fold / table) for which in (run, calm))
            pd.testing.assert_frame_equal(one, other, check_like=True, check_exact=True)
    one, other = (json.loads((which / "summary.json").read_text()) for which in (run, calm))
    assert one == other
