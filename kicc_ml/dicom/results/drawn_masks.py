"""Masks in DICOM that somebody drew: Segmentation or RT Structure Set, whichever a file is."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Series, Volume
from kicc_ml.dicom.header.stated_tags import suppress_warnings
from kicc_ml.dicom.results.read_segmentation import SegmentationHeader, read_masks_on_grid, read_segments
from kicc_ml.dicom.results.read_structures import fill_structures, read_structure_header


def read_header(path: Path, labels: Mapping[int, str]) -> SegmentationHeader:
    """Which regions a file holds, and what they were drawn on.

    Args:
        path: a DICOM Segmentation or RT Structure Set.
        labels: what each number of a segment or structure stands for; empty: by their names and codes.

    Raises:
        UserError: it is neither, or cannot be read.
    """
    image = _read(path)
    with _clear_errors(path):
        found = read_structure_header(image, path) if _is_structure_set(image) else read_segments(path)
    return replace(found, region_of=dict(labels), strange=()) if labels else found


def read_drawn_masks(path: Path, labels: Mapping[int, str], series: Series, volume: Volume) -> dict[str, np.ndarray]:
    """Regions by name, bool ``[x, y, z]`` on the grid of ``volume``, which was read from ``series``.

    Raises:
        UserError: as of :func:`read_header`; the file was drawn on another series, or lies on another grid.
    """
    header = read_header(path, labels)
    image = _read(path)
    with _clear_errors(path):
        if _is_structure_set(image):
            return fill_structures(image, header, series, volume)
        return read_masks_on_grid(header, series, volume)


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    """Raise UserError for whatever a damaged file makes of its sequences, numbers and points."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        kind = type(error).__name__  # its words may quote what is written there
        raise UserError(f"{path}: its segments or outlines cannot be read ({kind}); export it again") from error


def _is_structure_set(image: Dataset) -> bool:
    return image.get("SOPClassUID") == RTStructureSetStorage


@suppress_warnings()
def _read(path: Path) -> Dataset:
    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except Exception as error:  # a damaged file can raise anything in the parser
        kind = type(error).__name__  # its words may quote what is written there
        raise UserError(f"{path}: cannot be read as DICOM ({kind}); is the file whole?") from error
