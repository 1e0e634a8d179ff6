"""Fixtures: a chest of boxes with one lesion at a known position."""

from pathlib import Path

import numpy as np
import pytest

from kicc_ml.core.types import Volume

#: Right lung x 8-28, left lung x 36-56 of an LPS grid (x to the patient's left), z to the head.
RIGHT, LEFT = slice(8, 28), slice(36, 56)


@pytest.fixture(scope="session")
def chest() -> tuple[Volume, dict[str, np.ndarray]]:
    """HU and masks ``[x, y, z]``; the lesion, partly consolidated, lies in the right lower zone."""
    right, left = np.zeros((2, 64, 48, 30), bool)
    right[RIGHT, 10:38, 3:27] = True
    left[LEFT, 10:38, 3:27] = True
    lesion, consolidation = np.zeros((2, 64, 48, 30), bool)
    lesion[10:20, 24:36, 4:9] = True
    consolidation[12:16, 26:32, 5:8] = True
    hu = np.full((64, 48, 30), 40, np.int16)
    hu[right | left] = -850
    hu[lesion] = -500
    hu[consolidation] = 0
    affine_ras = np.diag([-5.0, -5.0, 8.0, 1.0])
    masks = {"right_lung": right, "left_lung": left, "lesion": lesion, "consolidation": consolidation}
    return Volume(hu, affine_ras, "hu"), masks


@pytest.fixture
def page_path(tmp_path: Path) -> Path:
    return tmp_path / "patient.html"
