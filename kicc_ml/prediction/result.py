"""One predicted scan, and its findings as a picture."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kicc_ml.core.progress import StageTimer
from kicc_ml.core.types import DisplayOrientation, Series, SeverityMap, Volume
from kicc_ml.pictures.case_picture import draw_case_picture
from kicc_ml.pictures.montage import write_picture

MONTAGE = "montage.png"


@dataclass(frozen=True)
class Result:
    """One predicted scan. ``probability_xyz`` is that of the lesion, where it was kept; ``stages`` goes on counting;
    ``hanging`` says how a radiograph lies, and is None of a CT. ``features`` is what it is judged by
    (:mod:`kicc_ml.severity.image_features`). ``burned_in`` says that text is burned into the image, which is then left
    out of pictures.
    """

    case_id: str
    volume: Volume
    masks: Mapping[str, np.ndarray]
    severity: SeverityMap
    probability_xyz: np.ndarray | None = None
    stages: StageTimer = field(default_factory=StageTimer)
    hanging: DisplayOrientation | None = None
    features: Mapping[str, float | None] = field(default_factory=dict)
    burned_in: bool = False


def draw(result: Result, path: Path, *, private: bool = False) -> None:
    """The findings as a picture (PNG); ``private`` is that of :func:`kicc_ml.core.files.whole_file`."""
    sheet = draw_case_picture(
        result.case_id,
        result.volume,
        result.masks,
        result.hanging,
        result.severity,
        burned_in=result.burned_in,
    )
    write_picture(sheet, path, private=private)


def has_burned_in_text(series: Series) -> bool:
    """Whether the file of an image says that text, which may be a name, is part of the picture."""
    return "burned_in" in series.reasons
