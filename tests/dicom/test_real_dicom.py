"""Every real file gets a verdict, and for the right reason; what is read of them agrees with what is known of them.

The expected verdicts are read off ``dicom_edge_and_cxr.csv`` and ``series.csv`` beside the data, and off the
files' own headers by pydicom.
"""

from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK

from kicc_ml.core.types import Series, Volume
from kicc_ml.dicom.index.build import index_sources
from kicc_ml.dicom.index.scan import scan
from kicc_ml.dicom.pixels.read import Image, read_image
from kicc_ml.dicom.series.geometry import GeometryPolicy
from kicc_ml.dicom.series.verdict import FileRow, classify_series
from kicc_ml.dicom.volume.read import read_volume

#: Verdict and reason of each file; the first pattern that fits counts. "" is: usable, whatever is noted.
EXPECTED = {
    "dicom_edge": (
        ("geometry/DICOMDIR", "refused", "not_an_image"),
        ("geometry/d2n_gantrytilting001_*", "refused", "gantry_tilt"),
        ("geometry/d2n_notavolume001_*", "refused", "overlapping_slices"),  # bolus tracking: one place, four times
        ("geometry/d2n_sliceincrement001_*", "refused", "missing_slice"),  # 18.1, 23.1, 28.1, 38.1 mm
        ("geometry/ge_tilt_varthick_*", "refused", "gantry_tilt"),
        ("geometry/philips_exam_summary_I10.dcm", "refused", "localizer"),
        ("geometry/philips_exam_summary_I40.dcm", "refused", "dose_page"),
        ("header/54-implicit-file-meta-info.dcm", "refused", "single_slice"),
        ("header/693_UNCI.dcm", "refused", "single_slice"),
        ("header/CT-MONO2-16-ankle", "refused", "secondary_capture"),
        ("header/CT_small.dcm", "refused", "single_slice"),
        ("header/GH342.dcm", "refused", "localizer"),
        ("header/J2K_pixelrep_mismatch.dcm", "refused", "codestream_mismatch"),
        ("header/chrKoreanMulti.dcm", "refused", "truncated"),  # ends before its pixel data
        ("header/explicit_VR-UN.dcm", "refused", "single_slice"),
        ("header/html_named.dcm", "refused", "not_dicom"),
        ("header/lungmask_?.dcm", "refused", "too_few_slices"),
        ("header/meta_missing_tsyntax.dcm", "refused", "not_an_image"),
        ("header/no_meta.dcm", "refused", "not_dicom"),  # begins with a stray blank
        ("header/no_preamble_dicm_in_data.dcm", "refused", "not_an_image"),
        ("header/philips_phantom_undecodable_000300.dcm", "refused", "undecodable"),
        ("header/reportsi.dcm", "refused", "not_an_image"),
        ("header/rtplan_truncated.dcm", "refused", "not_an_image"),
        ("seg/ct3slice_0?.dcm", "usable", ""),
        ("seg/liver.dcm", "refused", "wrong_modality"),
        *((f"transfer_syntax/CTImage.dcm_{name}*", "refused", "duplicate_slice") for name in ("Deflated", "Little")),
        *((f"transfer_syntax/CTImage.dcm_{name}*", "refused", "duplicate_slice") for name in ("RLE", "JPEGLS")),
        *((f"transfer_syntax/CTImage.dcm_{name}T*", "refused", "duplicate_slice") for name in ("JPEGProcess14",)),
        ("transfer_syntax/CTImage.dcm_JPEG2000Lossless*", "refused", "duplicate_slice"),
        ("transfer_syntax/CTImage.dcm*", "refused", "overlapping_slices"),  # lossy copies under UIDs of their own
        ("transfer_syntax/nema_CT1_RLE.dcm", "refused", "single_slice"),
        ("transfer_syntax/nema_CT1_*", "refused", "overlapping_slices"),
    ),
    "dicom_cxr": (
        ("nih_test5.dcm", "refused", "no_position"),  # says CT
        ("rsna_cr_pa_TAGGED_mono1.dcm", "refused", "contradicting_copies"),
        ("rsna_cr_pa_mono2.dcm", "refused", "duplicate_slice"),  # one SOP Instance UID for both
        ("*", "usable", ""),
    ),
    "dicom_ct": (
        ("*.csv", "refused", "not_dicom"),
        ("covidctmd_*", "usable", ""),
        ("nysbu_covid_single_slices/*", "refused", "single_slice"),
        ("ricord1a_000906_sagittal_broken/I0008.dcm", "refused", "single_slice"),
        ("ricord1a_000906_sagittal_broken/*", "repaired", "split_orientation"),
    ),
}
BOTH = GeometryPolicy(gaps="resample", tilt="shear")
#: Positions in the files are printed to a hundredth of a millimetre or better.
PLACE_MM = 0.01


