"""A process that indexes the same zip files as others do at that moment; a module of its own is imported sooner."""

import multiprocessing
from pathlib import Path

from kicc_ml.dicom.index.build import read_index


def index_many_times(archive: Path, source: Path, started: "multiprocessing.synchronize.Barrier") -> None:
    """Index ``<turn>.zip`` beside ``archive``, and ``source``, in eight turns that begin together."""
    for turn in range(8):
        started.wait(60)
        for place in (archive.with_name(f"{turn}.zip"), source):
            (found,) = read_index([place], cached=True)
            found_series = [(one.site, one.slices, one.verdict) for one in found.series]
            assert found_series == [("seoul", 5, "usable")], found.file_rows
