"""``kicc-ml predict`` over files whose names could lead elsewhere: nothing outside the results is touched."""

import errno
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from kicc_ml.apps import cli
from kicc_ml.clinic.outputs import ModelProvenance, OofCases
from kicc_ml.models.segmenter import Segmenter
from kicc_ml.prediction.several_devices import predict_on_each
from tests.support.grey_value_network import phantom_ras, segmenter
from tests.support.lock_holder import other_process
from tests.support.tree import digests

#: Names of files whose id is no name of a folder: of others ".." and "." would be the parent and the results.
HOSTILE = ["...nii.gz", ".nii.gz", "..nii.gz", "a\\b.nii.gz", "a\nb.nii.gz", "\x1b[31mred.nii.gz", ".hidden.nii"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, tmp_path: Path) -> Run:
    """The command with a network that tells tissues by their grey value."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setattr("kicc_ml.clinic.loaded_runs.load_folds", lambda *_: [])
    monkeypatch.setattr("kicc_ml.clinic.loaded_runs.read_oof_cases", lambda *_: OofCases(pd.DataFrame()))
    monkeypatch.setattr("kicc_ml.clinic.loaded_runs.make_segmenter", lambda *_, **__: segmenter())
    monkeypatch.setattr(
        "kicc_ml.clinic.loaded_runs.describe_model", lambda *_: ModelProvenance("ab" * 32, {"model": "ab"})
    )

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["kicc-ml", "predict", *map(str, arguments), "--run", str(tmp_path)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return int(stopped.value.code or 0), *capfd.readouterr()

    return run


def save(path: Path, sound: bool = True) -> None:
    """A scan with lungs of 351 mL, or one without any, which is refused."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hu = phantom_ras() if sound else np.zeros_like(phantom_ras())
    plain = path.parent / "written.nii.gz"
    nib.save(nib.Nifti1Image(hu, np.diag([7.0, 7.0, 8.0, 1.0])), plain)
    plain.rename(path)


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("sound", [True, False])
def test_a_name_that_leads_elsewhere_is_set_aside_and_no_folder_is_touched(
    tmp_path: Path, predict: Run, name: str, sound: bool
):
    home = tmp_path / "home"
    for kept in (home / "results" / "earlier" / "severity.keep", home / "other" / "thesis.txt"):
        kept.parent.mkdir(parents=True)
        kept.write_text("years of work")
    save(tmp_path / "in" / name, sound)
    save(tmp_path / "in" / "ordinary.nii.gz")
    before = digests(home)
    status, out, err = predict("-i", tmp_path / "in", "-o", home / "results")
    assert status == 3
    assert "cannot be the name of a folder" in out
    assert f"1 predicted: {home}/results/predictions.csv; look at them with: kicc-ml view {home}/results\n" in out
    after = digests(home)
    assert before.items() <= after.items()
    new = set(after) - set(before)
    assert {Path(path).parts[:2] for path in new} == {
        ("results", "ordinary"),
        ("results", "predictions.csv"),
    }
    assert not [character for character in out + err if ord(character) < 32 and character not in "\n\t\r"]
    assert "Traceback" not in err


def test_a_single_file_of_such_a_name_is_refused_by_name(tmp_path: Path, predict: Run):
    save(tmp_path / "in" / "...nii.gz")
    status, _, err = predict("-i", tmp_path / "in" / "...nii.gz", "-o", tmp_path / "home" / "results")
    assert status == 2
    assert "error: ...nii.gz: its name without suffix cannot be the name of a folder: it begins with a dot" in err
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("name", ["predictions.csv", "Outcomes.csv", "index.html"])
def test_a_scan_called_like_a_file_of_the_results_is_set_aside(tmp_path: Path, predict: Run, name: str):
    save(tmp_path / "in" / f"{name}.nii.gz")
    save(tmp_path / "in" / "ordinary.nii.gz")
    status, out, _ = predict("-i", tmp_path / "in", "-o", tmp_path / "out")
    assert status == 3
    assert "the results have a file of that name" in out
    assert (tmp_path / "out" / "predictions.csv").is_file()


def test_scans_that_some_disks_take_for_one_are_refused_together(tmp_path: Path, predict: Run):
    save(tmp_path / "in" / "Case.nii.gz")
    save(tmp_path / "in" / "case.nii.gz")
    status, _, err = predict("-i", tmp_path / "in", "-o", tmp_path / "out")
    assert status == 2
    assert "'Case' and 'case' would be one folder" in err