@pytest.fixture(scope="module")
def decoded(real_data: Path) -> tuple[list[Series], list[FileRow]]:
    """The three folders as ``kicc-ml index --decode`` judges them."""
    return index_sources([real_data / folder for folder in EXPECTED], decode=True)


@pytest.mark.parametrize("folder", EXPECTED)
def test_every_file_occurs_once_with_the_expected_verdict_and_reason(
    real_data: Path, decoded: tuple[list[Series], list[FileRow]], folder: str
):
    series, rows = decoded
    verdicts = [(path, one.verdict, set(one.reasons)) for one in series for path in one.files]
    verdicts += [(row.path, "refused", {row.reason}) for row in rows]
    below = [
        (path.relative_to(real_data / folder), *rest)
        for path, *rest in verdicts
        if path.is_relative_to(real_data / folder)
    ]
    there = [path.relative_to(real_data / folder) for path in (real_data / folder).rglob("*") if path.is_file()]
    assert sorted(path for path, *_ in below) == sorted(there)
    assert [verdict for verdict in below if not _as_expected(folder, *verdict)] == []


def _as_expected(folder: str, path: Path, verdict: str, reasons: set[str]) -> bool:
    expected, reason = next(rest for pattern, *rest in EXPECTED[folder] if fnmatch(str(path), pattern))
    return verdict == expected and (not reason or reason in reasons)


@pytest.mark.parametrize("folder", EXPECTED)
def test_each_expectation_is_of_a_file(real_data: Path, folder: str):
    names = [str(path.relative_to(real_data / folder)) for path in (real_data / folder).rglob("*")]
    assert [pattern for pattern, *_ in EXPECTED[folder] if not any(fnmatch(name, pattern) for name in names)] == []


def test_geometry_agrees_with_the_published_table(real_data: Path, decoded: tuple[list[Series], list[FileRow]]):
    published = pd.read_csv(real_data / "dicom_ct" / "series.csv").set_index("series")
    whole = [one for one in decoded[0] if one.site.startswith("covidctmd")]
    assert len(whole) == 3
    for one in whole:
        row = published.loc[one.site]
        across_mm = float(row["pixel_spacing"].strip("[]").split(",")[0])
        assert one.spacing_mm == pytest.approx((across_mm, across_mm, float(row["slice_spacing_mm"])))
        assert (one.slices, one.rows, one.columns) == (row["n_files"], row["rows"], row["columns"])


class TestTransferSyntaxes:
    @pytest.fixture
    def folder(self, real_data: Path) -> Path:
        return real_data / "dicom_edge" / "transfer_syntax"

    def test_there_are_eleven_of_one_slice(self, folder: Path):
        syntaxes = {pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID for path in folder.glob("CTImage*")}
        assert len(syntaxes) == 11

    @pytest.mark.parametrize(
        ("pattern", "plain"),
        [
            *((f"CTImage.dcm_{name}*", "CTImage.dcm") for name in ("Deflated", "JPEG2000Lossless", "JPEGLSLossless")),
            *((f"CTImage.dcm_{name}*", "CTImage.dcm") for name in ("JPEGProcess14", "RLE")),
            *((f"CTImage.dcm_LittleEndian{name}*", "CTImage.dcm") for name in ("Implicit", "Explicit")),
            *((f"nema_CT1_{name}.dcm", "nema_CT1_UNC.dcm") for name in ("J2KR", "JLSL", "JPLL", "RLE")),
        ],
    )
    def test_lossless_ones_equal_the_plain_file(self, folder: Path, pattern: str, plain: str):
        (path,) = folder.glob(pattern)
        truth = pydicom.dcmread(folder / plain)
        stored = np.frombuffer(truth.PixelData, "<i2").reshape(truth.Rows, truth.Columns)
        np.testing.assert_array_equal(in_hu(read_image(path)), stored * truth.RescaleSlope + truth.RescaleIntercept)

    @pytest.mark.parametrize(
        ("name", "hu"), [("JPEGProcess1T", 20), ("JPEGProcess2_4T", 5), ("JPEGProcess6_8T", 5), ("JPEG2000T", 1)]
    )
    def test_lossy_ones_are_near_the_plain_file(self, folder: Path, name: str, hu: float):
        (path,) = folder.glob(f"CTImage.dcm_{name}*")
        difference = in_hu(read_image(path)) - in_hu(read_image(folder / "CTImage.dcm"))
        assert 0 < np.abs(difference).mean() <= hu


