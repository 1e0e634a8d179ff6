"""Zip files that unpack to too much are refused, and what is unpacked is kept for the next index."""

import multiprocessing
import os
import shutil
import time
from pathlib import Path

import pytest

from kicc_ml.core import locks
from kicc_ml.core.errors import UserError
from kicc_ml.core.locks import Busy, hold
from kicc_ml.dicom.index import archives, unpack
from kicc_ml.dicom.index.archives import MAX_UNUSED_DAYS, unpack_archive
from tests.support.repeated_index import index_many_times
from tests.support.zips import by_site, of, only, reasons, write, zipped

pytestmark = pytest.mark.usefixtures("zip_cache")


class TestLimits:
    def test_zips_of_one_folder_share_what_they_may_unfold_to(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(unpack, "HARMLESS_BYTES", 2**21)
        for number in range(4):  # each alone would pass
            write(tmp_path / "seoul" / f"{number}.zip", zipped({"x": bytes(2**20)}))
        expected = [("seoul", "not_dicom")] * 2 + [("seoul", "unfolding_zip")] * 2
        assert sorted(reasons(only(tmp_path))) == expected
        assert sorted(reasons(only(tmp_path))) == expected  # also where some lie unpacked already

    def test_a_zip_of_zips_may_unfold_to_no_more_than_another(
        self, tmp_path: Path, zip_cache: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(unpack, "HARMLESS_BYTES", 2**21)
        bombs = {f"{number}.zip": zipped({"x": bytes(2**20)}) for number in range(4)}
        with pytest.raises(UserError, match="unfolds to more than 100 times its size"):
            only(write(tmp_path / "outer.zip", zipped(bombs)))
        assert list(zip_cache.iterdir()) == []

    def test_a_bomb_in_a_folder_costs_itself(
        self, tmp_path: Path, slices: dict[str, list[Path]], monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(unpack, "HARMLESS_BYTES", 2**20)
        write(tmp_path / "seoul" / "a.zip", zipped({"x": bytes(2**26)}))
        write(tmp_path / "seoul" / "b.zip", zipped(of(slices["p1"])))
        found = only(tmp_path)
        assert (by_site(found), reasons(found)) == ([("seoul", 5, "usable")], [("seoul", "unfolding_zip")])


class TestCache:
    def test_processes_that_index_one_zip_at_once_all_see_the_whole(
        self, tmp_path: Path, slices: dict[str, list[Path]]
    ):
        for turn in range(8):
            archive = write(tmp_path / "in" / f"{turn}.zip", zipped(of(slices["p1"], "seoul/")))
        write(tmp_path / "repository" / "seoul" / "x.zip", zipped(of(slices["p1"])))
        context = multiprocessing.get_context("spawn")
        started = context.Barrier(3)
        several = [
            context.Process(target=index_many_times, args=(archive, tmp_path / "repository", started)) for _ in range(3)
        ]
        for process in several:
            process.start()
        for process in several:
            process.join(120)
        assert [process.exitcode for process in several] == [0, 0, 0]

    def test_it_is_unpacked_while_no_other_process_may(
        self, tmp_path: Path, slices: dict[str, list[Path]], monkeypatch: pytest.MonkeyPatch
    ):
        held: list[bool] = []
        unpack_one = archives.unpack

        def watch(archive: Path, folder: Path, *others: object) -> None:
            (lock,) = folder.parent.glob(".*.lock")
            with pytest.raises(Busy), hold(lock, "it"):
                pass
            held.append(True)
            unpack_one(archive, folder, *others)

        monkeypatch.setattr(archives, "unpack", watch)
        monkeypatch.setattr(locks, "PATIENCE_S", 0.05)
        unpack_archive(write(tmp_path / "a.zip", zipped(of(slices["p1"], "seoul/"))))
        assert held == [True]

    def test_a_folder_that_another_process_made_between_two_looks_stays(
        self, tmp_path: Path, slices: dict[str, list[Path]], monkeypatch: pytest.MonkeyPatch
    ):
        archive = write(tmp_path / "a.zip", zipped(of(slices["p1"], "seoul/")))
        made = unpack_archive(archive).stat().st_ino
        look, before = archives.read_members, iter([None])
        monkeypatch.setattr(archives, "read_members", lambda folder: next(before, look(folder)))
        assert unpack_archive(archive).stat().st_ino == made

    def test_files_taken_out_of_it_are_unpacked_again(self, tmp_path: Path, slices: dict[str, list[Path]]):
        archive = write(tmp_path / "a.zip", zipped(of(slices["p1"], "seoul/")))
        whole = only(archive)
        next((unpack_archive(archive) / "0000").iterdir()).unlink()
        assert only(archive).series == whole.series
        shutil.rmtree(unpack_archive(archive) / "0000")
        assert only(archive).series == whole.series

    def test_what_was_not_used_for_long_is_taken_away_at_the_next_unpacking(
        self, tmp_path: Path, zip_cache: Path, slices: dict[str, list[Path]]
    ):
        old, used = (unpack_archive(write(tmp_path / name, zipped(of(slices["p1"], name)))) for name in ("old", "used"))
        month_ago = time.time() - MAX_UNUSED_DAYS * 24 * 3600 - 60
        for folder in (old, used):
            os.utime(folder, (month_ago, month_ago))
        assert unpack_archive(tmp_path / "used") == used
        new = unpack_archive(write(tmp_path / "new", zipped(of(slices["p2"]))))
        assert sorted(zip_cache.iterdir()) == sorted([used, new])
