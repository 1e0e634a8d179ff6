"""Scans somebody points at, by the id under which they are predicted."""

import logging
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from kicc_ml.core.errors import UserError
from kicc_ml.core.help_pages import REFUSED_SERIES
from kicc_ml.dicom.index.sources import find_scans


def nifti(path: Path, shape: tuple[int, ...] = (6, 5, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.zeros(shape, np.int16), np.diag([1.0, 1.0, 2.0, 1.0])), path)
    return path


def test_one_nifti_is_named_after_its_file(tmp_path: Path):
    scans = find_scans(nifti(tmp_path / "case.07.nii.gz"), "hu", True)
    assert list(scans) == ["case.07"]
    assert (scans["case.07"].units, scans["case.07"].spacing_mm) == ("hu", (1.0, 1.0, 2.0))


def test_units_and_whether_spacing_is_known_are_said_of_a_nifti_not_by_it(tmp_path: Path):
    scans = find_scans(nifti(tmp_path / "a.nii"), "arbitrary", False)
    assert (scans["a"].units, scans["a"].spacing_mm) == ("arbitrary", None)


def test_a_folder_gives_its_niftis_in_any_nesting(tmp_path: Path):
    nifti(tmp_path / "b" / "c" / "two.nii")
    nifti(tmp_path / "one.nii.gz")
    assert set(find_scans(tmp_path, "hu", True)) == {"one", "two"}


def test_a_folder_of_dicom_gives_a_scan_per_series_under_its_pseudonym(
    tmp_path: Path, write_ct: Callable[..., list[Path]]
):
    write_ct(name="a", SeriesInstanceUID="1.2.3.4")
    write_ct(name="b", SeriesInstanceUID="1.2.3.5")
    scans = find_scans(tmp_path, "arbitrary", False)
    assert len(scans) == 2
    assert not {"1.2.3.4", "1.2.3.5"} & set(scans)
    assert {one.units for one in scans.values()} == {"hu"}  # DICOM speaks for itself


def test_images_of_the_other_kind_are_left_out_and_counted(
    tmp_path: Path,
    write_ct: Callable[..., list[Path]],
    write_cxr: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
):
    write_ct(name="a")
    write_cxr(np.arange(40, dtype=np.uint16).reshape(5, 8), SeriesInstanceUID="1.9", StudyInstanceUID="1.8")
    Image.fromarray(np.full((200, 200), 90, np.uint8)).save(tmp_path / "film.png")
    assert [one.modality for one in find_scans(tmp_path, "hu", True).values()] == ["CT"]
    assert f"left out: 2 radiographs in {tmp_path}, because this run is for CT" in caplog.text


def test_a_folder_of_the_other_kind_alone_is_refused_with_what_it_holds(tmp_path: Path):
    nifti(tmp_path / "one.nii.gz")
    with pytest.raises(UserError, match="holds no radiograph, and 1 CT, which this run is not for") as refused:
        find_scans(tmp_path, "hu", True, "CXR")
    assert "kicc-ml index" not in str(refused.value)  # it would say that the CT is usable
    assert not refused.value.page


def test_where_a_scan_is_refused_beside_the_other_kind_its_reasons_are_pointed_to(tmp_path: Path):
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    (tmp_path / "other.nii.gz").write_bytes(b"no image")
    Image.fromarray(np.full((200, 200), 90, np.uint8)).save(tmp_path / "film.png")
    with pytest.raises(
        UserError, match=r"holds no usable CT, and 1 radiograph, .* kicc-ml index .* says why"
    ) as refused:
        find_scans(tmp_path, "hu", True)
    assert refused.value.page == REFUSED_SERIES


def test_a_refused_scan_is_named_with_its_reason_and_the_others_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    nifti(tmp_path / "whole.nii.gz")
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    with caplog.at_level(logging.WARNING):
        scans = find_scans(tmp_path, "hu", True)
    assert set(scans) == {"whole"}
    assert list(scans.set_aside) == ["broken.nii.gz"]
    assert "broken.nii.gz refused" in caplog.text


def test_two_files_of_one_name_are_refused_rather_than_one_lost(tmp_path: Path):
    nifti(tmp_path / "monday" / "scan.nii.gz")
    nifti(tmp_path / "tuesday" / "scan.nii.gz")
    with pytest.raises(UserError, match="two scans of one name"):
        find_scans(tmp_path, "hu", True)


@pytest.mark.parametrize("name", ["not-there", "not-there.nii.gz"])
def test_what_is_not_there_is_said_to_be_so(tmp_path: Path, name: str):
    with pytest.raises(UserError, match="is not there"):
        find_scans(tmp_path / name, "hu", True)


def test_a_folder_with_no_scan_is_a_users_error(tmp_path: Path):
    with pytest.raises(UserError):
        find_scans(tmp_path, "hu", True)


def test_a_folder_with_nothing_but_refused_scans_says_how_to_learn_why(
    tmp_path: Path, write_ct: Callable[..., list[Path]]
):
    write_ct([0, 5, 15, 20])  # a slice is missing
    with pytest.raises(UserError, match=r"no usable CT; kicc-ml index"):
        find_scans(tmp_path, "hu", True)


def test_a_series_of_pictures_is_no_nifti(tmp_path: Path):
    nifti(tmp_path / "rgb.nii.gz", (6, 5, 4, 3))
    with pytest.raises(UserError, match=r"rgb.nii.gz: the file does not hold one three-dimensional volume"):
        find_scans(tmp_path / "rgb.nii.gz", "hu", True)


def test_radiographs_are_pictures_and_frontal_dicom_where_those_are_asked_for(tmp_path):
    Image.new("L", (8, 6)).save(tmp_path / "one.jpg")
    Image.new("L", (8, 6)).save(tmp_path / "two.PNG")
    nifti(tmp_path / "ct.nii.gz")
    found = find_scans(tmp_path, "arbitrary", False, "CXR")
    assert {case_id: series.modality for case_id, series in found.items()} == {"one": "CXR", "two": "CXR"}
    with pytest.raises(UserError, match="holds no radiograph"):
        find_scans(tmp_path / "ct.nii.gz", "arbitrary", False, "CXR")
