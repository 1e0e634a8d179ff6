"""Read the headers of all files below a folder, in parallel if there are many, and only once with a cache."""

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from uuid import uuid4

import joblib
import pyarrow as pa
import pyarrow.parquet as pq

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import whole_file
from kicc_ml.core.progress import track
from kicc_ml.core.pseudonym import make_pseudonym
from kicc_ml.dicom.header.read import Header, read_headers
from kicc_ml.dicom.index.archives import open_zips
from kicc_ml.dicom.index.header_table import (
    IDENTITY,
    SCHEMA,
    FoundFile,
    HeaderTable,
    make_header_table,
    make_identity_table,
    select_file_identities,
)
from kicc_ml.dicom.index.walk import walk

#: Minimum number of files for several processes; fewer are read faster by one process.
MIN_PARALLEL_FILES = 2000
FILES_PER_BATCH = 256
#: Batches after which the headers are saved, so that a killed scan can continue from there.
BATCHES_PER_PART = 20
#: Increased whenever a field of Header is added or read differently, so that an old cache is not used.
CACHE_FORMAT = "5"


def scan(root: Path, key: bytes, cache: Path | None = None) -> HeaderTable:
    """Read the headers of all files below ``root``, and in zip files there, in order of path.

    The processes are joblib's: ``joblib.parallel_config(backend="dask")`` around the call uses a cluster.

    Args:
        root: the folder.
        key: the repository's key, for pseudonyms.
        cache: parquet file with which unchanged files are not opened again. While a scan runs, its parts are saved in a
            folder beside it, from which a killed scan continues. Both hold paths, pseudonyms and shifted dates.

    Raises:
        UserError: ``root`` is not a folder.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the folder that holds one folder per hospital")
    return read_found_files(root, list(open_zips(root, walk(root))), key, cache)


def read_found_files(root: Path, found: Sequence[FoundFile], key: bytes, cache: Path | None = None) -> HeaderTable:
    """Read the headers of given files below ``root``; see :func:`scan`."""
    kept, read_from = _load_cache(cache, key) if cache else (SCHEMA.empty_table(), [])
    if cache and select_file_identities(kept).equals(make_identity_table(found)):
        return HeaderTable(kept, key)
    rows_of = _map_rows_by_file(kept)
    fresh = [file for file in found if file.state not in rows_of]
    parts = list(_read_parts(root, fresh, key, cache, read_from))
    table = _order_rows(pa.concat_tables([kept, *parts]), found)
    if cache:
        _write_cache(cache, table, key)
        _remove_parts(cache, read_from)
    return HeaderTable(table, key)


def _read_parts(
    root: Path, files: Sequence[FoundFile], key: bytes, cache: Path | None, saved_parts: list[Path]
) -> Iterator[pa.Table]:
    """Read headers in the order of ``files``, some batches at a time, and save each part if there is a cache.

    The paths of saved parts are appended to ``saved_parts``.
    """
    tables = iter(_read(root, files, key))
    while some := list(islice(tables, BATCHES_PER_PART)):
        part = pa.concat_tables(some).combine_chunks()
        if cache:
            saved_parts.append(_get_parts_folder(cache) / f"{uuid4().hex}.parquet")
            with suppress(FileNotFoundError):  # another scan cleared up; it costs a killed one a second reading
                _write_cache(saved_parts[-1], part, key)
        yield part


def _read(root: Path, files: Sequence[FoundFile], key: bytes) -> Iterable[pa.Table]:
    batches = [files[start : start + FILES_PER_BATCH] for start in range(0, len(files), FILES_PER_BATCH)]
    if len(files) < MIN_PARALLEL_FILES:
        return (_read_batch(root, batch, key) for batch in batches)
    warnings.filterwarnings("ignore", "A worker stopped", module="joblib")  # it renews workers that have grown
    pool = joblib.Parallel(n_jobs=-1, return_as="generator")
    tables = pool(joblib.delayed(_read_batch)(root, batch, key) for batch in batches)
    return track(tables, "reading headers", total=len(batches))


def _read_batch(root: Path, files: Sequence[FoundFile], key: bytes) -> pa.Table:
    return make_header_table(files, [_read_file_headers(root, file, key) for file in files], key)


def _read_file_headers(root: Path, file: FoundFile, key: bytes) -> list[Header]:
    if file.fault:
        return [Header(file.path, file.site, file.fault, shown=file.name)]
    return read_headers(root, file.path, file.site, key, file.name)


def _map_rows_by_file(table: pa.Table) -> dict[tuple, dict[int | None, int]]:
    """Map the state of each file to the row number of each of its frames; of repeated rows the last is used."""
    columns = [table[name].to_pylist() for name in IDENTITY]
    columns[:2] = [map(os.fsdecode, column) for column in columns[:2]]
    rows: dict[tuple, dict[int | None, int]] = {}
    for row, (frame, *state) in enumerate(zip(table["frame"].to_pylist(), *columns, strict=True)):
        rows.setdefault(tuple(state), {})[frame] = row
    return rows


def _order_rows(table: pa.Table, found: Sequence[FoundFile]) -> pa.Table:
    """Select the rows of the given files, in their order."""
    rows_of = _map_rows_by_file(table)
    rows = [row for file in found for row in rows_of[file.state].values()]
    return table.take(pa.array(rows, pa.int64())).combine_chunks()


def _make_stamp(key: bytes) -> bytes:
    """Make the stamp of a cache, which changes with the key (cached pseudonyms are then useless) and the format."""
    return make_pseudonym(key, "header cache", CACHE_FORMAT).encode()


def _get_parts_folder(cache: Path) -> Path:
    return cache.with_name(f".{cache.name}.parts")


def _load_cache(cache: Path, key: bytes) -> tuple[pa.Table, list[Path]]:
    """Load the headers that earlier scans saved, killed ones included, and the paths of their parts.

    Files that are damaged, or of another key or format, are ignored.
    """
    tables = [SCHEMA.empty_table()]
    parts = sorted(_get_parts_folder(cache).glob("*.parquet"))
    for file in (cache, *parts):
        try:
            table = pq.read_table(file, memory_map=False)
        except (OSError, pa.ArrowException):
            continue
        if (table.schema.metadata or {}).get(b"stamp") == _make_stamp(key):
            tables.append(table.replace_schema_metadata(None))
    return pa.concat_tables(tables), parts


def _write_cache(file: Path, table: pa.Table, key: bytes) -> None:
    """Write a cache file completely or not at all."""
    with whole_file(file, private=True, durable=False) as partial:  # paths may be named after patients
        pq.write_table(table.replace_schema_metadata({"stamp": _make_stamp(key)}), partial)


def _remove_parts(cache: Path, parts: Sequence[Path]) -> None:
    """Remove the parts that are now in the cache; those of another running scan stay."""
    for part in parts:
        part.unlink(missing_ok=True)
    with suppress(OSError):  # not empty, or gone
        _get_parts_folder(cache).rmdir()
