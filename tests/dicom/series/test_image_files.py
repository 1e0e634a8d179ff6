"""NIfTI, PNG and JPEG at the door."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from kicc_ml.core.errors import UserError
from kicc_ml.data.mask_file import read_mask
from kicc_ml.dicom.series.image_files import make_nifti_series, make_radiograph_series, write_nifti
from kicc_ml.dicom.series.nifti_file import read_nifti
from kicc_ml.dicom.volume.read import read_volume

AFFINE_RAS = np.array([[-0.7, 0, 0, 90], [0, -0.7, 0, 80], [0, 0, 2.5, -400], [0, 0, 0, 1]])


def test_mask_comes_back_as_written_on_its_grid(tmp_path: Path):
    mask = np.zeros((4, 5, 6), bool)
    mask[1, 2, 3] = True
    write_nifti(tmp_path / "deep" / "lesion.nii.gz", mask, AFFINE_RAS)
    back, affine = read_mask(tmp_path / "deep" / "lesion.nii.gz")
    np.testing.assert_array_equal(back, mask)
    np.testing.assert_allclose(affine, AFFINE_RAS, atol=1e-5)
    assert nib.load(tmp_path / "deep" / "lesion.nii.gz").get_data_dtype() == np.uint8


def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full_disk(image: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(nib, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_nifti(tmp_path / "lesion.nii.gz", np.zeros((2, 2, 2), bool), AFFINE_RAS)
    assert list(tmp_path.iterdir()) == []


def test_series_of_a_nifti_states_shape_spacing_and_name(tmp_path: Path):
    write_nifti(tmp_path / "case_7.nii.gz", np.zeros((4, 5, 6), np.int16), AFFINE_RAS)
    series = make_nifti_series(tmp_path / "case_7.nii.gz", site="here", patient="p7", units="hu")
    assert (series.columns, series.rows, series.slices, series.uid) == (4, 5, 6, "case_7")
    assert series.spacing_mm == pytest.approx((0.7, 0.7, 2.5))
    assert (series.modality, series.verdict) == ("CT", "usable")


def test_hounsfield_nifti_is_clipped_at_the_floor_and_other_units_are_not(tmp_path: Path):
    write_nifti(tmp_path / "ct.nii", np.full((2, 2, 2), -3600, np.int16), AFFINE_RAS)
    for units, lowest in (("hu", -1024), ("arbitrary", -3600)):
        series = make_nifti_series(tmp_path / "ct.nii", site="", patient="", units=units)
        assert read_volume(series).array.min() == lowest


def test_whole_numbers_stored_as_floats_are_read_as_int16(tmp_path: Path):
    write_nifti(tmp_path / "a.nii", np.full((2, 2, 2), -700, np.float32), AFFINE_RAS)
    write_nifti(tmp_path / "b.nii", np.full((2, 2, 2), 0.25, np.float32), AFFINE_RAS)
    assert read_nifti(tmp_path / "a.nii")[0].dtype == np.int16
    assert read_nifti(tmp_path / "b.nii")[0].dtype == np.float32


def test_four_dimensional_and_broken_nifti_come_back_refused(tmp_path: Path):
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2, 3), np.int16), AFFINE_RAS), tmp_path / "4d.nii")
    (tmp_path / "broken.nii.gz").write_bytes(b"nothing")
    reasons = [
        make_nifti_series(tmp_path / n, site="", patient="", units="hu").reasons for n in ("4d.nii", "broken.nii.gz")
    ]
    assert reasons == [("not_3d",), ("unreadable",)]


def test_truncated_nifti_is_the_users_error(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 1000, (20, 20, 20)).astype(np.int16)
    write_nifti(tmp_path / "a.nii.gz", noise, AFFINE_RAS)
    whole = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"a\.nii\.gz: cannot be read"):
        read_nifti(tmp_path / "a.nii.gz")


def with_header(path: Path, **fields: object) -> Path:
    """A sound NIfTI of zeros under :data:`AFFINE_RAS` whose header fields are then set as they are given."""
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), AFFINE_RAS)
    image.set_sform(AFFINE_RAS, 1)
    image.set_qform(AFFINE_RAS, 1)
    nib.save(image, path)
    content = bytearray(path.read_bytes())
    header = np.frombuffer(content, nib.nifti1.header_dtype, 1)[0]
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.tobytes() + bytes(content[header.nbytes :]))
    return path


class TestNiftiHeaders:
    """Headers that say less, or two things at once."""

    def test_the_affine_holds_where_pixdim_says_otherwise(self, tmp_path: Path):
        path = with_header(tmp_path / "a.nii", pixdim=[1] * 8, qform_code=0)
        series = make_nifti_series(path, site="", patient="", units="hu")
        assert series.spacing_mm == pytest.approx((0.7, 0.7, 2.5))
        np.testing.assert_allclose(read_volume(series).affine_ras, AFFINE_RAS, atol=1e-5)

    @pytest.mark.parametrize(
        ("codes", "known"), [((0, 0), False), ((1, 0), True), ((0, 1), True), ((2, 2), True), ((4, 0), True)]
    )
    def test_orientation_is_known_where_a_form_states_it(self, tmp_path: Path, codes: tuple[int, int], known: bool):
        path = with_header(tmp_path / "a.nii", qform_code=codes[0], sform_code=codes[1])
        series = make_nifti_series(path, site="", patient="", units="hu")
        assert read_volume(series).orientation_known is known
        assert series.spacing_mm == pytest.approx((0.7, 0.7, 2.5))

    @pytest.mark.parametrize(("unit", "factor"), [(1, 1000), (2, 1), (3, 0.001), (0, 1)])
    def test_the_unit_of_length_is_obeyed(self, tmp_path: Path, unit: int, factor: float):
        stored_ras = np.linalg.inv(np.diag([factor, factor, factor, 1])) @ AFFINE_RAS
        path = with_header(
            tmp_path / "a.nii", xyzt_units=unit, srow_x=stored_ras[0], srow_y=stored_ras[1], srow_z=stored_ras[2]
        )
        series = make_nifti_series(path, site="", patient="", units="hu")
        assert series.spacing_mm == pytest.approx((0.7, 0.7, 2.5), rel=1e-4)
        np.testing.assert_allclose(read_nifti(path)[1], AFFINE_RAS, rtol=1e-4)

    @pytest.mark.parametrize("row", [[0, 0, 0, 0], [np.nan, 0, 0, 0], [0.00001, 0, 0, 0], [700, 0, 0, 0]])
    def test_voxels_of_no_ct_are_refused(self, tmp_path: Path, row: list[float]):
        path = with_header(tmp_path / "a.nii", srow_x=row, srow_y=[0, 0.7, 0, 0], srow_z=[0, 0, 2.5, 0])
        assert make_nifti_series(path, site="", patient="", units="hu").reasons == ("voxel_size",)

    def test_a_unit_that_contradicts_the_voxel_size_is_refused(self, tmp_path: Path):
        path = with_header(tmp_path / "a.nii", xyzt_units=1)
        assert make_nifti_series(path, site="", patient="", units="hu").reasons == ("voxel_size",)


@pytest.mark.parametrize(("mode", "white"), [("L", 255), ("RGB", (255, 255, 255)), ("I;16", 60000)])
def test_picture_is_read_grey_with_x_first(tmp_path: Path, mode: str, white: object):
    picture = Image.new(mode, (3, 2))
    picture.putpixel((2, 1), white)
    picture.save(tmp_path / "cxr.png")
    series = make_radiograph_series(tmp_path / "cxr.png", site="here", patient="p", projection="AP")
    volume = read_volume(series)
    assert (series.columns, series.rows, series.projection) == (3, 2, "AP")
    assert (volume.array.shape, volume.array.dtype, volume.spacing_known) == ((3, 2, 1), np.float32, False)
    assert volume.array[2, 1, 0] == (60000 if mode == "I;16" else 255)
    assert volume.array.sum() == volume.array[2, 1, 0]


def test_broken_picture_comes_back_refused(tmp_path: Path):
    (tmp_path / "cxr.jpg").write_bytes(b"\xff\xd8nothing")
    assert make_radiograph_series(tmp_path / "cxr.jpg", site="", patient="").reasons == ("unreadable",)


def test_real_volumes_are_read_on_their_grid(real_data: Path):
    path = real_data / "ct_volumes" / "lung_hu_128" / "imlab_1_ct.nii.gz"
    volume = read_volume(make_nifti_series(path, site="imlab", patient="1", units="hu"))
    assert volume.array.shape == (128, 128, 64)
    assert volume.array.min() == -1024
