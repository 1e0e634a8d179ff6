"""Helpers of test_zips_anywhere and test_zip_cache."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

from kicc_ml.dicom.index.build import SourceIndex, read_index

Writer = Callable[..., list[Path]]


def zipped(files: dict[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", packing) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo("-")
            info.filename, info.compress_type = name, packing  # as it is, with what zipfile would change
            archive.writestr(info, content)
    return target.getvalue()


def of(files: list[Path], before: str = "") -> dict[str, bytes]:
    return {f"{before}{file.name}": file.read_bytes() for file in files}


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def only(source: Path) -> SourceIndex:
    (found,) = read_index([source])
    return found


def by_site(found: SourceIndex) -> list[tuple[str, int, str]]:
    return [(one.site, one.slices, one.verdict) for one in found.series]


def reasons(found: SourceIndex) -> list[tuple[str, str]]:
    return [(row.site, row.reason) for row in found.file_rows]