def test_a_link_in_the_results_leads_no_case_elsewhere(tmp_path: Path, predict: Run):
    save(tmp_path / "in" / "linked.nii.gz")
    save(tmp_path / "in" / "ordinary.nii.gz")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "linked").symlink_to(tmp_path / "elsewhere")
    status, out, _ = predict("-i", tmp_path / "in", "-o", tmp_path / "out")
    assert status == 3
    assert "leads out of" in out
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_a_user_laid_into_the_folder_of_a_refused_case_stays(tmp_path: Path, predict: Run):
    save(tmp_path / "in" / "refused.nii.gz", sound=False)
    save(tmp_path / "in" / "ordinary.nii.gz")
    notes = tmp_path / "out" / "refused" / "notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("read by Dr Kim")
    status, _, _ = predict("-i", tmp_path / "in", "-o", tmp_path / "out")
    assert status == 3
    assert digests(notes.parent) == {"notes.txt": hashlib.sha256(b"read by Dr Kim").hexdigest()}


@pytest.mark.parametrize("words", ["No space left on device", "iostream error", "8 requested and 3 written"])
def test_a_damaged_scan_that_is_called_like_a_fault_of_the_disk_is_set_aside(tmp_path: Path, predict: Run, words: str):
    save(tmp_path / "in" / "ordinary.nii.gz")
    save(damaged := tmp_path / "in" / f"A {words}.nii.gz")
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) // 2])
    status, out, err = predict("-i", tmp_path / "in", "-o", tmp_path / "out")
    assert status == 3
    assert f"A {words}" in out + err
    assert "1 predicted" in out
    assert "make room" not in out + err


def test_a_full_disk_ends_the_run_and_blames_no_scan(tmp_path: Path, predict: Run, monkeypatch: pytest.MonkeyPatch):
    for name in ("a", "b"):
        save(tmp_path / "in" / f"{name}.nii.gz")
    written: list[Path] = []

    def full(path: Path, *_: object) -> None:
        written.append(path)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("kicc_ml.prediction.segmentation.write_nifti", full)
    status, out, err = predict("-i", tmp_path / "in", "-o", tmp_path / "out")
    assert status == 2
    assert "No space left on device; make room" in err
    assert "set aside" not in out + err
    assert len(written) == 1  # the second scan would fail in the same way
    assert not (tmp_path / "out" / "a").exists()


def test_results_that_are_a_file_are_said_to_be_so(tmp_path: Path, predict: Run):
    save(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "out").write_text("mine")
    status, out, err = predict("-i", tmp_path / "in", "-o", tmp_path / "out")
    assert status == 2
    assert "set aside" not in out + err
    assert f"error: {tmp_path / 'out'} cannot be written" in err
    assert (tmp_path / "out").read_text() == "mine"


def test_the_second_process_in_a_folder_of_results_is_told_who_predicts_there(tmp_path: Path, predict: Run):
    out = tmp_path / "results"
    out.mkdir()
    save(tmp_path / "in" / "one.nii.gz")
    process = other_process(out / ".lock")
    try:
        status, _, err = predict("-i", tmp_path / "in", "-o", out)
        assert status == 2
        assert f"the folder of results {out} is being written by process {process.pid}" in err
        assert [path.name for path in out.iterdir()] == [".lock"]
    finally:
        process.kill()
        process.wait()
    status, _, err = predict("-i", tmp_path / "in", "-o", out)  # the lock of a killed process holds nobody up
    assert status == 0, err
    assert not (out / ".lock").exists()


def test_auto_predicts_on_every_gpu_there_is_and_the_table_keeps_the_order(
    tmp_path: Path, predict: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("kicc_ml.prediction.several_devices.list_further_devices", lambda name: ["cpu"] * 3)
    asked: list[int] = []

    def count(segmenters: Sequence[Segmenter], *others: Any) -> dict[str, Any]:
        asked.append(len(segmenters))
        return predict_on_each(segmenters, *others)

    monkeypatch.setattr("kicc_ml.prediction.segmentation.predict_on_each", count)
    save(tmp_path / "in" / "b.nii.gz")
    save(tmp_path / "in" / "a.nii.gz")
    status, _, _ = predict("-i", tmp_path / "in", "-o", tmp_path / "out", "--report")
    assert (status, asked) == (0, [2])  # two scans need no third GPU
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert list(table["case_id"]) == ["a", "b"]
    assert all((tmp_path / "out" / name / "page.html").is_file() for name in ("a", "b"))
