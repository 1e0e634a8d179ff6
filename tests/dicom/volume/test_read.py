"""Values and places of voxels, against numbers written by hand and against SimpleITK."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged
from pydicom.dataelem import DataElement
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Volume
from kicc_ml.dicom.index.build import index_repository
from kicc_ml.dicom.pixels.read import Image
from kicc_ml.dicom.series.geometry import NotAVolume
from kicc_ml.dicom.series.image_files import make_nifti_series, write_nifti
from kicc_ml.dicom.volume.hounsfield import write_hounsfield
from kicc_ml.dicom.volume.read import RepositoryReader, read_volume
from tests.support.phantom_files import write_enhanced, write_series
from tests.support.phantoms import Grid, even_mm

Writer = Callable[..., list[Path]]
ImageWriter = Callable[..., Path]


def read_only(root: Path) -> Volume:
    (series,) = index_repository(root)
    return read_volume(series)


@pytest.fixture
def write_slices(write_image: ImageWriter) -> Callable[..., None]:
    """Writes ``stored_zyx`` as an axial series into ``root/seoul``, 2.5 mm apart."""

    def writer(root: Path, stored_zyx: np.ndarray, **tags: object) -> None:
        for index, stored in enumerate(stored_zyx):
            write_image(root / "seoul" / str(index), stored, ImagePositionPatient=[-30, 40, 2.5 * index], **tags)

    return writer


def test_slices_lie_in_order_of_position_in_hounsfield_units(tmp_path: Path, write_ct: Writer):
    write_ct([30, 0, 20, 10])  # slice k holds 1000 + k
    volume = read_only(tmp_path)
    assert (volume.array.shape, volume.array.dtype, volume.units) == ((8, 6, 4), np.int16, "hu")
    assert volume.array[0, 0].tolist() == [-23, -21, -22, -24]
    assert volume.spacing_mm == pytest.approx((0.5, 0.7, 10))


def test_axial_volume_and_affine_equal_simpleitk(tmp_path: Path, write_slices: Callable[..., None]):
    stored = np.random.default_rng(0).integers(0, 3000, (5, 6, 8), dtype=np.uint16)
    write_slices(tmp_path, stored)
    volume = read_only(tmp_path)
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "seoul"))
    oracle = SimpleITK.ReadImage(names)
    np.testing.assert_array_equal(volume.array, SimpleITK.GetArrayFromImage(oracle).transpose(2, 1, 0))
    for index in [(0, 0, 0), (7, 2, 4), (3, 5, 1)]:
        lps = oracle.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose((volume.affine_ras @ [*index, 1])[:3], np.array(lps) * [-1, -1, 1], atol=1e-4)


@pytest.mark.parametrize(
    "orientation", [(1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, -1, 0), (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1)]
)
def test_landmark_is_found_where_the_scanner_put_it(
    tmp_path: Path, orientation: tuple[float, ...], write_image: ImageWriter
):
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    normal = np.cross(row, column)
    for index in range(5):
        stored = np.full((6, 8), 24, np.uint16)
        stored[4, 7] = 2024 if index == 3 else 24
        position = np.array([11.0, -22, 33]) + 2 * index * normal
        tags = {"ImagePositionPatient": position.tolist(), "ImageOrientationPatient": list(orientation)}
        write_image(tmp_path / "seoul" / str(index), stored, **tags)
    volume = read_only(tmp_path)
    brightest = np.unravel_index(volume.array.argmax(), volume.array.shape)
    lps = np.array([11.0, -22, 33]) + 7 * 0.5 * row + 4 * 0.7 * column + 3 * 2 * normal
    np.testing.assert_allclose((volume.affine_ras @ [*brightest, 1])[:3], lps * [-1, -1, 1], atol=1e-6)


def test_padding_and_everything_below_becomes_minus_1024(tmp_path: Path, write_slices: Callable[..., None]):
    stored = np.full((3, 6, 8), 1024, np.int16)
    stored[:, 0, 0], stored[:, 0, 1], stored[:, 0, 2] = -2000, 777, -500
    write_slices(tmp_path, stored, PixelPaddingValue=777)
    values = read_only(tmp_path).array[:4, 0, 0]
    assert values.tolist() == [-1024, -1024, -1024, 0]


def test_padding_value_written_with_the_wrong_sign_is_understood(tmp_path: Path, write_slices: Callable[..., None]):
    stored = np.full((3, 6, 8), 1024, np.int16)
    stored[:, 0, 0] = -100
    padding = DataElement("PixelPaddingValue", "US", 65436)
    write_slices(tmp_path, stored, PixelPaddingValue=padding, RescaleIntercept=0)
    assert read_only(tmp_path).array[0, 0, 0] == -1024


def test_monochrome1_ct_keeps_its_hounsfield_units(tmp_path: Path, write_slices: Callable[..., None]):
    write_slices(tmp_path, np.full((3, 6, 8), 1124, np.uint16), PhotometricInterpretation="MONOCHROME1")
    assert (read_only(tmp_path).array == 100).all()


def test_slope_that_is_no_whole_number_gives_floats(tmp_path: Path, write_slices: Callable[..., None]):
    write_slices(tmp_path, np.full((3, 6, 8), 3, np.uint16), RescaleSlope=2.5, RescaleIntercept=-10)
    volume = read_only(tmp_path)
    assert volume.array.dtype == np.float32
    assert (volume.array == -2.5).all()


def test_bits_above_those_stored_are_ignored(tmp_path: Path, write_slices: Callable[..., None]):
    write_slices(tmp_path, np.full((3, 6, 8), 0xF000 + 1024, np.uint16), BitsStored=12, HighBit=11)
    assert (read_only(tmp_path).array == 0).all()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless])
def test_values_do_not_depend_on_the_transfer_syntax(tmp_path: Path, syntax: str, write_slices: Callable[..., None]):
    stored = np.random.default_rng(1).integers(-900, 3000, (3, 6, 8)).astype(np.int16)
    write_slices(tmp_path / "plain", stored, RescaleIntercept=0)
    write_slices(tmp_path / "other", stored, RescaleIntercept=0)
    for path in (tmp_path / "other" / "seoul").iterdir():
        dataset = pydicom.dcmread(path)
        if syntax == RLELossless:
            dataset.compress(syntax)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path)
    np.testing.assert_array_equal(read_only(tmp_path / "plain").array, read_only(tmp_path / "other").array)


def test_refused_series_is_not_read(tmp_path: Path, write_ct: Writer):
    write_ct(RescaleSlope=None)
    with pytest.raises(UserError, match="not Hounsfield") as refused:
        read_only(tmp_path)
    assert "seoul" not in str(refused.value)  # a folder may be called after a patient


def test_file_that_moved_in_space_since_it_was_indexed_is_refused(
    tmp_path: Path, write_ct: Writer, write_image: ImageWriter
):
    paths = write_ct([0, 5, 10, 15])
    (series,) = index_repository(tmp_path)
    write_image(paths[1], np.zeros((6, 8), np.uint16), ImagePositionPatient=[-10, -20, 7])
    with pytest.raises(NotAVolume, match="not evenly spaced"):
        read_volume(series)


def test_pixels_that_cannot_be_decoded_are_the_users_error_and_name_the_file(tmp_path: Path, write_ct: Writer):
    paths = write_ct([0, 5, 10])
    (series,) = index_repository(tmp_path)
    paths[1].write_bytes(paths[1].read_bytes()[:-50])
    with pytest.raises(UserError, match="098"):
        read_volume(series)


@pytest.mark.parametrize("kind", [np.int16, np.uint16, np.uint8, np.int32])
@pytest.mark.parametrize("intercept", [-40000, -32768, -1024, -1000, 0, 7, 1000, 32767, 40000])
@pytest.mark.parametrize("slope", [1, 2, -1])
def test_hounsfield_units_do_not_wrap_around_at_the_ends_of_the_stored_type(kind: type, intercept: int, slope: int):
    ends = np.iinfo(kind)
    stored = np.array([[ends.min, ends.min + 1, 0, 1, 100], [1024, 2000, 255, ends.max - 1, ends.max]]).astype(kind)
    scale = {"slope": float(slope), "intercept": float(intercept), "rescale_type": "HU"}
    nowhere = {"position_mm": None, "orientation": None, "pixel_spacing_mm": None}
    image = Image(stored, **scale, **nowhere, padding=None, stored_range=(ends.min, ends.max), inverted=False)
    hu = np.empty(stored.shape, np.int16)
    write_hounsfield(image, Path("one"), out=hu)
    expected = (stored.astype(np.int64) * slope + intercept).clip(-1024, 32767)
    np.testing.assert_array_equal(hu, expected)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_enhanced_object_equals_the_same_slices_in_single_files(tmp_path: Path, syntax: str):
    grid = Grid(even_mm(6, 4.0), rows=40, columns=36)
    write_series(tmp_path / "single", grid)
    path = write_enhanced(tmp_path / "enhanced" / "one", grid, (3, 1, 0, 5, 4, 2))
    if syntax == RLELossless:
        one = pydicom.dcmread(path)
        one.compress(syntax)
        one.save_as(path)
    single, enhanced = read_only(tmp_path / "single"), read_only(tmp_path / "enhanced")
    np.testing.assert_array_equal(single.array, enhanced.array)
    np.testing.assert_allclose(single.affine_ras, enhanced.affine_ras)


@pytest.mark.parametrize(("tag", "value"), [("RescaleType", "MGML"), ("RescaleSlope", "1e300")])
def test_values_that_are_no_longer_hounsfield_units_are_refused(tmp_path: Path, write_ct: Writer, tag: str, value: str):
    paths = write_ct([0, 5, 10])
    (series,) = index_repository(tmp_path)
    one = pydicom.dcmread(paths[1])
    setattr(one, tag, value)
    one.save_as(paths[1])
    with pytest.raises(NotAVolume) as refusal:
        read_volume(series)
    assert refusal.value.code == "not_hu"


class TestRadiographs:
    def test_monochrome1_is_turned_over_within_its_bits(self, tmp_path: Path, write_cxr: Callable[..., Path]):
        stored = np.array([[0, 100], [200, 1023]], np.uint16)
        write_cxr(stored, PhotometricInterpretation="MONOCHROME1", BitsStored=10, HighBit=9)
        volume = read_only(tmp_path)
        assert volume.array[..., 0].tolist() == [[1023, 823], [923, 0]]
        assert (volume.array.dtype, volume.units) == (np.float32, "arbitrary")

    def test_monochrome2_is_kept_with_the_spacing_of_the_detector(self, tmp_path: Path, write_cxr: Callable[..., Path]):
        write_cxr(np.array([[0, 100, 3]], np.uint16))
        volume = read_only(tmp_path)
        assert volume.array.tolist() == [[[0]], [[100]], [[3]]]
        assert volume.spacing_mm == pytest.approx((0.1, 0.2, 0.1))  # as deep as a column is wide

    def test_spacing_of_zero_is_no_spacing(self, tmp_path: Path, write_cxr: Callable[..., Path]):
        write_cxr(np.zeros((2, 2), np.uint16), PixelSpacing=[0, 0], ImagerPixelSpacing=None)
        assert not read_only(tmp_path).spacing_known


class TestRepositoryReader:
    def test_it_stands_in_a_plain_monai_pipeline(self, tmp_path: Path, write_ct: Writer):
        write_ct([20, 0, 10])
        load = Compose([LoadImaged(keys="image", reader=RepositoryReader()), EnsureChannelFirstd(keys="image")])
        image = load({"image": tmp_path / "seoul"})["image"]
        assert isinstance(image, MetaTensor)
        assert tuple(image.shape) == (1, 8, 6, 3)
        assert image[0, 0, 0].tolist() == [-23, -22, -24]
        np.testing.assert_allclose(image.pixdim, (0.5, 0.7, 10), atol=1e-6)
        np.testing.assert_allclose(image.affine[:3, 3], (10, 20, 0))

    def test_a_series_can_be_given_instead_of_a_path(self, tmp_path: Path, write_ct: Writer):
        write_ct()
        (series,) = index_repository(tmp_path)
        load = LoadImaged(keys="image", reader=RepositoryReader(), expanduser=False)
        assert tuple(load({"image": series})["image"].shape) == (8, 6, 5)

    def test_folder_of_two_series_is_an_error_that_lists_them(self, tmp_path: Path, write_ct: Writer):
        write_ct(name="a")
        write_ct(name="b", SeriesInstanceUID="1.2.3.1.2")
        with pytest.raises(UserError, match=r"2 usable series(.|\n)*a099(.|\n)*b099"):
            RepositoryReader().read(tmp_path / "seoul")

    def test_nifti_and_series_of_it_are_read_alike(self, tmp_path: Path):
        array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
        write_nifti(tmp_path / "scan.nii.gz", array, np.diag([2.0, 2, 3, 1]))
        reader = RepositoryReader()
        assert reader.verify_suffix(tmp_path / "scan.nii.gz")
        image, meta = reader.get_data(reader.read(tmp_path / "scan.nii.gz"))
        np.testing.assert_array_equal(image, array)
        np.testing.assert_allclose(meta["affine"], np.diag([2.0, 2, 3, 1]))


def test_nifti_without_known_spacing_counts_voxels(tmp_path: Path):
    write_nifti(tmp_path / "scan.nii", np.zeros((2, 3, 4), np.int16), np.diag([-2.0, 2, 3, 1]))
    series = make_nifti_series(tmp_path / "scan.nii", site="s", patient="p", units="hu", spacing_known=False)
    volume = read_volume(series)
    assert (volume.spacing_known, volume.spacing_mm) == (False, (1, 1, 1))
    assert read_volume(replace(series, spacing_mm=(2, 2, 3))).spacing_mm == (2, 2, 3)


class TestRealData:
    def test_hounsfield_units_agree_with_the_published_table(self, real_data: Path):
        table = pd.read_csv(real_data / "dicom_ct" / "series.csv").set_index("series")
        for series in index_repository(real_data / "dicom_ct"):
            row = table.loc[series.site] if series.site in table.index else None
            if series.usable and row is not None and series.slices == row["n_files"]:  # the table is of all files
                hu = read_volume(series).array
                assert (hu.min(), hu.max()) == (row["hu_min"], row["hu_max"])
                assert hu.mean() == pytest.approx(row["hu_mean"], abs=0.01)

    def test_every_usable_radiograph_is_read_bright_bone_on_dark_air(self, real_data: Path):
        for series in index_repository(real_data / "dicom_cxr"):
            if series.usable:
                volume = read_volume(series)
                assert volume.array.shape == (series.columns, series.rows, 1)
                assert np.isfinite(volume.array).all()