def in_hu(image: Image) -> np.ndarray:
    assert image.slope is not None
    assert image.intercept is not None
    return image.stored * image.slope + image.intercept


class TestRepairedGeometry:
    def test_gantry_tilt_is_sheared_back_to_the_true_spacing(self, real_data: Path):
        """5 mm of table between slices that lean by 14 degrees."""
        series = named(real_data, "d2n_gantrytilting001", BOTH)
        assert (series.verdict, series.reasons[0]) == ("repaired", "gantry_tilt")
        volume = read_volume(series)
        assert volume.spacing_mm == pytest.approx((0.41796875, 0.41796875, 5 * np.cos(np.radians(14))), abs=PLACE_MM)
        assert_orthogonal(volume)
        np.testing.assert_array_equal(part_of(volume, series.files[0]), plain_hu(series.files[0]))

    def test_missing_slice_is_filled_and_the_others_stay(self, real_data: Path):
        series = named(real_data, "d2n_sliceincrement001", BOTH)
        assert (series.verdict, series.reasons[0]) == ("repaired", "missing_slice")
        volume = read_volume(series)
        assert volume.array.shape == (512, 512, 5)
        assert volume.spacing_mm[2] == pytest.approx(5.0, abs=PLACE_MM)
        for path in series.files:
            np.testing.assert_array_equal(part_of(volume, path), plain_hu(path))

    def test_tilted_and_uneven_head_is_put_on_an_even_straight_grid(self, real_data: Path):
        """4.22 mm of table between the first slices, which lean by 18.5 degrees as their tag says."""
        series = named(real_data, "ge_tilt_varthick", BOTH)
        assert series.verdict == "repaired"
        assert set(series.reasons) == {"gantry_tilt", "uneven_spacing"}
        assert series.tilt_degrees is not None
        assert abs(series.tilt_degrees) == pytest.approx(18.5, abs=0.01)
        volume = read_volume(series)
        assert volume.spacing_mm[2] == pytest.approx(4.22 * np.cos(np.radians(18.5)), abs=PLACE_MM)
        assert_orthogonal(volume)
        np.testing.assert_array_equal(part_of(volume, series.files[0]), plain_hu(series.files[0]))

    def test_one_policy_does_not_mend_the_fault_of_the_other(self, real_data: Path):
        for policy in (GeometryPolicy(gaps="resample"), GeometryPolicy(tilt="shear")):
            assert named(real_data, "ge_tilt_varthick", policy).verdict == "refused"

    def test_sagittal_reformat_is_usable_without_its_reference_picture(self, real_data: Path):
        series, _ = classify_series(real_data / "dicom_ct", scan(real_data / "dicom_ct", b"key of the test"))
        stack, picture = sorted(
            (one for one in series if one.site.startswith("ricord")), key=lambda one: one.slices, reverse=True
        )
        assert [path.name for path in picture.files] == ["I0008.dcm"]
        assert (stack.verdict, stack.plane, stack.slices) == ("repaired", "sagittal", 10)
        volume = read_volume(stack)
        assert volume.spacing_mm == pytest.approx((0.703125, 0.703125, 6.0), abs=1e-5)
        np.testing.assert_allclose(volume.affine_ras[:3, 2], (6, 0, 0), atol=1e-5)  # from left to right
        for path in stack.files:
            np.testing.assert_array_equal(part_of(volume, path), plain_hu(path))


def named(real_data: Path, name: str, policy: GeometryPolicy) -> Series:
    """The one series of the geometry folder whose files begin with a name."""
    root = real_data / "dicom_edge" / "geometry"
    series, _ = classify_series(root, scan(root, b"key of the test"), policy)
    (found,) = (one for one in series if one.files[0].name.startswith(name))
    return found


def plain_hu(path: Path) -> np.ndarray:
    """HU ``[x, y]`` of a file as SimpleITK decodes it, never below -1024."""
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).squeeze().clip(-1024).T


def part_of(volume: Volume, path: Path) -> np.ndarray:
    """The voxels ``[x, y]`` of a volume that lie where a file says its own pixels do."""
    header = pydicom.dcmread(path, stop_before_pixels=True)
    position_ras = [*np.array(header.ImagePositionPatient, float) * [-1, -1, 1], 1]
    x, y, z, _ = np.linalg.solve(volume.affine_ras, position_ras)
    np.testing.assert_allclose((x, y, z), np.rint((x, y, z)), atol=1e-3)
    x, y, z = (round(index) for index in (x, y, z))
    return volume.array[x : x + header.Columns, y : y + header.Rows, z]


def assert_orthogonal(volume: Volume) -> None:
    axes = volume.affine_ras[:3, :3] / volume.spacing_mm
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
