"""A file that is damaged in a zip belongs to a series that nobody can name: it is sought where the file lies."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kicc_ml.core.types import Series
from kicc_ml.dicom.index.header_table import FoundFile

DAMAGED_CODE = "damaged_in_zip"


def refuse_beside_damage(root: Path, files: Sequence[FoundFile], series: Sequence[Series]) -> list[Series]:
    """``series`` under ``root``, refused where they may lack a slice that is damaged in a zip file.

    Those are the series with a file in the folder of the damaged one, or where there is none, in the nearest folder of
    the same zip file around it. A header among damaged bytes is not asked.
    """
    damaged = [file for file in files if file.fault == DAMAGED_CODE]
    if not damaged:
        return list(series)
    place_of = {root / file.path: (_find_zip_folder(file), file.name) for file in files}
    places = [{place_of[path] for path in one.files if path in place_of} for one in series]
    lost = {number for file in damaged for number in _find_nearest_series(file, places)}
    return [
        replace(one, verdict="refused", reasons=tuple(dict.fromkeys((DAMAGED_CODE, *one.reasons))))
        if number in lost
        else one
        for number, one in enumerate(series)
    ]


def _find_nearest_series(damaged: FoundFile, places: Sequence[set[tuple[Path, str]]]) -> list[int]:
    """Numbers of the series with a file in the nearest folder around the damaged one that holds any."""
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
    """``a/b/`` and ``a/`` and ```` of ``a/b/c``."""
    while name:
        name = name.rpartition("/")[0]
        yield f"{name}/" if name else ""


def _find_zip_folder(file: FoundFile) -> Path:
    """The folder that a zip file is unpacked into: two above each of its files."""
    return Path(file.path).parent.parent
