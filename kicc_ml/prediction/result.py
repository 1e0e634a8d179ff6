"""One predicted scan, and its findings as a picture."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kicc_ml.core.progress import StageTimer
from kicc_ml.core.types import DisplayOrientation, SeverityMap, Volume
from kicc_ml.pictures.case_picture import case_picture
from kicc_ml.pictures.montage import write_picture

MONTAGE = "montage.png"


@dataclass(frozen=True)
class Result:
    """One predicted scan. ``probability_xyz`` is that of the lesion, where it was kept; ``stages`` goes on counting;
    ``hanging`` says how a radiograph lies, and is None of a CT. ``features`` is what it is judged by
    (:mod:`kicc_ml.severity.image_features`).
    """

    case_id: str
    volume: Volume
    masks: Mapping[str, np.ndarray]
    severity: SeverityMap
    probability_xyz: np.ndarray | None = None
    stages: StageTimer = field(default_factory=StageTimer)
    hanging: DisplayOrientation | None = None
    features: Mapping[str, float | None] = field(default_factory=dict)


def draw(result: Result, path: Path) -> None:
    """The findings as a picture (PNG)."""
    write_picture(case_picture(result.case_id, result.volume, result.masks, result.hanging, result.severity), path)
