"""Files are written whole or not at all."""

import errno
import os
import stat
import time
from pathlib import Path

import pytest

from kicc_ml.core.errors import TargetError
from kicc_ml.core.files import remove_stale_partials, temporary_folder_beside, whole_file, whole_folder, write_text


def test_a_failure_leaves_the_former_file_and_nothing_beside(tmp_path: Path):
    write_text(tmp_path / "a.txt", "old")

    def half() -> None:
        with whole_file(tmp_path / "a.txt") as partial:
            partial.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "old")]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_fault_of_the_disk_is_one_error_that_names_the_target(tmp_path: Path, code: int):
    with pytest.raises(TargetError, match=r"a\.txt cannot be written: .*choose another folder"):  # noqa: SIM117
        with whole_file(tmp_path / "a.txt"):
            raise OSError(code, os.strerror(code))
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_vanishes_meanwhile_is_not_blamed_on_the_target(tmp_path: Path):
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "a.txt"):
        (tmp_path / "source").read_bytes()


def test_a_file_where_the_folder_should_be_is_a_fault_of_the_target(tmp_path: Path):
    (tmp_path / "out").write_text("")
    with pytest.raises(TargetError, match="out"):
        write_text(tmp_path / "out" / "a.txt", "x")


def test_a_private_file_is_closed_to_others(tmp_path: Path):
    write_text(tmp_path / "key", "x", private=True)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_a_name_as_long_as_a_file_system_takes_can_be_written(tmp_path: Path):
    path = tmp_path / ("한" * 85)
    write_text(path, "x")
    assert path.read_text() == "x"


def test_a_folder_is_there_with_all_its_files_or_not_at_all(tmp_path: Path):
    def half() -> None:
        with whole_folder(tmp_path / "a") as partial:
            (partial / "one").write_text("x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert list(tmp_path.iterdir()) == []
    with whole_folder(tmp_path / "a") as partial:
        (partial / "one").write_text("x")
    assert (tmp_path / "a" / "one").read_text() == "x"


def test_a_folder_that_another_process_was_first_to_make_stays(tmp_path: Path):
    def second() -> None:
        with whole_folder(tmp_path / "a") as partial:
            (partial / "mine").write_text("x")
            (tmp_path / "a").mkdir()
            (tmp_path / "a" / "theirs").write_text("x")

    with pytest.raises(FileExistsError):
        second()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["theirs"]


def test_what_a_killed_process_left_is_taken_away_after_a_day_and_nothing_else(tmp_path: Path):
    for name in (".partial-1-aa-old", ".partial-2-bb-new", "kept"):
        (tmp_path / name).write_text("x")
    long_ago = time.time() - 2 * 24 * 3600
    for name in (".partial-1-aa-old", "kept"):
        os.utime(tmp_path / name, (long_ago, long_ago))
    remove_stale_partials(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".partial-2-bb-new", "kept"]


@pytest.mark.parametrize("whole", [True, False])
def test_what_a_killed_process_left_of_a_file_or_folder_goes_when_that_is_written_again(tmp_path: Path, whole: bool):
    names = ("lesion.nii.gz", "1" * 60, "other.csv")
    for name in names:
        for pid, days_ago in ((1, 2), (2, 0)):
            left = tmp_path / f".partial-{pid}-0a1b2c3d-{name[-32:]}"
            left.write_text("half")
            os.utime(left, (time.time() - days_ago * 24 * 3600,) * 2)
    write_text(tmp_path / names[0], "whole")
    with (whole_folder if whole else temporary_folder_beside)(tmp_path / names[1]) as partial:
        (partial / "a").touch()
    left = sorted((path.name.split("-")[1], path.name[-5:]) for path in tmp_path.glob(".partial-*"))
    assert left == [("1", "r.csv"), ("2", "11111"), ("2", "ii.gz"), ("2", "r.csv")]
