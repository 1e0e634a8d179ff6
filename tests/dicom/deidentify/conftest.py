"""Fixtures of deidentify."""

from pathlib import Path
from typing import Any

import pytest

from kicc_ml.dicom.deidentify.copy import write_deidentified
from tests.support.copied_slices import INSTANCE, KEY, PATIENT, STORED
from tests.support.phantom_files import write_image


@pytest.fixture
def copied(tmp_path: Path):
    """Writes a CT slice with given tags and gives the bytes of its copy."""

    def copy(source: Path | None = None, key: bytes = KEY, **tags: Any) -> bytes:
        source = source or write_image(tmp_path / "source", STORED, **INSTANCE | tags)
        write_deidentified(source, tmp_path / "copy.dcm", key, PATIENT)
        return (tmp_path / "copy.dcm").read_bytes()

    return copy
