"""What a scan finds, keeps and does not read again, in one process, in several, and on a cluster."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from kicc_ml.core.pseudonym import compute_shift_days
from kicc_ml.dicom.header.read import Header, read_headers
from kicc_ml.dicom.index import scan as scanning
from kicc_ml.dicom.index.scan import scan
from kicc_ml.dicom.index.walk import walk
from tests.support.plain_slices import write_three_frames
from tests.support.scans import KEY, Writer


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the files that were opened."""
    paths: list[str] = []

    def counted(root: Path, path: str, *rest: Any) -> list[Header]:
        paths.append(path)
        return read_headers(root, path, *rest)

    monkeypatch.setattr(scanning, "read_headers", counted)
    return paths


@contextmanager
def small_batches(monkeypatch: pytest.MonkeyPatch, batches_a_part: int = 1) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(scanning, "FILES_PER_BATCH", 2)
        patch.setattr(scanning, "BATCHES_PER_PART", batches_a_part)
        yield


def parts_of(cache: Path) -> Path:
    """Where a scan puts down what it has read so far."""
    return cache.with_name(f".{cache.name}.parts")


def interrupted_at(name: str) -> Callable[..., list[Header]]:
    """Reads headers until a file of this name is met."""

    def read(root: Path, path: str, *rest: Any) -> list[Header]:
        if path.endswith(name):
            raise KeyboardInterrupt
        return read_headers(root, path, *rest)

    return read


class TestWalk:
    def test_sites_are_the_first_folders_and_what_is_no_source_is_left_out(self, tmp_path: Path):
        for name in (
            "seoul/b",
            "seoul/deep/er/a",
            "top",
            "clinical.csv",
            "masks/m",
            ".trash/x",
            "seoul/.y",
            "a/masks/z",
        ):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("-")
        found = [(file.path, file.site) for file in walk(tmp_path)]
        assert found == [("top", ""), ("a/masks/z", "a"), ("seoul/b", "seoul"), ("seoul/deep/er/a", "seoul")]

    def test_folders_thousands_deep_and_links_to_themselves_are_walked_through(self, tmp_path: Path):
        deep = os.path.join(*["d"] * 1500)
        for depth in range(1, 1501):
            os.mkdir(os.path.join(tmp_path, *["d"] * depth))
        Path(tmp_path, deep, "file").write_text("-")
        (tmp_path / "loop").symlink_to(tmp_path)
        assert [(file.path, file.fault) for file in walk(tmp_path)] == [
            ("loop", "linked_twice"),
            (os.path.join(deep, "file"), ""),
        ]
        Path(tmp_path, deep, "file").unlink()
        for depth in range(1500, 0, -1):  # deeper than what clears up after a test can go
            os.rmdir(os.path.join(tmp_path, *["d"] * depth))


