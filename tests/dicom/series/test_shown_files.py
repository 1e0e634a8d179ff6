"""What is written down of a case that was set aside calls its files by series and number."""

from pathlib import Path

import numpy as np
import pytest

from kicc_ml.core.errors import UserError, describe_error
from kicc_ml.core.types import Case, Series
from kicc_ml.data.canonical import CanonicalCT
from kicc_ml.data.store import VolumeStore
from kicc_ml.dicom.index.build import index_repository
from kicc_ml.dicom.series.image_files import make_nifti_series
from kicc_ml.dicom.series.shown_files import name_case_files, name_series_files


def dicom(folder: Path, count: int = 10) -> Series:
    files = tuple(folder / f"MARKERNAME {number}" for number in range(1, count + 1))
    return Series("a", "p", "s", "0a1b2c3d4e5f", "CT", files, 4, 4, count, None, "hu", "usable")


def test_a_path_that_begins_another_is_told_from_it(tmp_path: Path):
    one = dicom(tmp_path / "MARKERID 19510713")
    for number, path in ((1, one.files[0]), (10, one.files[9])):
        for error in (UserError(f"{path}: is damaged"), FileNotFoundError(2, "No such file", str(path))):
            reason = describe_error(error, name_series_files(one))
            assert f"file {number} of series 0a1b2c3d4e5f" in reason
            assert "MARKER" not in reason


def test_masks_are_called_by_their_region_and_niftis_by_their_own_name(tmp_path: Path):
    mask = tmp_path / "1.2.410.77" / "lesion.nii.gz"
    ct = make_nifti_series(tmp_path / "case7.nii.gz", site="a", patient="p", units="hu")
    names = name_case_files(
        Case("case7", "a", "p", ct=ct, masks={"lesion": mask}, cxr_masks={"lung": (tmp_path / "x",)})
    )
    assert set(names.values()) == {"the mask lesion", "case7.nii.gz", "the mask lung"}


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"-")], ids=["gone", "damaged"])
def test_a_case_that_cannot_be_prepared_names_no_file_of_the_hospital(tmp_path: Path, write_ct, caplog, damage):
    files = write_ct(site="seoul/MARKERNAME_19510713", name="MARKERNAME_")
    (series,) = index_repository(tmp_path)
    damage(files[2])
    case = Case("one", "seoul", "p", ct=series)
    reasons = VolumeStore(tmp_path / "store").prepare([case], CanonicalCT(spacing_mm=(1.0, 1.0, 5.0)))
    assert f"file 3 of series {series.uid}" in reasons["one"]
    assert "MARKERNAME" not in reasons["one"] + caplog.text
    assert np.all([str(tmp_path) not in reason for reason in reasons.values()])
