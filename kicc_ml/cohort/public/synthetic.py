"""The default cohort: a synthetic repository, written at first use and read like any other repository."""

from pathlib import Path
from typing import Any

from kicc_ml.cohort.flow import Cohort
from kicc_ml.cohort.repository import repository
from kicc_ml.synthetic.repository import synthesize


def synthetic(root: str | Path, preset: str, seed: int, **reading: Any) -> Cohort:
    """Read the cases of a synthetic repository, and write it first if it is missing.

    A complete repository is not written again; an interrupted one is completed.

    Args:
        root: the folder of the repository.
        preset: the name of the synthetic preset.
        seed: the seed of the synthetic data.
        reading: keyword arguments for :func:`kicc_ml.cohort.repository.repository`.
    """
    synthesize(Path(root), preset, seed)
    return repository(root, **reading)
