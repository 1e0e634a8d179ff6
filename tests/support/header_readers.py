"""Helpers of test_read and test_hostile_headers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from kicc_ml.dicom.header.read import Header, read_headers
from tests.support.plain_slices import item, save, slice_dataset

KEY = b"key of the tests"

Writer = Callable[..., Path]


def header(path: Path) -> Header:
    (only,) = read_headers(path.parent, path.name, "seoul", KEY)
    return only


def nested(depth: int, undefined: bool) -> Dataset:
    """Sequences ``depth`` deep, with an item that ends in a value."""
    inside = item(SeriesDescription="not of the image")
    for _ in range(depth):
        inside = item(ReferencedStudySequence=[inside])
        inside["ReferencedStudySequence"].is_undefined_length = undefined
        inside.is_undefined_length_sequence_item = undefined
    return inside


def with_sequence(depth: int, undefined: bool = True, syntax: str = "", path: Path = Path()) -> Path:
    dataset = slice_dataset(np.zeros((4, 4), np.uint16))
    dataset.update(nested(depth, undefined))
    for sequence in (element for element in dataset if element.VR == "SQ"):
        sequence.is_undefined_length = undefined
    return save(path, dataset, syntax)