class TestCache:
    def test_an_unchanged_repository_is_not_opened_again(
        self, tmp_path: Path, cache: Path, write_ct: Writer, opened: list[str]
    ):
        write_ct()
        write_three_frames(tmp_path / "seoul" / "many")
        first = list(scan(tmp_path, KEY, cache))
        assert len(opened) == 6
        opened.clear()
        assert list(scan(tmp_path, KEY, cache)) == first
        assert [header.frame for header in first if header.path == "seoul/many"] == [0, 1, 2]
        assert opened == []

    def test_only_what_is_new_or_changed_is_opened_and_what_is_gone_is_forgotten(
        self, tmp_path: Path, cache: Path, write_ct: Writer, opened: list[str]
    ):
        first, second, *_ = write_ct()
        scan(tmp_path, KEY, cache)
        opened.clear()
        first.unlink()
        second.write_bytes(second.read_bytes() + b"\0\0")
        write_ct([25], name="new")
        paths = [header.path for header in scan(tmp_path, KEY, cache)]
        assert opened == ["seoul/098", "seoul/new099"]
        assert paths == ["seoul/095", "seoul/096", "seoul/097", "seoul/098", "seoul/new099"]
        assert pq.read_table(cache).num_rows == 5

    def test_a_file_replaced_by_one_of_its_size_and_date_is_opened(
        self, tmp_path: Path, cache: Path, write_ct: Writer, opened: list[str]
    ):
        path = write_ct(KVP="100.5")[0]
        scan(tmp_path, KEY, cache)
        before = path.stat()
        time.sleep(0.02)  # a tick of the file system's clock
        path.write_bytes(path.read_bytes().replace(b"100.5", b"120.5"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        opened.clear()
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        assert {header.kvp for header in scan(tmp_path, KEY, cache)} == {100.5, 120.5}
        assert opened == ["seoul/099"]

    def test_a_killed_scan_goes_on_where_it_stopped(
        self, tmp_path: Path, cache: Path, write_ct: Writer, opened: list[str], monkeypatch: pytest.MonkeyPatch
    ):
        write_ct(range(0, 50, 5))
        whole = list(scan(tmp_path, KEY))
        opened.clear()
        read = scanning.read_headers

        def killed(root: Path, path: str, *rest: Any) -> list[Header]:
            if len(opened) == 6:
                raise KeyboardInterrupt
            return read(root, path, *rest)

        with small_batches(monkeypatch):
            monkeypatch.setattr(scanning, "read_headers", killed)
            with pytest.raises(KeyboardInterrupt):
                scan(tmp_path, KEY, cache)
            monkeypatch.setattr(scanning, "read_headers", read)
            assert not cache.exists()
            opened.clear()
            assert list(scan(tmp_path, KEY, cache)) == whole
        assert len(opened) == 4
        assert [path.name for path in cache.parent.iterdir()] == [cache.name]  # the parts are gone

    def test_rows_that_are_in_the_cache_and_in_a_part_left_behind_count_once(
        self,
        tmp_path: Path,
        cache: Path,
        write_ct: Writer,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path_factory: pytest.TempPathFactory,
    ):
        write_ct()
        kept = tmp_path_factory.mktemp("kept") / "parts"
        with small_batches(monkeypatch), monkeypatch.context() as patch:
            patch.setattr(scanning, "read_headers", interrupted_at("099"))
            with pytest.raises(KeyboardInterrupt):
                scan(tmp_path, KEY, cache)
        shutil.copytree(parts_of(cache), kept)
        whole = list(scan(tmp_path, KEY, cache))
        assert not parts_of(cache).exists()
        shutil.copytree(kept, parts_of(cache))
        assert list(scan(tmp_path, KEY, cache)) == whole == list(scan(tmp_path, KEY))

    def test_what_another_scan_has_put_down_meanwhile_stays_and_may_go(
        self, tmp_path: Path, cache: Path, write_ct: Writer, monkeypatch: pytest.MonkeyPatch
    ):
        write_ct()
        others = parts_of(cache) / "other.parquet"

        def beside_another(root: Path, path: str, *rest: Any) -> list[Header]:
            shutil.rmtree(others.parent, ignore_errors=True)  # as a scan does that has ended
            if path.endswith("099"):
                others.parent.mkdir()
                others.write_bytes(b"of a scan that goes on")
            return read_headers(root, path, *rest)

        monkeypatch.setattr(scanning, "read_headers", beside_another)
        with small_batches(monkeypatch):
            assert len(scan(tmp_path, KEY, cache)) == 5
        assert others.read_bytes() == b"of a scan that goes on"

    @pytest.mark.parametrize("content", [b"", b"PAR1 not really", b"PAR1" + bytes(100) + b"PAR1"])
    def test_a_damaged_cache_is_written_anew(self, tmp_path: Path, cache: Path, write_ct: Writer, content: bytes):
        write_ct()
        cache.write_bytes(content)
        assert len(scan(tmp_path, KEY, cache)) == 5
        assert pq.read_table(cache).num_rows == 5

    def test_a_cache_of_another_key_is_not_believed(self, tmp_path: Path, cache: Path, write_ct: Writer):
        write_ct()
        before = {header.patient for header in scan(tmp_path, KEY, cache)}
        assert before.isdisjoint({header.patient for header in scan(tmp_path, b"another key", cache)})

    def test_it_holds_neither_name_nor_number_nor_uid_nor_date(self, tmp_path: Path, cache: Path, write_ct: Writer):
        dated = {"StudyDate": "20200301", "AcquisitionDate": "20200302", "AcquisitionTime": "101500"}
        write_ct(PatientName="Hong^Gildong", PatientID="SECRET-4711", StudyInstanceUID="1.2.410.77", **dated)
        (header, *_) = scan(tmp_path, KEY, cache)
        frame = pd.read_parquet(cache)
        written = cache.read_bytes() + frame.to_csv().encode()
        secrets = (b"Hong", b"SECRET", b"1.2.410.77", b"1.2.3.1.1", b"2020-03-0")
        assert not any(word in written for word in secrets)
        true = datetime(2020, 3, 2, 10, 15)
        shift = timedelta(days=compute_shift_days(KEY, header.patient))
        assert {value.to_pydatetime() for value in frame["acquired"]} == {true + shift}
        assert [one.acquired for one in scan(tmp_path, KEY, cache)] == [true] * 5

    def test_file_names_that_are_no_utf8_are_kept(
        self, tmp_path: Path, cache: Path, write_ct: Writer, opened: list[str]
    ):
        first = write_ct()[0]
        first.rename(first.with_name(os.fsdecode("흉부".encode("cp949"))))
        before = list(scan(tmp_path, KEY, cache))
        opened.clear()
        assert list(scan(tmp_path, KEY, cache)) == before
        assert opened == []
