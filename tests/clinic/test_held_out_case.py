"""Predictions of a run are exported as DICOM for the archives, and never into the run folder."""

import stat
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pydicom
import pytest
from typer.testing import CliRunner, Result

from kicc_ml.apps.cli import app
from kicc_ml.core.errors import UserError
from kicc_ml.core.files import write_table
from kicc_ml.core.types import Case
from kicc_ml.prediction.segmentation import write_case
from kicc_ml.runs.settings import parse_settings
from kicc_ml.severity.image_features import measure_ct_features
from tests.support.predicted_scan import predicted

NAME = "Hong^Gildong"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder with one fold and one held-out case, whose network nobody asks."""
    series, result = predicted(tmp_path / "repository", PatientName=NAME, PatientBirthDate="19510713")
    run = tmp_path / "runs" / "one"
    fold = SimpleNamespace(
        folder=run / "seoul",
        settings=parse_settings({"cohort": {}}, Path("config.yaml")),
        canonical=SimpleNamespace(modality="CT"),
        about=SimpleNamespace(sites=["busan"]),
    )
    features = measure_ct_features(result.volume, result.masks)
    write_case(run / "severity" / "seoul_1", result.masks, result.volume, result.severity, features, result.stages)
    fold.folder.mkdir()
    write_table(fold.folder / "predictions.csv", pd.DataFrame({"case_id": ["seoul_1"]}))
    monkeypatch.setattr("kicc_ml.runs.folder.load_folds", lambda *_: [fold])
    cohort = [Case("seoul_1", "seoul", "p", ct=series)]
    monkeypatch.setattr("kicc_ml.runs.run_cohort.RunCohort.read", lambda *_: cohort)
    return run


def export_results(run: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["export", str(run), *options])


def read_contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_objects_lie_outside_of_the_run_closed_to_others_and_that_is_said(run: Path, tmp_path: Path):
    before, out = read_contents(run), tmp_path / "to the archive"
    ran = export_results(run, "-o", str(out))
    assert ran.exit_code == 0, ran.output
    assert read_contents(run) == before
    objects = sorted((out / "seoul_1" / "dicom").iterdir())
    assert [path.name for path in objects] == ["picture.dcm", "report.dcm", "segmentation.dcm", "summary.dcm"]
    assert {str(pydicom.dcmread(path).PatientName) for path in objects} == {NAME}
    assert {stat.S_IMODE(path.stat().st_mode) for path in objects} == {0o600}
    folders = [out, out / "seoul_1", out / "seoul_1" / "dicom"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
    assert sum("files that identify patients" in line for line in ran.output.splitlines()) == 1


def test_a_second_export_takes_the_place_of_the_first(run: Path, tmp_path: Path):
    for _ in range(2):
        assert export_results(run, "-o", str(tmp_path / "out")).exit_code == 0
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 4


def test_export_without_a_folder_is_the_users_error(run: Path):
    ran = export_results(run)
    assert ran.exit_code == 2
    assert "-o" in ran.output


@pytest.mark.parametrize("out", [".", "severity", "new/deep"])
def test_the_run_folder_is_no_place_for_them(run: Path, out: str):
    before = read_contents(run)
    ran = export_results(run, "-o", str(run / out))
    assert isinstance(ran.exception, UserError)
    assert "lies in the run folder" in str(ran.exception)
    assert read_contents(run) == before


def test_a_folder_in_use_that_others_can_open_is_refused(run: Path, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o755)
    (out / "mine.txt").write_text("mine")
    ran = export_results(run, "-o", str(out))
    assert isinstance(ran.exception, UserError)
    assert f"chmod 700 {out}" in str(ran.exception)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("command", ["export", "predict"])
def test_the_help_says_what_identifies_patients(command: str):
    said = " ".join(CliRunner().invoke(app, [command, "--help"]).output.replace("│", " ").split())
    assert "identify patients" in said or "identifies patients" in said
