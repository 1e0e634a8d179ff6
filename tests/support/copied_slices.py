"""Helpers of test_copy and test_copied_values."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

KEY, PATIENT = b"a key of the repository", "0123456789ab"

STORED = np.arange(64, dtype=np.uint16).reshape(8, 8)

#: Fixed, as its copy is looked through for short numbers, which a random one may hold.
INSTANCE = {"SOPInstanceUID": "1.2.3.1.1.2"}


def parsed(raw: bytes) -> Dataset:
    return pydicom.dcmread(pydicom.filebase.DicomBytesIO(raw))


def rewritten(path: Path, change) -> Path:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)
    return path
