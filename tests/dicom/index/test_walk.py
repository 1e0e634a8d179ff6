"""One bad entry of a folder costs itself and is named, and no link leads out of a source."""

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kicc_ml.apps.cli import app
from kicc_ml.cohort.doctor.report import examine
from kicc_ml.core.errors import UserError
from kicc_ml.dicom.index.build import index_repository, read_index
from kicc_ml.dicom.index.sources import find_scans
from kicc_ml.dicom.index.walk import walk
from kicc_ml.dicom.series.reasons import NOT_OPENED, REASONS
from kicc_ml.dicom.series.remedies import REMEDIES

Writer = Callable[..., list[Path]]


@pytest.fixture(autouse=True)
def cache_in_a_temporary_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outside")
    (folder / "secret").write_text("-")
    return folder


def faults(root: Path) -> dict[str, str]:
    return {file.path: file.fault for file in walk(root)}


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = os.getcwd()
        os.chdir(path.parent)  # the path of a socket may have 100 letters
        one.bind(path.name)
        os.chdir(here)


BAD: dict[str, tuple[str, Callable[[Path], None]]] = {
    "link to itself": ("broken_link", lambda path: path.symlink_to(path)),
    "link to nowhere": ("broken_link", lambda path: path.symlink_to("nowhere")),
    "link through a file": ("broken_link", lambda path: path.symlink_to("099/x")),
    "pipe": ("special_file", os.mkfifo),
    "socket": ("special_file", bind),
    "link to a device": ("link_outside", lambda path: path.symlink_to("/dev/zero")),
    "link to the parent": ("linked_twice", lambda path: path.symlink_to("..")),
    "link to its own folder": ("linked_twice", lambda path: path.symlink_to(".")),
}


@pytest.mark.parametrize("kind", BAD)
def test_one_bad_entry_costs_itself_and_is_named_by_every_command(tmp_path: Path, write_ct: Writer, kind: str):
    write_ct()
    fault, make = BAD[kind]
    make(tmp_path / "seoul" / "bad")
    assert faults(tmp_path)["seoul/bad"] == fault
    (found,) = read_index([tmp_path], cached=True)
    assert [(one.slices, one.verdict) for one in found.series] == [(5, "usable")]
    assert [(row.path, row.reason) for row in found.file_rows] == [(tmp_path / "seoul" / "bad", fault)]
    assert read_index([tmp_path], cached=True) == [found]
    assert fault in {one.code for one in examine(str(tmp_path)).findings}
    assert len(find_scans(tmp_path, "hu", True)) == 1
    ran = CliRunner().invoke(
        app, ["export-dataset", str(tmp_path), "-o", str(tmp_path.parent / f"copy of {tmp_path.name}")]
    )
    assert ran.exit_code == 0, ran.output


class Listing(Iterator[os.DirEntry]):
    """Entries as ``os.scandir`` gives them."""

    def __init__(self, entries: Iterable[os.DirEntry]) -> None:
        self._entries = iter(entries)

    def __next__(self) -> os.DirEntry:
        return next(self._entries)

    def __enter__(self) -> "Listing":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_a_file_that_vanishes_while_folders_are_walked_costs_itself(
    tmp_path: Path, write_ct: Writer, monkeypatch: pytest.MonkeyPatch
):
    write_ct()
    listed = os.scandir

    def vanishing(folder: Path) -> Listing:
        with listed(folder) as entries:
            found = list(entries)
        Path(folder, "gone").unlink(missing_ok=True)
        return Listing(found)

    (tmp_path / "seoul" / "gone").write_text("-")
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", vanishing)
        (found,) = read_index([tmp_path])
    assert [(row.path.name, row.reason) for row in found.file_rows] == [("gone", "unreadable")]
    assert [one.slices for one in found.series] == [5]


def test_a_folder_that_may_not_be_opened_is_named(tmp_path: Path, write_ct: Writer, monkeypatch: pytest.MonkeyPatch):
    write_ct()
    (tmp_path / "closed").mkdir()
    listed = os.scandir

    def closed(folder: Path) -> AbstractContextManager[Iterator[os.DirEntry]]:
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", closed)
        found = faults(tmp_path)
    assert {path: fault for path, fault in found.items() if fault} == {"closed": "closed_folder"}


def test_a_source_that_cannot_be_opened_is_the_users_error(tmp_path: Path):
    with pytest.raises(UserError, match="cannot be opened: No such file"):
        list(walk(tmp_path / "gone"))


