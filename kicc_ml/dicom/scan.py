"""Every file under a folder to its header: in parallel where that pays, once where a cache is kept."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import joblib
import pyarrow as pa
import pyarrow.parquet as pq

from kicc_ml.dicom.headers import Header, read_headers
from kicc_ml.progress import track
from kicc_ml.pseudonym import pseudonym
from kicc_ml.records import UserError

#: Folders and files right under a repository that hold no source images.
NOT_SITES = {"masks", "truth"}
TABLE = "clinical.csv"
#: Fewer files than this are read faster by one process than two processes are started.
PARALLEL_FROM = 2000
BATCH = 256
#: Raised whenever a field of Header is added or read differently, so that an old cache is not believed.
CACHE_FORMAT = "2"

_COLUMN = {
    **dict.fromkeys(("frames", "frame", "acquisition"), pa.int64()),
    **dict.fromkeys(("phase", "kvp", "exposure_mas", "ctdi_vol_mgy", "tilt_tag_degrees"), pa.float64()),
    **dict.fromkeys(("lossy", "burned_in"), pa.bool_()),
    "study_started": pa.timestamp("us"),
    "rows": pa.int64(),
    "columns": pa.int64(),
    "has_rescale": pa.bool_(),
    "position_mm": pa.list_(pa.float64()),
    "orientation": pa.list_(pa.float64()),
    "pixel_spacing_mm": pa.list_(pa.float64()),
    "slice_thickness_mm": pa.float64(),
    "acquired": pa.timestamp("us"),
}
SCHEMA = pa.schema(
    [(field.name, _COLUMN.get(field.name, pa.string())) for field in fields(Header)]
    + [("size", pa.int64()), ("mtime_ns", pa.int64()), ("stamp", pa.string())]
)


@dataclass(frozen=True)
class FoundFile:
    """A file under the root; ``path`` is relative to it. Size and time tell whether it has changed."""

    path: str
    site: str
    size: int
    mtime_ns: int


def scan(root: Path, key: bytes, cache: Path | None = None) -> list[Header]:
    """Headers of all files under ``root``, in order of path. ``cache`` (parquet) holds pseudonyms only.

    Raises UserError where ``root`` is no folder.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the folder that holds one folder per hospital")
    found = list(walk(root))
    known = _load(cache, key) if cache else {}
    fresh = [file for file in found if file not in known]
    read = dict(zip(fresh, _read_all(root, fresh, key), strict=True))
    headers = {file: known[file] if file in known else read[file] for file in found}
    if cache and headers != known:
        _save(cache, headers, key)
    return [header for file in found for header in headers[file]]


def walk(root: Path) -> Iterator[FoundFile]:
    """Regular files under ``root`` in order of path. The first folder is the site; dot names are left out."""
    for folder, subfolders, names in os.walk(root):
        inside = Path(folder).relative_to(root)
        top = inside == Path()
        subfolders[:] = sorted(name for name in subfolders if name[0] != "." and not (top and name in NOT_SITES))
        for name in sorted(names):
            path = Path(folder, name)
            if name[0] == "." or (top and name == TABLE) or not path.is_file():
                continue
            status = path.stat()
            yield FoundFile(str(inside / name), "" if top else inside.parts[0], status.st_size, status.st_mtime_ns)


def _read_all(root: Path, files: Sequence[FoundFile], key: bytes) -> list[list[Header]]:
    batches = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    if len(files) < PARALLEL_FROM:
        return [header for batch in batches for header in _read_batch(root, batch, key)]
    pool = joblib.Parallel(n_jobs=joblib.cpu_count(), return_as="generator")
    answers = pool(joblib.delayed(_read_batch)(root, batch, key) for batch in batches)
    return [header for batch in track(answers, "reading headers", total=len(batches)) for header in batch]


def _read_batch(root: Path, files: Sequence[FoundFile], key: bytes) -> list[list[Header]]:
    return [read_headers(root, file.path, file.site, key) for file in files]


def _stamp(key: bytes) -> str:
    """Changes with the key, since the cached pseudonyms are then worth nothing, and with the format."""
    return pseudonym(key, "header cache", CACHE_FORMAT)


def _load(cache: Path, key: bytes) -> dict[FoundFile, list[Header]]:
    """Headers of an earlier scan; none where the cache is absent, damaged, or of another key or format."""
    try:
        rows = pq.read_table(cache, schema=SCHEMA, filters=[("stamp", "=", _stamp(key))]).to_pylist()
    except (OSError, pa.ArrowException):
        return {}
    known: dict[FoundFile, list[Header]] = {}
    for row in rows:
        size, mtime_ns, _ = row.pop("size"), row.pop("mtime_ns"), row.pop("stamp")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in row.items()
        }
        header = Header(**values)
        known.setdefault(FoundFile(header.path, header.site, size, mtime_ns), []).append(header)
    return known


def _save(cache: Path, headers: dict[FoundFile, list[Header]], key: bytes) -> None:
    """Replace the cache whole, so that a killed scan leaves the earlier one."""
    stamp = _stamp(key)
    rows = [
        asdict(header) | {"size": file.size, "mtime_ns": file.mtime_ns, "stamp": stamp}
        for file, group in headers.items()
        for header in group
        if _is_utf8(file.path)
    ]
    cache.parent.mkdir(parents=True, exist_ok=True)
    partial = cache.with_name(f".{cache.name}.{os.getpid()}")
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), partial)
    os.replace(partial, cache)


def _is_utf8(path: str) -> bool:
    """Parquet holds UTF-8 only; a file of another name is read again every time."""
    return path == path.encode("utf-8", "replace").decode()
