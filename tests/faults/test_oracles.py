"""What the tests of faults are judged by sees a changed result, half a file, a traceback and a silent refusal."""

import gzip
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.faults.content import content_of, differences
from tests.faults.judge import check_ended_well, check_nothing_partial, remove_what_is_named

pytestmark = pytest.mark.slow


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder of results with a file of each kind."""
    folder = tmp_path / "results"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "lesion.nii.gz").write_bytes(gzip.compress(b"voxels", mtime=1))
    (folder / "severity.json").write_text(json.dumps({"score": 3, "timing_s": {"reading": 1.0}}))
    (folder / "predictions.csv").write_text("case_id,score,seconds\na,3,0.5\n")
    (folder / "weights.safetensors").write_bytes(b"weights")
    (folder / "checkpoints" / "last.ckpt").write_bytes(b"state")
    return folder


def test_times_and_logs_are_no_difference(results: Path):
    before = content_of(results)
    (results / "lesion.nii.gz").write_bytes(gzip.compress(b"voxels", mtime=2))
    (results / "severity.json").write_text(json.dumps({"score": 3, "timing_s": {"reading": 2.0}}))
    (results / "predictions.csv").write_text("case_id,score,seconds\na,3,0.7\n")
    (results / "checkpoints" / "last.ckpt").write_bytes(b"other state")
    assert differences(content_of(results), before) == []


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("lesion.nii.gz", gzip.compress(b"Voxels")),
        ("severity.json", b'{"score": 4}'),
        ("predictions.csv", b"case_id,score,seconds\na,4,0.5\n"),
        ("weights.safetensors", b"weight"),
    ],
)
def test_a_changed_result_is_a_difference_and_a_partial_one(results: Path, name: str, changed: bytes):
    before = content_of(results)
    (results / name).write_bytes(changed)
    assert [line.split()[1] for line in differences(content_of(results), before)] == [name]
    with pytest.raises(AssertionError, match=name):
        check_nothing_partial(results, before)


def test_half_a_file_is_a_difference(results: Path):
    before = content_of(results)
    whole = (results / "lesion.nii.gz").read_bytes()
    (results / "lesion.nii.gz").write_bytes(whole[: len(whole) // 2])
    assert len(differences(content_of(results), before)) == 1


def test_files_left_over_and_files_lost_are_differences(results: Path):
    before = content_of(results)
    (results / ".partial").touch()
    (results / "severity.json").unlink()
    assert {line.split(":")[0] for line in differences(content_of(results), before)} == {"missing", "unexpected"}
    check_nothing_partial(results, before)  # hidden files may lie there until the command is taken up again


@pytest.mark.parametrize(
    ("status", "printed"),
    [
        (1, "error: no room"),
        (0, "Traceback (most recent call last)"),
        (2, "Traceback (most recent call last)\nerror: no room"),
        (2, "nothing that says error"),
        (2, "error: one\nerror: two"),
        (3, ""),
        (-7, ""),
    ],
)
def test_an_end_that_tells_the_user_nothing_is_refused(tmp_path: Path, status: int, printed: str):
    (tmp_path / "run.out").touch()
    (tmp_path / "run.err").write_text(printed)
    ended = SimpleNamespace(stdout=tmp_path / "run.out", stderr=tmp_path / "run.err")
    with pytest.raises(AssertionError):
        check_ended_well(ended, status)


def test_a_message_has_to_name_what_can_be_removed(results: Path):
    remove_what_is_named(f"error: {results}/severity.json is damaged; remove it.", results)
    assert not (results / "severity.json").exists()
    with pytest.raises(AssertionError, match="could be removed"):
        remove_what_is_named("error: something is damaged", results)
