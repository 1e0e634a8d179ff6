"""Annotations in an MD.ai export: one JSON file per project, with outlines by SOPInstanceUID."""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kicc_ml.core.errors import UserError
from kicc_ml.core.received import read_json_object
from kicc_ml.dicom.series.polygons import MIN_CORNERS, fill_polygon

#: MD.ai counts from the corner of the first pixel: the centre of that pixel is at 0.5.
PIXEL_CENTRE = 0.5
OUTLINES = ("freeform", "polygon")
REMEDY = "download the annotations again"


@dataclass(frozen=True)
class Outline:
    """One closed outline: ``corners_n2`` are (column, row) in MD.ai's coordinates, ``label`` is in small letters."""

    sop_uid: str
    label: str
    annotator: str
    corners_n2: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Annotations:
    """The annotations of an export.

    Attributes:
        outlines: the outlines by SeriesInstanceUID.
        not_used: the number of annotations that are not outlines, by reason.
    """

    outlines: Mapping[str, list[Outline]]
    not_used: Counter[str] = field(default_factory=Counter)


def read_annotations(path: Path) -> Annotations:
    """Read the outlines of all series of an export.

    A label has a different id in each group of labels, so labels are compared by name. Annotations of a whole study or
    series, and annotations without an outline, are counted in ``not_used``.

    Raises:
        UserError: the file cannot be read, or is not an export of MD.ai.
    """
    export = read_json_object(path, REMEDY)
    names = {label.get("id"): str(label.get("name", "")).strip().lower() for label in _labels(export)}
    outlines: dict[str, list[Outline]] = defaultdict(list)
    not_used: Counter[str] = Counter()
    annotations = [one for data in _objects(export, "datasets") for one in _objects(data, "annotations")]
    if not names or not annotations:
        raise UserError(f"{path} holds no labels and annotations of MD.ai; {REMEDY}")
    for one in annotations:
        if fault := _fault(one, names):
            not_used[fault] += 1
        else:
            outlines[one["SeriesInstanceUID"]].append(_outline(one, names))
    return Annotations(outlines, not_used)


def _objects(parent: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = parent.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _labels(export: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for group in _objects(export, "labelGroups"):
        yield from _objects(group, "labels")


def _fault(one: Mapping[str, Any], names: Mapping[Any, str]) -> str:
    """Explain why an annotation is not an outline on a slice; "" if it is one."""
    if not one.get("SOPInstanceUID") or not isinstance(one.get("SeriesInstanceUID"), str):
        return "annotations of a whole study or series"
    if one.get("labelId") not in names:
        return "annotations whose label is not in the file"
    data = one.get("data")
    corners = data.get("vertices") if isinstance(data, dict) else None
    if not isinstance(corners, list) or len(corners) < MIN_CORNERS or not all(map(_is_point, corners)):
        return "annotations without an outline"
    return ""


def _is_point(corner: Any) -> bool:
    return (
        isinstance(corner, list)
        and len(corner) == 2
        and all(type(value) in (int, float) and math.isfinite(value) for value in corner)
    )


def _outline(one: Mapping[str, Any], names: Mapping[Any, str]) -> Outline:
    corners = tuple((float(column), float(row)) for column, row in one["data"]["vertices"])
    return Outline(str(one["SOPInstanceUID"]), names[one["labelId"]], str(one.get("createdById", "")), corners)


def mask_of(
    outlines: Sequence[Outline], labels: Collection[str], slice_of: Mapping[str, int], shape: tuple[int, int, int]
) -> np.ndarray:
    """Make a mask of the voxels that at least half of a series' annotators outlined with one of the labels.

    Args:
        outlines: all outlines of the series, with any label. Every annotator in them counts, also one who used other
            labels.
        labels: the labels to include, in small letters.
        slice_of: the slice number of each SOPInstanceUID; outlines on other slices are ignored.
        shape: the shape of the series, ``(x, y, z)``.

    Returns:
        bool ``[x, y, z]``: x is the column, y is the row.
    """
    annotators = sorted({one.annotator for one in outlines})
    votes = np.zeros(shape, np.uint8)
    for annotator in annotators:
        drawn = np.zeros(shape, bool)
        for one in outlines:
            if one.annotator == annotator and one.label in labels and one.sop_uid in slice_of:
                corners_n2 = np.array(one.corners_n2) - PIXEL_CENTRE
                drawn[:, :, slice_of[one.sop_uid]] |= fill_polygon(corners_n2, (shape[0], shape[1]))
        votes += drawn
    return votes >= max(1, math.ceil(len(annotators) / 2))
