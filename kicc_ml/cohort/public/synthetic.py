"""The embedded default: a synthetic repository, written at first use and read like anybody's."""

from pathlib import Path
from typing import Any

from kicc_ml.cohort.flow import Cohort
from kicc_ml.cohort.repository import repository
from kicc_ml.synthetic.repository import synthesize


def synthetic(root: str | Path, preset: str, seed: int, **reading: Any) -> Cohort:
    """The cases of a synthetic repository under ``root``.

    ``reading`` goes to :func:`kicc_ml.cohort.repository.repository`.
    A repository that is already whole is not written again, an interrupted one is completed.
    """
    synthesize(Path(root), preset, seed)
    return repository(root, **reading)
