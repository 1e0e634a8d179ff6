"""Every file under a folder to its header: in parallel where that pays, once where a cache is kept."""

import logging
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from pathlib import Path
from uuid import uuid4

import joblib
import pyarrow as pa
import pyarrow.parquet as pq

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import whole_file
from kicc_ml.core.progress import track
from kicc_ml.core.pseudonym import pseudonym
from kicc_ml.dicom.header.read import read_headers
from kicc_ml.dicom.index.header_table import IDENTITY, SCHEMA, FoundFile, HeaderTable, file_rows, identity, to_table

logger = logging.getLogger(__name__)

#: Folders and files right under a repository that hold no source images.
NOT_SITES = {"masks", "truth"}
TABLE = "clinical.csv"
#: Fewer files than this are read faster by one process than two processes are started.
PARALLEL_FROM = 2000
BATCH = 256
#: Batches after which what was read is put down, so that a killed scan goes on from there.
BATCHES_A_PART = 20
#: Raised whenever a field of Header is added or read differently, so that an old cache is not believed.
CACHE_FORMAT = "3"


def scan(root: Path, key: bytes, cache: Path | None = None) -> HeaderTable:
    """Headers of all files under ``root``, in order of path.

    ``cache`` is a parquet file that spares opening unchanged files again. While a scan runs its parts lie in a
    folder beside it, from which a scan that was killed goes on. Both hold pseudonyms and shifted dates only, beside
    the paths.
    Processes are joblib's: ``joblib.parallel_config(backend="dask")`` around the call spreads them over a cluster.
    Raises UserError where ``root`` is no folder.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the folder that holds one folder per hospital")
    return read_found(root, list(walk(root)), key, cache)


def read_found(root: Path, found: Sequence[FoundFile], key: bytes, cache: Path | None = None) -> HeaderTable:
    """As :func:`scan`, of given files under ``root``."""
    kept = _load(cache, key) if cache else SCHEMA.empty_table()
    if cache and file_rows(kept).equals(identity(found)):
        return HeaderTable(kept, key)
    rows_of = _rows_by_file(kept)
    fresh = [file for file in found if file.state not in rows_of]
    parts = list(_read_parts(root, fresh, key, cache))
    table = _in_order(pa.concat_tables([kept, *parts]), found)
    if cache:
        _save(cache, table, key)
    return HeaderTable(table, key)


def walk(root: Path) -> Iterator[FoundFile]:
    """Regular files under ``root`` in order of path. The first folder is the site; dot names are left out.

    A link to a folder is not followed. A folder that may not be read is named in the log.
    """
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        site = inside.partition(os.sep)[0]
        folders = []
        for entry in _entries(root / inside):
            path = f"{inside}{os.sep}{entry.name}" if inside else entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif entry.is_file() and path != TABLE:
                yield found_file(path, site, entry.stat())
        waiting += [folder for folder in reversed(folders) if folder not in NOT_SITES]


def found_file(path: str, site: str, status: os.stat_result, name: str = "") -> FoundFile:
    return FoundFile(path, site, status.st_size, status.st_mtime_ns, status.st_ctime_ns, name)


def is_source(parts: Sequence[str]) -> bool:
    """Whether :func:`walk` would come upon a file, by the parts of its path."""
    visible = all(part and part[0] != "." for part in parts)
    return visible and parts[0] not in (NOT_SITES if len(parts) > 1 else {TABLE})


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted([entry for entry in entries if entry.name[0] != "."], key=attrgetter("name"))
    except OSError as error:
        logger.warning("folder left out: %s", error)
        return []


def _read_parts(root: Path, files: Sequence[FoundFile], key: bytes, cache: Path | None) -> Iterator[pa.Table]:
    """Headers of ``files`` in their order, some batches at a time, put down as they come where there is a cache."""
    tables = iter(_read(root, files, key))
    while some := list(islice(tables, BATCHES_A_PART)):
        part = pa.concat_tables(some).combine_chunks()
        if cache:
            _write(_parts(cache) / f"{uuid4().hex}.parquet", part, key)
        yield part


def _read(root: Path, files: Sequence[FoundFile], key: bytes) -> Iterable[pa.Table]:
    batches = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    if len(files) < PARALLEL_FROM:
        return (_read_batch(root, batch, key) for batch in batches)
    warnings.filterwarnings("ignore", "A worker stopped", module="joblib")  # it renews workers that have grown
    pool = joblib.Parallel(n_jobs=-1, return_as="generator")
    tables = pool(joblib.delayed(_read_batch)(root, batch, key) for batch in batches)
    return track(tables, "reading headers", total=len(batches))


def _read_batch(root: Path, files: Sequence[FoundFile], key: bytes) -> pa.Table:
    return to_table(files, [read_headers(root, file.path, file.site, key, file.name) for file in files], key)


def _rows_by_file(table: pa.Table) -> dict[tuple, dict[int | None, int]]:
    """Number of the row of each file, and of each frame of it; of rows that are there twice the last."""
    columns = [table[name].to_pylist() for name in IDENTITY]
    columns[:2] = [map(os.fsdecode, column) for column in columns[:2]]
    rows: dict[tuple, dict[int | None, int]] = {}
    for row, (frame, *state) in enumerate(zip(table["frame"].to_pylist(), *columns, strict=True)):
        rows.setdefault(tuple(state), {})[frame] = row
    return rows


def _in_order(table: pa.Table, found: Sequence[FoundFile]) -> pa.Table:
    """The rows of the files that are there now, in their order."""
    rows_of = _rows_by_file(table)
    rows = [row for file in found for row in rows_of[file.state].values()]
    return table.take(pa.array(rows, pa.int64())).combine_chunks()


def _stamp(key: bytes) -> bytes:
    """Changes with the key, since the cached pseudonyms are then worth nothing, and with the format."""
    return pseudonym(key, "header cache", CACHE_FORMAT).encode()


def _parts(cache: Path) -> Path:
    return cache.with_name(f".{cache.name}.parts")


def _load(cache: Path, key: bytes) -> pa.Table:
    """What earlier scans have read, a killed one too; nothing of what is damaged, or of another key or format."""
    tables = [SCHEMA.empty_table()]
    for file in (cache, *sorted(_parts(cache).glob("*.parquet"))):
        try:
            table = pq.read_table(file, memory_map=False)
        except (OSError, pa.ArrowException):
            continue
        if (table.schema.metadata or {}).get(b"stamp") == _stamp(key):
            tables.append(table.replace_schema_metadata(None))
    return pa.concat_tables(tables)


def _write(file: Path, table: pa.Table, key: bytes) -> None:
    """Whole or not at all."""
    with whole_file(file, private=True, durable=False) as partial:  # paths may be named after patients
        pq.write_table(table.replace_schema_metadata({"stamp": _stamp(key)}), partial)


def _save(cache: Path, table: pa.Table, key: bytes) -> None:
    """Replace the cache, then clear the parts; rows in both, of a scan killed in between, are the same."""
    _write(cache, table, key)
    shutil.rmtree(_parts(cache), ignore_errors=True)