class TestLinksOutOfTheSource:
    def test_files_folders_and_hospitals_behind_them_are_named_and_not_read(
        self, tmp_path: Path, outside: Path, write_ct: Writer
    ):
        """A subset laid out by links: hospital, patient and files of another folder."""
        source = tmp_path / "repository"
        (source / "daegu").mkdir(parents=True)
        for patient in "123":
            write_ct(site=f"archive/P{patient}", PatientID=f"P{patient}", SeriesInstanceUID=f"1.2.{patient}")
        (source / "seoul").symlink_to(tmp_path / "archive" / "P1")
        (source / "daegu" / "P2").symlink_to(tmp_path / "archive" / "P2")
        for file in (tmp_path / "archive" / "P3").iterdir():
            (source / "daegu" / file.name).symlink_to(file)
        (source / "up").symlink_to("..")
        (found,) = read_index([source])
        assert found.series == []
        assert {row.reason for row in found.file_rows} == {"link_outside"}
        assert len(found.file_rows) == 1 + 1 + 5 + 1
        assert {"seoul", "up", "daegu/P2"} <= {found.name_file(row.path) for row in found.file_rows}
        (finding,) = (one for one in examine(str(source)).findings if one.code == "link_outside")
        assert (finding.count, finding.remedy) == (8, REMEDIES["link_outside"])

    def test_a_place_whose_name_begins_like_the_sources_is_outside(self, tmp_path: Path):
        (tmp_path / "rep").mkdir()
        (tmp_path / "report").mkdir()
        (tmp_path / "rep" / "link").symlink_to(tmp_path / "report")
        assert faults(tmp_path / "rep") == {"link": "link_outside"}

    def test_a_source_that_is_itself_a_link_is_read(self, tmp_path: Path, write_ct: Writer):
        write_ct(site="real/seoul")
        (tmp_path / "link").symlink_to("real")
        assert [one.slices for one in index_repository(tmp_path / "link")] == [5]

    def test_a_link_that_is_mended_is_seen_although_headers_are_kept(
        self, tmp_path: Path, outside: Path, write_ct: Writer
    ):
        (first, *_) = write_ct()
        source = first.rename(outside / "first")
        first.symlink_to(source)
        (before,) = read_index([tmp_path], cached=True)
        first.unlink()
        source.rename(first)
        (after,) = read_index([tmp_path], cached=True)
        assert [one.slices for found in (before, after) for one in found.series] == [4, 5]


class TestLinksWithinTheSource:
    def test_what_is_indexed_where_it_lies_is_not_indexed_again(self, tmp_path: Path, write_ct: Writer):
        files = write_ct(site="archive/P1")
        (tmp_path / "seoul").mkdir()
        (tmp_path / "seoul" / "P1").symlink_to("../archive/P1")
        (tmp_path / "seoul" / files[0].name).symlink_to(files[0])
        (found,) = read_index([tmp_path])
        assert [(one.site, one.slices) for one in found.series] == [("archive", 5)]
        assert [(row.path.name, row.reason) for row in found.file_rows] == [
            (files[0].name, "linked_twice"),
            ("P1", "linked_twice"),
        ]
        notes = {one.code: one.severity for one in examine(str(tmp_path)).findings}
        assert notes["linked_twice"] == "note"

    def test_what_lies_in_a_hidden_folder_is_followed_to_once(self, tmp_path: Path, write_ct: Writer):
        """As tools that keep versions of data lay it down."""
        files = write_ct(site=".store/P1")
        (tmp_path / ".store" / "P1" / "again").symlink_to("../..")
        (tmp_path / "seoul").mkdir()
        (tmp_path / "seoul" / "P1").symlink_to("../.store/P1")
        (tmp_path / "seoul" / "P2").symlink_to("../.store/P1")
        (tmp_path / "seoul" / "P3").symlink_to("../.store")
        assert faults(tmp_path) == {
            **{f"seoul/P1/{file.name}": "" for file in files},
            "seoul/P1/again": "linked_twice",
            "seoul/P2": "linked_twice",
            "seoul/P3/P1": "linked_twice",
        }
        (series,) = index_repository(tmp_path)
        assert (series.site, series.slices) == ("seoul", 5)

    def test_single_files_in_a_hidden_folder_are_followed_to(self, tmp_path: Path, write_ct: Writer):
        for file in write_ct():
            (tmp_path / ".annex").mkdir(exist_ok=True)
            file.symlink_to(file.rename(tmp_path / ".annex" / file.name))
        assert [(one.slices, one.verdict) for one in index_repository(tmp_path)] == [(5, "usable")]

    def test_masks_and_table_may_be_links(self, tmp_path: Path, outside: Path):
        (tmp_path / "masks").symlink_to(outside)
        (tmp_path / "clinical.csv").symlink_to(outside / "secret")
        assert faults(tmp_path) == {}


def test_every_fault_of_an_entry_has_words():
    assert set(REASONS) >= NOT_OPENED
