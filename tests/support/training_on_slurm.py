"""A working directory on a cluster, and ``train.py`` started there as a user starts it."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.slurm import Slurm

ROOT = Path(__file__).resolve().parents[2]
TRAIN = (sys.executable, str(ROOT / "train.py"))
SMALL = (
    *("experiment=outcome", "cohort=repository", "cohort.root=hospitals", "data.endpoints=[oxygen]", "trainer=cpu"),
    *("data.canonical_ct=null", "data.canonical_cxr=null", "network.ct=false", "network.cxr=false", "network.width=8"),
    *("trainer.max_time=null", "trainer.log_every_n_steps=1"),
)
ON_SLURM = ("hydra/launcher=slurm", "hydra.launcher.timeout_min=20")
#: Seconds that a whole command may take on a busy machine.
COMMAND_S = 1800


@dataclass(frozen=True)
class Place:
    """A working directory on the cluster."""

    cluster: Slurm
    folder: Path

    def start(self, *settings: str, to: Path | None = None) -> subprocess.Popen[str]:
        """Start ``train.py`` with the small settings and these; what it prints goes to a file."""
        environment = self.cluster.environment | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
        with (to or self.folder / "output").open("w") as output:
            return subprocess.Popen(
                [*TRAIN, *SMALL, *settings], cwd=self.folder, env=environment, stdout=output, stderr=subprocess.STDOUT
            )

    def train(self, *settings: str) -> tuple[int, str]:
        """Exit status and output of a whole command."""
        output = self.folder / "output-of-another"
        status = self.start(*settings, to=output).wait(timeout=COMMAND_S)
        return status, output.read_text()

    def jobs(self, *states: str) -> dict[str, str]:
        """The jobs that wait or run, by fold; with ``states`` only those in these states."""
        which = ("-t", ",".join(states)) if states else ()
        listed = (line.split("|") for line in self.cluster.call("squeue", "-h", *which, "-o", "%i|%j").splitlines())
        return {name.rpartition(".")[0]: number for number, name in listed}

    def job_of(self, fold: str) -> str:
        """The job that trains a fold."""
        return self.jobs()[fold]

    def wait_for_steps(self, run: str, folds: Sequence[str]) -> None:
        """Wait until each fold has trained for some steps."""

        def trained(fold: str) -> bool:
            path = self.folder / run / fold / "metrics.csv"
            return path.exists() and len(path.read_text().splitlines()) > 5

        self.cluster.wait_until(lambda: all(trained(fold) for fold in folds), self.folder / "output")


def make_place(cluster: Slurm, folder: Path, patients: int, sites: int) -> Place:
    """Make a working directory with a small synthetic repository, ``hospitals``."""
    kicc_ml = str(Path(sys.executable).with_name("kicc-ml"))
    size = ("--patients", str(patients), "--sites", str(sites), "--matrix", "32", "--slices", "16", "--seed", "3")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [kicc_ml, "synthesize", "--preset", "demo", *size, "hospitals"]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    return Place(cluster, folder)
