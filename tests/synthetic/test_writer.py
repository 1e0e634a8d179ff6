"""What is written is DICOM that says where it lies and what it measures, whatever the hospital's habits."""

from dataclasses import fields, replace
from datetime import datetime

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1

from kicc_ml.synthetic.anatomy import draw_physique
from kicc_ml.synthetic.hospital import VENDORS, Habits, make_hospitals, scan_ct
from kicc_ml.synthetic.thorax import make_healthy_thorax
from kicc_ml.synthetic.writer import ImageOrder, make_ct_affine_ras, write_ct, write_radiograph

ORDER = ImageOrder("busan-1", "00123", "F", 63.0, "CT", datetime(2020, 3, 1, 14, 5, 9), "", 11, 12)
HOSPITAL = replace(
    make_hospitals(0, ["busan-1"])["busan-1"],
    habits=Habits(),
    transfer_syntax=ExplicitVRLittleEndian,
    vendor=VENDORS[0],
)
GRID = HOSPITAL.make_ct_grid(32, 16, 230.0)


@pytest.fixture(scope="module")
def hu_xyz() -> np.ndarray:
    person = draw_physique(np.random.default_rng(1), "F", 63)
    return scan_ct(HOSPITAL, make_healthy_thorax(1, person, GRID), 1)


def written(folder, hu_xyz, hospital=HOSPITAL, order=ORDER) -> list[pydicom.Dataset]:
    folder.mkdir(exist_ok=True)
    write_ct(folder, hu_xyz, GRID, hospital, order)
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def axial(files) -> list[pydicom.Dataset]:
    """Slices by height, each position once; knows nothing of how they were written."""
    slices = [f for f in files if f.get("ImageOrientationPatient") == [1, 0, 0, 0, 1, 0]]
    return [s for _, s in sorted({float(s.ImagePositionPatient[2]): s for s in slices}.items())]


def pixels(file) -> np.ndarray:
    if file.file_meta.TransferSyntaxUID == JPEGLosslessSV1:
        return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(file.filename))[0] - float(file.RescaleIntercept)
    return file.pixel_array


def in_hu(slices) -> np.ndarray:
    hu = [pixels(s) * float(s.RescaleSlope) + float(s.RescaleIntercept) for s in slices]
    return np.stack(hu).transpose(2, 1, 0)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1])
@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.manufacturer)
def test_a_series_sorted_by_position_gives_the_hounsfield_units_back(tmp_path, hu_xyz, syntax, vendor):
    hospital = replace(HOSPITAL, transfer_syntax=syntax, vendor=vendor)
    files = written(tmp_path, hu_xyz, hospital)
    np.testing.assert_array_equal(in_hu(axial(files)), hu_xyz)
    assert {f.file_meta.TransferSyntaxUID for f in files} == {syntax}


def test_padding_is_declared_and_below_air(tmp_path):
    hospital = replace(HOSPITAL, vendor=VENDORS[1])
    person = draw_physique(np.random.default_rng(1), "F", 63)
    scan = scan_ct(hospital, make_healthy_thorax(1, person, GRID), 1)
    first = axial(written(tmp_path, scan, hospital))[0]
    corner = int(first.pixel_array[0, 0])
    assert corner == first.PixelPaddingValue
    assert corner + first.RescaleIntercept == -3024


def test_the_mask_affine_and_dicom_geometry_name_the_same_point(tmp_path, hu_xyz):
    """A landmark voxel's place from the slice's own tags (PS3.3 C.7.6.2.1.1) and through the NIfTI affine."""
    slices = axial(written(tmp_path, hu_xyz))
    mask = nibabel.Nifti1Image(np.zeros(GRID.shape, np.uint8), make_ct_affine_ras(GRID))
    for x, y, z in [(0, 0, 0), (31, 0, 15), (7, 20, 3)]:
        tags = slices[z]
        row_mm, column_mm = (float(mm) for mm in tags.PixelSpacing)
        place_lps = np.add(tags.ImagePositionPatient, [x * column_mm, y * row_mm, 0])
        np.testing.assert_allclose(
            nibabel.affines.apply_affine(mask.affine, (x, y, z)), place_lps * [-1, -1, 1], atol=1e-3
        )


def test_headers_say_who_when_and_with_what(tmp_path, hu_xyz):
    file = written(tmp_path, hu_xyz)[0]
    assert (file.PatientID, file.PatientSex, file.PatientAge) == ("00123", "F", "063Y")
    assert (file.StudyDate, file.AcquisitionDateTime) == ("20200301", "20200301140509")
    assert (file.Manufacturer, file.ConvolutionKernel) == ("SIEMENS", HOSPITAL.kernel)
    assert file.BodyPartExamined == "CHEST"
    assert file.SOPInstanceUID == file.file_meta.MediaStorageSOPInstanceUID


