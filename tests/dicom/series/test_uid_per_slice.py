"""Slices whose anonymiser gave each a SeriesInstanceUID of its own, and single slices that were meant."""

from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import generate_uid

from kicc_ml.cohort.doctor.images import image_findings
from kicc_ml.core.errors import UserError
from kicc_ml.dicom.deidentify.export import Selection, choose_series, export_series
from kicc_ml.dicom.deidentify.manifest import open_copy
from kicc_ml.dicom.index.build import read_index
from kicc_ml.dicom.results.segmentation import PredictionSource
from kicc_ml.dicom.series.uid_per_slice import MIN_JOINED_SLICES
from tests.support.judging import assert_true_to_the_phantom, judged, only
from tests.support.phantom_files import write_series
from tests.support.phantoms import Grid, even_mm

GRID = Grid(even_mm(12))
SERIES, STUDY = "SeriesInstanceUID", "StudyInstanceUID"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "repository" / "busan"


def taken_apart(folder: Path, grid: Grid = GRID, *tags: str, **changed: object) -> Path:
    """A series whose files each have values of their own for ``tags``."""
    write_series(folder, grid, **changed)
    for path in sorted(folder.iterdir()):
        one = pydicom.dcmread(path)
        for tag in tags or (SERIES,):
            setattr(one, tag, generate_uid())
        one.save_as(path)
    return folder


@pytest.mark.parametrize("tags", [(SERIES,), (SERIES, STUDY)], ids="+".join)
def test_they_are_put_together_and_it_is_said(folder: Path, tags: tuple[str, ...]):
    series = only(taken_apart(folder, GRID, *tags))
    assert (series.verdict, series.reasons) == ("repaired", ("uid_per_slice",))
    assert_true_to_the_phantom(series, GRID)


def test_a_gap_among_them_is_told_too(folder: Path):
    taken_apart(folder, Grid(even_mm(14)))
    sorted(folder.iterdir(), key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2]))[6].unlink()
    series = only(folder)
    assert (series.verdict, series.reasons) == ("refused", ("uid_per_slice", "missing_slice"))


def test_two_reconstructions_taken_apart_come_back_as_two(folder: Path):
    taken_apart(folder / "soft", ConvolutionKernel="B30")
    taken_apart(folder / "sharp", ConvolutionKernel="B70")
    found, _ = judged(folder)
    assert [(one.kernel, one.slices, one.reasons) for one in found] == [
        ("B70", 12, ("uid_per_slice",)),
        ("B30", 12, ("uid_per_slice",)),
    ]


@pytest.mark.parametrize("tag", ["PatientID", STUDY])
def test_two_scans_of_two_patients_or_studies_are_never_mixed(folder: Path, tag: str):
    for name in ("one", "other"):
        taken_apart(folder / name, **{tag: generate_uid()})
    found, _ = judged(folder)
    assert [(one.slices, one.verdict) for one in found] == [(12, "repaired")] * 2
    assert {path.parent.name for one in found for path in one.files[:1]} == {"one", "other"}
    assert all(len({path.parent for path in one.files}) == 1 for one in found)


def test_a_few_single_slices_stay_what_they_are(folder: Path):
    taken_apart(folder, Grid(even_mm(MIN_JOINED_SLICES - 1)))
    found, _ = judged(folder)
    assert {one.reasons for one in found} == {("single_slice",)}


def test_a_whole_series_beside_them_is_left_alone(folder: Path):
    taken_apart(folder / "apart")
    write_series(folder / "whole", GRID, ConvolutionKernel="B70")
    found, _ = judged(folder)
    assert {(one.kernel, one.verdict) for one in found} >= {("B70", "usable")}


def test_the_doctor_names_the_uids_and_the_anonymiser(folder: Path):
    taken_apart(folder)
    (found,) = read_index([folder.parent])
    (finding,) = [one for one in image_findings(found, False) if one.code == "uid_per_slice"]
    assert "each file has a SeriesInstanceUID of its own" in finding.sentence
    assert "anonymiser" in finding.remedy


def test_a_deidentified_copy_is_put_together_again(folder: Path, tmp_path: Path):
    found, selection = read_index([taken_apart(folder).parent]), Selection(verdicts=("repaired",))
    with open_copy(tmp_path / "copy", [one.key for one in found]) as copy:
        export_series(choose_series(found, selection), selection, copy)
    (found,) = read_index([tmp_path / "copy"])
    assert [(one.slices, one.reasons) for one in found.series] == [(12, ("uid_per_slice",))]


def test_no_derived_object_claims_to_be_of_such_a_series(folder: Path):
    series = only(taken_apart(folder))
    with pytest.raises(UserError, match="SeriesInstanceUID of its own"):
        _ = PredictionSource(series, "", "").images
    assert PredictionSource(replace(series, reasons=()), "", "").images
