"""Scans with what a network would have predicted of them, before anything of it is written."""

from pathlib import Path

import numpy as np
import pandas as pd

from kicc_ml.clinic.outputs import ModelProvenance, OofCases
from kicc_ml.core.types import Series
from kicc_ml.data.radiograph import hanging_of
from kicc_ml.dicom.index.build import index_sources
from kicc_ml.dicom.volume.read import read_volume
from kicc_ml.prediction.result import Result
from kicc_ml.prediction.segmentation import grade_severity
from tests.support.phantom_files import write_radiograph, write_series
from tests.support.phantoms import Grid, even_mm

MODEL = ModelProvenance("ab" * 32, {"model": "ab"})
NOTHING = OofCases(pd.DataFrame())
#: Of the chest: pixels on every side, and what they hold.
WALL, SOFT_HU = 4, 40


class Chest(Grid):
    """The phantom within a wall of soft tissue: on its own it is nearly all air."""

    @property
    def hu(self) -> np.ndarray:
        hu = super().hu
        wall = np.ones(hu.shape, bool)
        wall[:, WALL:-WALL, WALL:-WALL] = False
        hu[wall] = SOFT_HU
        return hu


def predicted(folder: Path, added_hu: int = 0, **tags: object) -> tuple[Series, Result]:
    """A chest-sized phantom: its sparse half taken for lung, a ball of it for lesion."""
    grid = Chest(even_mm(24, 8.0), rows=40, columns=40, pixel_spacing_mm=(7.0, 7.0))
    write_series(folder / "site" / "scan", grid, added_hu=added_hu, **tags)
    (series,), _ = index_sources([folder])
    volume = read_volume(series)
    lung = np.zeros(volume.array.shape, bool)
    lung[8:32, 8:32, 4:20] = True
    lesion = np.zeros_like(lung)
    lesion[10:14, 10:14, 6:9] = True
    right = lung & (np.arange(40) < 20)[:, None, None]
    masks = {"right_lung": right, "left_lung": lung & ~right, "lesion": lesion}
    return series, Result("seoul_1", volume, masks, grade_severity(volume, masks))


def film(folder: Path, lungs: bool = True) -> tuple[Series, Result]:
    """A radiograph whose file states how it lies; a box for each lung, opaque at the foot of the right one."""
    write_radiograph(folder / "site" / "f.dcm", np.eye(40, 60, dtype=np.uint16) * 4000, PatientOrientation=["L", "F"])
    (series,), _ = index_sources([folder])
    volume = read_volume(series)
    right, left, lesion = np.zeros((3, *volume.array.shape), bool)
    right[5:25, 5:35], left[35:55, 5:35], lesion[5:25, 27:35] = lungs, lungs, lungs
    masks = {"right_lung": right, "left_lung": left, "lesion": lesion}
    return series, Result("seoul_1", volume, masks, grade_severity(volume, masks, "CXR"), hanging=hanging_of(series))
