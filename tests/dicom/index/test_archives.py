"""Zip files as sources: what is in them is indexed as a folder's files are, and no name in them is a path."""

import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.core.user_folders import get_cache_folder
from kicc_ml.dicom.index import unpack
from kicc_ml.dicom.index.archives import unpack_archive
from kicc_ml.dicom.index.build import SourceIndex, index_sources, read_index
from kicc_ml.dicom.index.sources import find_scans
from kicc_ml.dicom.index.table import make_index_table
from kicc_ml.dicom.volume.read import read_volume

Writer = Callable[..., list[Path]]


@pytest.fixture(autouse=True)
def cache_in_a_temporary_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def folder(tmp_path: Path, write_ct: Writer) -> Path:
    """Two sites with a series each, a page among them, and the table of a repository."""
    write_ct(site="seoul", SeriesInstanceUID="1.2.3.4")
    write_ct(site="busan", SeriesInstanceUID="1.2.3.5")
    (tmp_path / "busan" / "page.html").write_text("<html>")
    (tmp_path / "clinical.csv").write_text("site,patient_id\n")
    return tmp_path


def packed(folder: Path, path: Path, **names: str) -> Path:
    """All of ``folder``, deflated; ``names`` renames files (key: name of a file)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file != path:
                name = file.relative_to(folder).as_posix()
                target.write(file, names.get(file.stem, name))
    return path


def only(source: Path) -> SourceIndex:
    (found,) = read_index([source])
    return found


def test_a_zip_gives_the_same_rows_as_the_folder_in_it(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    archive = packed(folder, tmp_path_factory.mktemp("in") / "export.zip")
    hidden = ["series", "patient", "study", "acquired", "files"]  # of another key
    zipped, plain = (make_index_table(read_index([source])).drop(columns=hidden) for source in (archive, folder))
    assert zipped.to_json() == plain.to_json()
    assert list(zipped["site"]) == ["busan", "seoul", "busan"]


def test_volumes_of_a_zip_are_those_of_the_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    archive = packed(folder, tmp_path_factory.mktemp("in") / "export.zip")
    scans = find_scans(archive, "hu", True)
    assert len(scans) == 2
    plain = read_volume(index_sources([folder])[0][0])
    for series in scans.values():
        assert np.array_equal(read_volume(series).array, plain.array)


def test_it_is_unpacked_once_and_anew_when_it_changes(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    archive = packed(folder, tmp_path_factory.mktemp("in") / "export.zip")
    first = unpack_archive(archive)
    made = [path.stat().st_ino for path in sorted(first.rglob("*"))]
    assert [path.stat().st_ino for path in sorted(unpack_archive(archive).rglob("*"))] == made
    packed(folder, archive, page="busan/other.html")
    assert unpack_archive(archive) != first


def test_no_name_in_a_zip_is_a_path(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    outside = tmp_path_factory.mktemp("in")
    evil = {
        "099": "../../../evil",
        "098": "/etc/evil",
        "097": "seoul/..",
        "096": "C:\\evil",
        "page": "seoul/" + "x" * 400,
    }
    archive = packed(folder, outside / "export.zip", **evil)
    found = only(archive)
    inside = unpack_archive(archive)
    assert sorted(path for path in outside.rglob("*")) == [archive]
    files = [path for path in get_cache_folder().rglob("*") if path.is_file()]
    assert all(path.is_relative_to(inside) for path in files)
    assert all(path.name.isdigit() for path in files if path.name != unpack.NAMES_FILE)
    assert sum(len(one.files) for one in found.series) + len(found.file_rows) >= 5


def test_what_is_unpacked_is_closed_to_others(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    inside = unpack_archive(packed(folder, tmp_path_factory.mktemp("in") / "export.zip"))
    assert stat.S_IMODE(inside.stat().st_mode) & 0o077 == 0


def test_a_zip_that_unfolds_without_end_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(unpack, "HARMLESS_BYTES", 2**20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("seoul/zeros", bytes(2**26))
    with pytest.raises(UserError, match="unfolds to more than"):
        unpack_archive(tmp_path / "bomb.zip")
    assert [path for path in get_cache_folder().rglob("*") if path.is_file()] == []


def test_a_size_that_lies_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(unpack, "HARMLESS_BYTES", 2**20)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("seoul/zeros", bytes(2**26))
    size = (2**26).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (1000).to_bytes(4, "little")))
    ((row,),) = (index_sources([path])[1],)
    assert row.reason == "damaged_in_zip"
    assert row.path.stat().st_size <= 1000


def test_a_damaged_member_is_a_row_and_the_others_stay(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    archive = packed(folder, tmp_path_factory.mktemp("in") / "export.zip")
    raw = bytearray(archive.read_bytes())
    at = raw.index(b"seoul/097")
    raw[at + 40 : at + 60] = bytes(20)
    archive.write_bytes(raw)
    found = only(archive)
    assert {row.site: row.reason for row in found.file_rows} == {"busan": "not_dicom", "seoul": "damaged_in_zip"}
    assert {one.site: one.reasons for one in found.series} == {
        "busan": (),
        "seoul": ("damaged_in_zip", "missing_slice"),
    }


@pytest.mark.parametrize("content", [b"", b"PK\3\4 not a zip file", b"<html>"])
def test_a_file_that_only_says_it_is_a_zip_is_the_users_error(tmp_path: Path, content: bytes):
    (tmp_path / "export.zip").write_bytes(content)
    with pytest.raises(UserError, match="not a sound zip file"):
        index_sources([tmp_path / "export.zip"])


def test_an_encrypted_zip_is_the_users_error(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    archive = packed(folder, tmp_path_factory.mktemp("in") / "export.zip")
    raw = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = raw.find(signature)
        while at >= 0:
            raw[at + offset] |= 1
            at = raw.find(signature, at + 4)
    archive.write_bytes(raw)
    with pytest.raises(UserError, match="encrypted"):
        index_sources([archive])


def test_korean_names_of_a_windows_zip_are_read_and_hide_the_patient(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, write_ct: Writer
):
    write_ct(
        site="daegu", SpecificCharacterSet="ISO_IR 192", PatientName="Hong^Gildong=洪^吉洞=홍^길동", PatientID="K-9"
    )
    archive = packed(folder, tmp_path_factory.mktemp("in") / "export.zip")
    korean = "홍길동/흉부".encode("cp949")
    placeholder = b"daegu/099" + b"_" * (len(korean) - 9)
    archive.unlink()
    with zipfile.ZipFile(archive, "w") as target:
        for path in sorted((folder / "daegu").iterdir()):
            name = placeholder.decode() if path.name == "099" else f"daegu/{path.name}"
            target.write(path, name)
    archive.write_bytes(archive.read_bytes().replace(placeholder, korean))
    (found,) = read_index([archive])
    assert any(name.endswith("/흉부") for name in found.shown.values())
    assert not any("길동" in name for name in (*found.shown.values(), *map(found.name_file, found.shown)))


def test_one_file_is_a_source_too(folder: Path):
    series, rows = index_sources([folder / "seoul" / "099"])
    assert [(one.slices, one.reasons) for one in series] == [(1, ("single_slice",))]
    assert rows == []


def test_what_is_no_source_is_the_users_error(tmp_path: Path):
    with pytest.raises(UserError, match="no such folder or file"):
        index_sources([tmp_path / "nowhere"])


def test_an_address_goes_to_the_reader_of_dicomweb(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr("kicc_ml.dicom.web.service.index_web", lambda url, policy: asked.append(url) or ([], []))
    with pytest.raises(UserError, match="no file under"):
        index_sources(["https://pacs.example/dicom-web"])
    assert asked == ["https://pacs.example/dicom-web"]
