"""The result of one predicted scan, and a picture of its findings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kicc_ml.core.progress import StageTimer
from kicc_ml.core.types import DisplayOrientation, Series, SeverityMap, Volume
from kicc_ml.dicom.series.reasons import MAY_SHOW_TEXT
from kicc_ml.pictures.case_picture import draw_case_picture
from kicc_ml.pictures.montage import write_picture

MONTAGE = "montage.png"


@dataclass(frozen=True)
class Result:
    """The result of one predicted scan.

    Attributes:
        case_id: the case id.
        volume: the scan.
        masks: bool ``[x, y, z]`` by region, on the grid of the scan.
        severity: the severity of the findings.
        probability_xyz: the probability of the lesion, if it was kept.
        stages: the timer of the stages, which is still running.
        hanging: the display orientation of a radiograph; None for a CT.
        features: the image features that are compared with those of the training cases
            (:mod:`kicc_ml.severity.image_features`).
        burned_in: whether text is burned into the image; then the image is left out of pictures.
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
    """Draw the findings as a PNG; ``private`` is that of :func:`kicc_ml.core.files.whole_file`."""
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
    """Tell whether text, which may be a name, is or may be burned into the picture, by what its file states."""
    return any(code in series.reasons for code in MAY_SHOW_TEXT)
