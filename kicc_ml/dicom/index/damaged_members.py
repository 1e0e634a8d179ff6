"""Refuse series that may lack a slice because a file in the same zip file is damaged."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kicc_ml.core.types import Series
from kicc_ml.dicom.index.header_table import FoundFile

DAMAGED_CODE = "damaged_in_zip"


def refuse_beside_damage(root: Path, files: Sequence[FoundFile], series: Sequence[Series]) -> list[Series]:
    """Refuse the series that may lack a slice that is damaged in a zip file.

    The series of a damaged file is not known, since its header is not trusted. Refused are the series with a file in
    the folder of the damaged one, or else in the nearest folder around it in the same zip file.

    Args:
        root: the source.
        files: all its files.
        series: all its series.
    """
    damaged = [file for file in files if file.fault == DAMAGED_CODE]
    if not damaged:
        return list(series)
    place_of = {root / file.path: (_find_zip_folder(file), file.name) for file in files}
    places = [{place_of[path] for path in candidate.files if path in place_of} for candidate in series]
    lost = {number for file in damaged for number in _find_nearest_series(file, places)}
    return [
        replace(one, verdict="refused", reasons=tuple(dict.fromkeys((DAMAGED_CODE, *one.reasons))))
        if number in lost
        else one
        for number, one in enumerate(series)
    ]


def _find_nearest_series(damaged: FoundFile, places: Sequence[set[tuple[Path, str]]]) -> list[int]:
    """Find the indices of the series with a file in the nearest folder around the damaged file."""
    archive = _find_zip_folder(damaged)
    for folder in _list_folders_around(damaged.name):
        near = [
            number
            for number, those in enumerate(places)
            if any(zip_of == archive and name.startswith(folder) for zip_of, name in those)
        ]
        if near:
            return near
    return []


def _list_folders_around(name: str) -> Iterator[str]:
    """List the folders around a file, the innermost first: ``a/b/``, ``a/`` and ```` for ``a/b/c``."""
    while name:
        name = name.rpartition("/")[0]
        yield f"{name}/" if name else ""


def _find_zip_folder(file: FoundFile) -> Path:
    """Find the folder into which a zip file was unpacked: two levels above each of its files."""
    return Path(file.path).parent.parent
