"""DICOM Segmentations and RT Structure Sets in the place of masks: trained on, examined and exported like NIfTI."""

from pathlib import Path

import numpy as np
import pydicom
import pytest

from kicc_ml.cohort.doctor.masks import mask_findings
from kicc_ml.cohort.export_table import export_masks
from kicc_ml.cohort.repository import repository
from kicc_ml.core.types import Case
from kicc_ml.data.canonical import CanonicalCT
from kicc_ml.data.masks import reference_masks
from kicc_ml.data.store import VolumeStore
from kicc_ml.dicom.deidentify.export import ExportResult
from kicc_ml.dicom.deidentify.manifest import open_copy
from kicc_ml.dicom.index.build import read_index
from kicc_ml.dicom.series.image_files import write_nifti
from kicc_ml.dicom.series.nifti_file import read_nifti
from kicc_ml.dicom.volume.read import read_volume
from tests.support.consortium import lines_of, write_table
from tests.support.phantom_files import write_series
from tests.support.segmentations import GRID, STUDY, ball, described, true_mask, write_segmentation
from tests.support.structures import circles_of_ball, write_structures

pytestmark = pytest.mark.usefixtures("cache_in_a_temporary_folder")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """The CT of one patient, and the table."""
    write_table(tmp_path / "set", lines_of(["A-17"]))
    return write_series(tmp_path / "set" / "siteA" / "scan", GRID, **STUDY)


def folder_of(files: list[Path]) -> Path:
    uid = pydicom.dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID
    folder = files[0].parents[2] / "masks" / uid
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def lay_segmentation(files: list[Path], label: str = "Lesion") -> Path:
    """The ball as another program writes it, under a name of its own."""
    mask_nrcs = ball(GRID.points_mm)[..., None]
    return write_segmentation(folder_of(files) / "export-1.dcm", files, mask_nrcs, [described(1, label)])


def lay_structures(files: list[Path], name: str = "Infection") -> Path:
    return write_structures(folder_of(files) / "RS.1.2.3.dcm", files[0], {name: circles_of_ball(GRID), "Body": []})


def case_of(files: list[Path], **settings: object) -> Case:
    (case,) = repository(files[0].parents[2], **settings)  # type: ignore[arg-type]
    return case


@pytest.mark.parametrize("lay", [lay_segmentation, lay_structures])
def test_masks_in_dicom_are_those_that_were_drawn(files: list[Path], lay):
    lay(files)
    case = case_of(files)
    assert case.ct is not None
    volume = read_volume(case.ct)
    found = reference_masks(case, volume)
    assert list(found) == ["lesion"]
    np.testing.assert_array_equal(found["lesion"], true_mask(case.ct))


@pytest.mark.parametrize("lay", [lay_segmentation, lay_structures])
def test_a_store_prepares_them_anew_when_the_file_changes(files: list[Path], tmp_path: Path, lay):
    store, canonical = VolumeStore(tmp_path / "store"), CanonicalCT(spacing_mm=(2.0, 2.0, 3.0))
    path = lay(files)
    assert store.prepare([case_of(files)], canonical) == {}
    image = pydicom.dcmread(path)
    image.SeriesDescription = "corrected"
    image.save_as(path)
    assert store.load([case_of(files)], canonical) == {}


def test_a_nifti_of_a_region_comes_before_dicom(files: list[Path]):
    lay_segmentation(files)
    volume = read_volume(case_of(files).ct)  # type: ignore[arg-type]
    empty = np.zeros(volume.array.shape, bool)
    write_nifti(folder_of(files) / "lesion.nii.gz", empty, volume.affine_ras)
    assert reference_masks(case_of(files), volume)["lesion"].sum() == 0


def test_numbers_of_segments_may_be_stated(files: list[Path], caplog):
    lay_segmentation(files, "Kim Minji")
    assert case_of(files).masks == {}
    assert "1 segment or structure whose name is no region, not used; state numbers" in caplog.text
    assert "Kim" not in caplog.text
    case = case_of(files, mask_labels={1: "lesion"})
    found = reference_masks(case, read_volume(case.ct))  # type: ignore[arg-type]
    np.testing.assert_array_equal(found["lesion"], true_mask(case.ct))  # type: ignore[arg-type]


def test_a_file_that_is_no_mask_sets_its_case_aside_with_the_reason(files: list[Path], tmp_path: Path):
    (folder_of(files) / "broken.dcm").write_text("no DICOM")
    set_aside = VolumeStore(tmp_path / "store").prepare([case_of(files)], CanonicalCT(spacing_mm=(2.0, 2.0, 3.0)))
    (reason,) = set_aside.values()
    assert "cannot be read as DICOM" in reason
    (finding,) = mask_findings(read_index([files[0].parents[2]])[0])
    assert finding.code == "bad_mask"


@pytest.mark.parametrize("lay", [lay_segmentation, lay_structures])
def test_the_doctor_has_nothing_to_say_and_an_export_writes_nifti(files: list[Path], tmp_path: Path, lay):
    lay(files)
    (source,) = read_index([files[0].parents[2]])
    assert list(mask_findings(source)) == []
    series = source.series[0]
    exported = ExportResult(written=[(source, series)])
    with open_copy(tmp_path / "out", [source.key]) as copy:
        assert export_masks(exported, copy) == 1
    (written,) = (tmp_path / "out" / "masks").rglob("*.nii.gz")
    assert written.name == "lesion.nii.gz"
    np.testing.assert_array_equal(read_nifti(written)[0] > 0, true_mask(series))
    assert exported.set_aside == {}
