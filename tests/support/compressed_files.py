"""Helpers of test_read and test_decode_workers."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import (
    JPEGLSLossless,
)

from tests.support.phantom_files import write_image

VALUES = np.random.default_rng(0).integers(-900, 2000, (40, 36)).astype(np.int16)


def compressed(path: Path, syntax: str, **changed: object) -> Path:
    """Compress a plain file in place, then change tags so that they contradict the codestream."""
    one = pydicom.dcmread(path)
    one.compress(syntax, encoding_plugin="pyjpegls" if syntax == JPEGLSLossless else "pylibjpeg")
    for name, value in changed.items():
        setattr(one, name, value)
    one.save_as(path)
    return path


def signed_file(path: Path, bits: int = 16) -> Path:
    tags = {"PixelRepresentation": 1, "BitsStored": bits, "HighBit": bits - 1, "RescaleIntercept": 0}
    return write_image(path, VALUES, **tags)
