"""Zip files of any maker, in hospital folders and in each other: opened, or named with what to do."""

import io
import multiprocessing
import os
import resource
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kicc_ml.cohort.doctor.report import examine
from kicc_ml.core import locks
from kicc_ml.core.errors import TargetError, UserError
from kicc_ml.core.locks import Busy, hold
from kicc_ml.core.user_folders import get_cache_folder
from kicc_ml.dicom.index import archives, unpack
from kicc_ml.dicom.index.archives import MAX_UNUSED_DAYS, unpack_archive
from kicc_ml.dicom.index.build import SourceIndex, index_repository, read_index
from kicc_ml.dicom.index.sources import find_scans
from kicc_ml.dicom.series.reasons import REASONS
from kicc_ml.dicom.series.remedies import REMEDIES
from kicc_ml.dicom.volume.read import read_volume
from tests.support.repeated_index import index_many_times

Writer = Callable[..., list[Path]]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    return get_cache_folder() / "zip"


@pytest.fixture
def slices(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, write_ct: Writer) -> dict[str, list[Path]]:
    """Five slices of each of two patients, outside of what is indexed."""
    folder = tmp_path_factory.mktemp("slices")
    made = {}
    for patient in ("p1", "p2"):
        files = write_ct(name=f"{patient}_", PatientID=patient, SeriesInstanceUID=f"1.2.3.{patient[1]}")
        made[patient] = [file.rename(folder / file.name) for file in files]
    (tmp_path / "seoul").rmdir()
    return made


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


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system refuses to write more of a file, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestDamage:
    def test_a_target_that_is_full_ends_it_and_leaves_nothing(
        self, tmp_path: Path, cache: Path, slices: dict[str, list[Path]]
    ):
        archive = write(tmp_path / "full.zip", zipped(of(slices["p1"], "seoul/") | {"seoul/z": bytes(2**21)}))
        with files_of_at_most(2**20), pytest.raises(TargetError, match="cannot be written"):
            read_index([archive])
        assert list(cache.iterdir()) == []
        assert by_site(only(archive)) == [("seoul", 5, "usable")]

    def test_in_a_folder_too(self, tmp_path: Path, cache: Path, slices: dict[str, list[Path]]):
        write(tmp_path / "seoul" / "full.zip", zipped(of(slices["p1"]) | {"z": bytes(2**21)}))
        with files_of_at_most(2**20), pytest.raises(TargetError, match="cannot be written"):
            read_index([tmp_path])
        assert list(cache.iterdir()) == []

    def test_a_zip_that_is_called_like_a_full_disk_costs_itself(
        self, tmp_path: Path, slices: dict[str, list[Path]], monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("kicc_ml.dicom.index.unpack.MAX_MEMBER_BYTES", 2**20)
        large = {f"{number} No space left on device": bytes(2**19) for number in range(3)}
        write(tmp_path / "seoul" / "No space left on device.zip", zipped(large)[:-40] + bytes(40))
        write(tmp_path / "seoul" / "iostream error.zip", zipped({"Disk quota exceeded": bytes(2**21)}))
        write(tmp_path / "seoul" / "sound.zip", zipped(of(slices["p1"])))
        found = only(tmp_path)
        assert by_site(found) == [("seoul", 5, "usable")]
        assert sorted(reasons(found)) == [("seoul", "damaged_zip"), ("seoul", "unfolding_zip")]

    @pytest.mark.parametrize("at", [300, -30], ids=["in the header", "in the pixels"])
    def test_a_member_with_a_bad_checksum_is_named_and_its_series_is_refused(
        self, tmp_path: Path, slices: dict[str, list[Path]], at: int
    ):
        content = bytearray(zipped(of(slices["p1"], "a/") | of(slices["p2"], "b/"), zipfile.ZIP_STORED))
        last = slices["p1"][-1].read_bytes()  # at an end of the stack, where no gap would tell
        start = content.index(last)
        content[start + at % len(last)] ^= 1
        archive = write(tmp_path / "export.zip", bytes(content))
        found = only(archive)
        assert reasons(found) == [("a", "damaged_in_zip")]
        assert by_site(found) == [("a", 4, "refused"), ("b", 5, "usable")]
        assert found.series[0].reasons[0] == "damaged_in_zip"
        assert len(find_scans(archive, "hu", True)) == 1

    @pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_however_it_is_packed(self, tmp_path: Path, slices: dict[str, list[Path]], packing: int):
        files = of(slices["p1"], "a/")
        content = bytearray(zipped(files, packing))
        at = content.index(slices["p1"][2].name.encode()) + len(slices["p1"][2].name) + 30
        content[at : at + 40] = bytes(40)
        found = only(write(tmp_path / "export.zip", bytes(content)))
        assert reasons(found) == [("a", "damaged_in_zip")]
        assert {one.verdict for one in found.series} == {"refused"}

    def test_slices_in_folders_of_their_own_are_one_series_still(self, tmp_path: Path, slices: dict[str, list[Path]]):
        files = {f"{name}/{one.name}/I": one.read_bytes() for name, those in slices.items() for one in those}
        content = bytearray(zipped(files, zipfile.ZIP_STORED))
        content[content.index(slices["p1"][0].read_bytes()) + 300] ^= 1
        found = only(write(tmp_path / "export.zip", bytes(content)))
        assert by_site(found) == [("p1", 4, "refused"), ("p2", 5, "usable")]

    def test_of_a_zip_in_a_folder_only_what_is_in_it_is_refused(self, tmp_path: Path, slices: dict[str, list[Path]]):
        content = bytearray(zipped(of(slices["p1"]), zipfile.ZIP_STORED))
        content[content.index(slices["p1"][0].read_bytes()) + 300] ^= 1
        write(tmp_path / "seoul" / "p1.zip", bytes(content))
        for file in slices["p2"]:
            write(tmp_path / "seoul" / file.name, file.read_bytes())
        assert {one.slices: one.verdict for one in index_repository(tmp_path)} == {4: "refused", 5: "usable"}


class TestMakers:
    def test_in_a_zip_from_windows_the_first_folder_is_the_hospital(
        self, tmp_path: Path, slices: dict[str, list[Path]]
    ):
        files = of(slices["p1"], "seoul\\") | of(slices["p2"], "busan\\deep\\") | {"busan\\": b"", "C:\\x\\": b""}
        found = only(write(tmp_path / "win.zip", zipped(files)))
        assert by_site(found) == [("busan", 5, "usable"), ("seoul", 5, "usable")]
        assert reasons(found) == []

    def test_korean_folders_of_windows_are_told_apart_too(self, tmp_path: Path, slices: dict[str, list[Path]]):
        plain = zipped(of(slices["p1"], "AAAA\\"))
        found = only(write(tmp_path / "win.zip", plain.replace(b"AAAA", "서울".encode("cp949"))))
        assert by_site(found) == [("서울", 5, "usable")]

    def test_a_way_of_packing_that_is_not_read_is_said_for_the_whole(
        self, tmp_path: Path, slices: dict[str, list[Path]]
    ):
        content = bytearray(zipped(of(slices["p1"], "a/")))
        for signature, offset in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
            content[content.index(signature) + offset] = 9  # Deflate64
        with pytest.raises(UserError, match=r"Deflate64 of Windows.*unpack it and give the folder"):
            only(write(tmp_path / "win.zip", bytes(content)))


class TestPlaces:
    def test_zips_in_hospital_folders_are_opened_by_index_training_and_prediction(
        self, tmp_path: Path, slices: dict[str, list[Path]], tmp_path_factory: pytest.TempPathFactory
    ):
        plain = tmp_path_factory.mktemp("plain")
        for patient, files in slices.items():
            write(tmp_path / "seoul" / "out" / f"{patient}.ZIP", zipped(of(files, "study/")))
            for file in files:
                write(plain / "seoul" / patient / file.name, file.read_bytes())
        wanted = [(one.site, one.slices, one.reasons) for one in index_repository(plain)]
        found = index_repository(tmp_path, tmp_path / ".cache.parquet")
        assert [(one.site, one.slices, one.reasons) for one in found] == wanted
        assert index_repository(tmp_path, tmp_path / ".cache.parquet") == found
        assert len(find_scans(tmp_path, "hu", True)) == 2
        assert (read_volume(found[0]).array == read_volume(index_repository(plain)[0]).array).all()
        assert not {one.code for one in examine(str(tmp_path)).findings} & set(REASONS)

    def test_zips_in_a_zip_are_opened_and_no_zip_is_a_hospital(self, tmp_path: Path, slices: dict[str, list[Path]]):
        inner = {
            "seoul/p1.zip": zipped(of(slices["p1"])),
            "p2.zip": zipped(of(slices["p2"], "busan/")),
        }
        found = only(write(tmp_path / "outer.zip", zipped(inner)))
        assert by_site(found) == [("busan", 5, "usable"), ("seoul", 5, "usable")]
        assert reasons(found) == []

    def test_three_levels_are_opened_and_the_fourth_is_named(self, tmp_path: Path, slices: dict[str, list[Path]]):
        third = {"c.zip": zipped(of(slices["p1"])), "d.zip": zipped({"e.zip": zipped(of(slices["p2"]))})}
        found = only(write(tmp_path / "out.zip", zipped({"seoul/b.zip": zipped(third)})))
        assert by_site(found) == [("seoul", 5, "usable")]
        assert reasons(found) == [("seoul", "nested_zip")]

    def test_what_is_no_sound_zip_of_images_is_named_with_its_own_remedy(
        self, tmp_path: Path, slices: dict[str, list[Path]]
    ):
        good = zipped(of(slices["p1"]))
        encrypted = bytearray(good)
        for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            encrypted[encrypted.index(signature) + offset] |= 1
        sheet = zipped({"[Content_Types].xml": b"<Types/>", "xl/workbook.xml": b"<workbook/>"})
        kinds = {
            "damaged.zip": (good[: len(good) // 2], "damaged_zip"),
            "empty.zip": (b"", "damaged_zip"),
            "encrypted.zip": (bytes(encrypted), "encrypted_zip"),
            "table.xlsx": (sheet, "office_file"),
            "table.zip": (sheet, "office_file"),
            "letter.hwp": (b"letter", "office_file"),
            "export": (good, "archive"),
            "export.7z": (b"7z\xbc\xaf", "archive"),
            "notes.txt": (b"notes", "not_dicom"),
        }
        for name, (content, _) in kinds.items():
            write(tmp_path / "seoul" / name, content)
        write(tmp_path / "seoul" / "good.zip", good)
        found = only(tmp_path)
        assert by_site(found) == [("seoul", 5, "usable")]
        expected = {name: code for name, (_, code) in kinds.items()}
        assert {row.path.name: row.reason for row in found.file_rows} == expected
        said = {one.code: (one.sentence, one.remedy) for one in examine(str(tmp_path)).findings}
        for _, code in kinds.values():
            assert REASONS[code] in said[code][0]
            assert said[code][1] == REMEDIES[code]
        inside = only(write(tmp_path / "all.zip", zipped({f"a/{name}": one for name, (one, _) in kinds.items()})))
        assert sorted(reasons(inside)) == sorted(("a", code) for _, code in kinds.values())

    def test_a_spreadsheet_as_the_source_is_no_export(self, tmp_path: Path):
        sheet = write(tmp_path / "table.xlsx", zipped({"[Content_Types].xml": b"", "xl/workbook.xml": b""}))
        with pytest.raises(UserError, match=r"a spreadsheet or document.*saved as clinical\.csv"):
            only(sheet)


class TestLimits:
    def test_zips_of_one_folder_share_what_they_may_unfold_to(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(unpack, "HARMLESS_BYTES", 2**21)
        for number in range(4):  # each alone would pass
            write(tmp_path / "seoul" / f"{number}.zip", zipped({"x": bytes(2**20)}))
        expected = [("seoul", "not_dicom")] * 2 + [("seoul", "unfolding_zip")] * 2
        assert sorted(reasons(only(tmp_path))) == expected
        assert sorted(reasons(only(tmp_path))) == expected  # also where some lie unpacked already

    def test_a_zip_of_zips_may_unfold_to_no_more_than_another(
        self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(unpack, "HARMLESS_BYTES", 2**21)
        bombs = {f"{number}.zip": zipped({"x": bytes(2**20)}) for number in range(4)}
        with pytest.raises(UserError, match="unfolds to more than 100 times its size"):
            only(write(tmp_path / "outer.zip", zipped(bombs)))
        assert list(cache.iterdir()) == []

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
        self, tmp_path: Path, cache: Path, slices: dict[str, list[Path]]
    ):
        old, used = (unpack_archive(write(tmp_path / name, zipped(of(slices["p1"], name)))) for name in ("old", "used"))
        month_ago = time.time() - MAX_UNUSED_DAYS * 24 * 3600 - 60
        for folder in (old, used):
            os.utime(folder, (month_ago, month_ago))
        assert unpack_archive(tmp_path / "used") == used
        new = unpack_archive(write(tmp_path / "new", zipped(of(slices["p2"]))))
        assert sorted(cache.iterdir()) == sorted([used, new])