def test_series_of_one_examination_share_a_study_and_only_a_study():
    later = replace(ORDER, seed=13)
    other_day = replace(ORDER, acquired=datetime(2020, 3, 2, 8, 0, 0))
    assert later.study_uid == ORDER.study_uid != other_day.study_uid
    assert later.series_uid != ORDER.series_uid


def test_the_same_order_gives_the_same_bytes(tmp_path, hu_xyz):
    habits = Habits(**{field.name: True for field in fields(Habits)})
    for name in ("one", "two"):
        written(tmp_path / name, hu_xyz, replace(HOSPITAL, habits=habits))
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two


def with_habit(folder, hu_xyz, **habit) -> list[pydicom.Dataset]:
    files = written(folder, hu_xyz, replace(HOSPITAL, habits=Habits(**habit)))
    np.testing.assert_array_equal(in_hu(axial(files)), hu_xyz)  # whatever the habit, the volume is still there
    return files


def test_habit_shuffled_file_names(tmp_path, hu_xyz):
    heights = [float(f.ImagePositionPatient[2]) for f in with_habit(tmp_path, hu_xyz, shuffled_file_names=True)]
    assert heights not in (sorted(heights), sorted(heights, reverse=True))


def test_habit_disordered_instance_numbers(tmp_path, hu_xyz):
    slices = axial(with_habit(tmp_path, hu_xyz, instance_number_disordered=True))
    numbers = [int(s.InstanceNumber) for s in slices]
    assert sorted(numbers) == list(range(1, 17))
    assert numbers not in (sorted(numbers), sorted(numbers, reverse=True))


def test_habit_missing_instance_numbers(tmp_path, hu_xyz):
    assert all(f.InstanceNumber is None for f in with_habit(tmp_path, hu_xyz, instance_number_missing=True))


def test_habit_localizer_in_series(tmp_path, hu_xyz):
    files = with_habit(tmp_path, hu_xyz, localizer_in_series=True)
    assert [f.ImageType[2] for f in files].count("LOCALIZER") == 1
    assert len({f.SeriesInstanceUID for f in files}) == 1
    assert len(files) == 17


def test_habit_dose_page_in_series(tmp_path, hu_xyz):
    pages = [f for f in with_habit(tmp_path, hu_xyz, dose_page_in_series=True) if f.SamplesPerPixel == 3]
    assert len(pages) == 1
    assert pages[0].pixel_array.shape == (96, 128, 3)


def test_habit_duplicated_slice(tmp_path, hu_xyz):
    files = with_habit(tmp_path, hu_xyz, duplicated_slice=True)
    assert len(files) == 17
    assert len({f.SOPInstanceUID for f in files}) == 16


def test_habit_korean_names(tmp_path, hu_xyz):
    file = with_habit(tmp_path, hu_xyz, korean_names=True)[0]
    assert file.SpecificCharacterSet == ["", "ISO 2022 IR 149"]
    assert all("가" <= letter <= "힣" for letter in file.PatientName.phonetic.replace("^", ""))


def test_habit_private_tags(tmp_path, hu_xyz):
    assert any(element.tag.is_private for element in with_habit(tmp_path, hu_xyz, private_tags=True)[0])


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEG2000Lossless])
@pytest.mark.parametrize("monochrome1", [False, True])
@pytest.mark.parametrize("modality", ["CR", "DX"])
def test_a_radiograph_stands_upright_in_its_polarity(tmp_path, syntax, monochrome1, modality):
    image = np.arange(40 * 36, dtype=np.uint16).reshape(40, 36)  # [x, z], z upwards
    hospital = replace(HOSPITAL, transfer_syntax=syntax, monochrome1=monochrome1, cxr_modality=modality)
    write_radiograph(tmp_path, image, 1.5, hospital, replace(ORDER, modality="CXR", projection="AP"))
    file = pydicom.dcmread(next(tmp_path.iterdir()))
    shown = 4095 - file.pixel_array if file.PhotometricInterpretation == "MONOCHROME1" else file.pixel_array
    assert file.PhotometricInterpretation == ("MONOCHROME1" if monochrome1 else "MONOCHROME2")
    assert shown[0, 0] == image[0, -1]
    assert shown[-1, 3] == image[3, 0]
    assert (file.Modality, file.ViewPosition, file.PixelSpacing) == (modality, "AP", [1.5, 1.5])


def test_two_cts_of_a_day_are_two_studies():
    ct = replace(ORDER, modality="CT", projection="", acquired=datetime(2020, 3, 1, 9))
    assert ct.study_uid != replace(ct, acquired=datetime(2020, 3, 1, 15)).study_uid
