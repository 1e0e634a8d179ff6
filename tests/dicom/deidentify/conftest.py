"""Fixtures of deidentify."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kicc_ml.dicom.deidentify.copy import write_deidentified
from kicc_ml.dicom.series.image_files import write_nifti
from tests.support.copied_slices import INSTANCE, KEY, PATIENT, STORED
from tests.support.exports import SERIES
from tests.support.phantom_files import write_image, write_series
from tests.support.phantoms import Grid, even_mm


@pytest.fixture
def copied(tmp_path: Path):
    """Writes a CT slice with given tags and gives the bytes of its copy."""

    def copy(source: Path | None = None, key: bytes = KEY, **tags: Any) -> bytes:
        source = source or write_image(tmp_path / "source", STORED, **INSTANCE | tags)
        write_deidentified(source, tmp_path / "copy.dcm", key, PATIENT)
        return (tmp_path / "copy.dcm").read_bytes()

    return copy


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A hospital with one CT of twelve slices, its mask and table."""
    root = tmp_path / "source"
    write_series(root / "seoul", Grid(even_mm(12, 5.0), rows=16, columns=16, pixel_spacing_mm=(6.0, 6.0)))
    write_nifti(root / "masks" / SERIES / "lesion.nii.gz", np.zeros((16, 16, 12), bool), np.eye(4))
    (root / "clinical.csv").write_text("site,patient_id,age_years,sex\nseoul,A-17,93,F\n")
    return root


@pytest.fixture(autouse=True)
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KICC_KEYS", str(tmp_path / "keys"))
    return tmp_path / "keys"
