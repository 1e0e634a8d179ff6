"""Helpers of test_build and test_build_radiographs."""

from collections.abc import Callable
from pathlib import Path

from kicc_ml.core.types import Series
from kicc_ml.dicom.index.build import index_repository

ImageWriter = Callable[..., Path]


def only(root: Path) -> Series:
    (series,) = index_repository(root)
    return series
