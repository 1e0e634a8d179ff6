"""Zip files of any maker, in hospital folders and in each other: opened, or named with what to do."""

import resource
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kicc_ml.cohort.doctor.report import examine
from kicc_ml.core.errors import TargetError, UserError
from kicc_ml.dicom.index.build import index_repository, read_index
from kicc_ml.dicom.index.sources import find_scans
from kicc_ml.dicom.series.reasons import REASONS
from kicc_ml.dicom.series.remedies import REMEDIES
from kicc_ml.dicom.volume.read import read_volume
from tests.support.zips import by_site, of, only, reasons, write, zipped

pytestmark = pytest.mark.usefixtures("zip_cache")


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
        self, tmp_path: Path, zip_cache: Path, slices: dict[str, list[Path]]
    ):
        archive = write(tmp_path / "full.zip", zipped(of(slices["p1"], "seoul/") | {"seoul/z": bytes(2**21)}))
        with files_of_at_most(2**20), pytest.raises(TargetError, match="cannot be written"):
            read_index([archive])
        assert list(zip_cache.iterdir()) == []
        assert by_site(only(archive)) == [("seoul", 5, "usable")]

    def test_in_a_folder_too(self, tmp_path: Path, zip_cache: Path, slices: dict[str, list[Path]]):
        write(tmp_path / "seoul" / "full.zip", zipped(of(slices["p1"]) | {"z": bytes(2**21)}))
        with files_of_at_most(2**20), pytest.raises(TargetError, match="cannot be written"):
            read_index([tmp_path])
        assert list(zip_cache.iterdir()) == []

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
