"""CT series with exactly one defect each, written from a phantom with known truth: which slices make the volume.

Beside what kicc_ml must do stands what SimpleITK 2.5 and MONAI 1.6 make of the same files, as measured: most
cases pass both without an error. A case a reader handles is said to be handled. Where the slices lie is
``test_pitfalls_geometry``; what their values mean, ``test_pitfalls_values``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from kicc_ml.dicom.series.verdict import FileRow
from kicc_ml.dicom.volume.read import read_volume
from tests.support.judging import RESAMPLE, ROUNDING_HU, assert_true_to_the_phantom, judged, only
from tests.support.peers import monai_reads, simpleitk_reads
from tests.support.phantom_files import (
    SECONDARY_CAPTURE,
    write_colour_page,
    write_image,
    write_series,
)
from tests.support.phantoms import (
    CORONAL,
    Grid,
    errors_hu,
    even_mm,
)

#: A resampled value is rounded once more.
RESAMPLED_HU = 1.01
#: Float noise of the affine: positions are written to a billionth of a millimetre.
PLACE_MM = 1e-5

EVEN = Grid(even_mm())


def dropped(rows: list[FileRow]) -> dict[str, str]:
    return {row.path.name: row.reason for row in rows}


class TestMissingSlice:
    GONE = 8
    GRID = EVEN.without(GONE)

    def test_it_is_refused(self, folder: Path):
        write_series(folder, self.GRID)
        assert (only(folder).verdict, only(folder).reasons) == ("refused", ("missing_slice",))

    def test_on_request_the_gap_is_filled_between_its_true_neighbours(self, folder: Path):
        write_series(folder, self.GRID)
        series = only(folder, RESAMPLE)
        assert (series.verdict, series.reasons) == ("repaired", ("missing_slice",))
        volume = read_volume(series)
        assert volume.spacing_mm == pytest.approx((1.8, 2.0, 3.0), abs=PLACE_MM)
        errors = errors_hu(volume.array, volume.affine_ras)
        assert volume.array.shape[2] == 20
        assert np.delete(errors, self.GONE, axis=2).max() <= ROUNDING_HU
        between = volume.array[..., [self.GONE - 1, self.GONE + 1]].mean(axis=2)
        np.testing.assert_allclose(volume.array[..., self.GONE], between, atol=RESAMPLED_HU)

    def test_a_gap_too_wide_to_guess_at_is_refused_all_the_same(self, folder: Path):
        write_series(folder, EVEN.without(*range(6, 14)))
        assert (only(folder, RESAMPLE).verdict, only(folder, RESAMPLE).reasons) == ("refused", ("missing_slice",))

    def test_simpleitk_and_monai_stretch_the_spacing_over_the_gap(self, folder: Path):
        write_series(folder, self.GRID)
        for reading in (simpleitk_reads(folder), monai_reads(folder)):
            assert reading.slices == 19
            assert reading.spacing_z_mm == pytest.approx(57 / 18)
            assert errors_hu(reading.array_xyz, reading.affine_ras).max() > 100


class TestUnevenSlices:
    GRID = Grid((-27.0, -24.0, -21.0, -18.0, -13.5, -9.0, -6.0, -3.0, 0.0, 3.0, 6.0, 10.0, 13.0, 16.0))

    def test_they_are_refused(self, folder: Path):
        write_series(folder, self.GRID)
        assert only(folder).reasons == ("uneven_spacing",)

    def test_on_request_they_are_interpolated_by_true_positions(self, folder: Path):
        write_series(folder, self.GRID)
        series = only(folder, RESAMPLE)
        assert (series.verdict, series.reasons) == ("repaired", ("uneven_spacing",))
        volume = read_volume(series)
        heights_mm = volume.affine_ras[2, 3] + np.arange(volume.array.shape[2]) * volume.affine_ras[2, 2]
        truth_mm = self.GRID.positions_mm[:, 2]
        column = volume.array[28, 24]
        np.testing.assert_allclose(column, np.interp(heights_mm, truth_mm, self.GRID.hu[:, 24, 28]), atol=RESAMPLED_HU)
        assert volume.spacing_mm[2] == pytest.approx(3.0)

    def test_simpleitk_and_monai_take_the_mean_spacing(self, folder: Path):
        write_series(folder, self.GRID)
        for reading in (simpleitk_reads(folder), monai_reads(folder)):
            assert reading.spacing_z_mm == pytest.approx(43 / 13)
            assert errors_hu(reading.array_xyz, reading.affine_ras).max() > 100


class TestDuplicatedSlice:
    @pytest.fixture(params=["same UID", "new UID"])
    def twin(self, folder: Path, request: pytest.FixtureRequest) -> Path:
        """A second copy of a slice, under its own SOP Instance UID or a new one."""
        original = write_series(folder, EVEN)[5]
        dataset = pydicom.dcmread(original)
        if request.param == "new UID":
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.save_as(folder / "zz-copy")
        return original

    def test_one_is_dropped_and_reported(self, folder: Path, twin: Path):
        (series,), rows = judged(folder)
        assert (series.verdict, series.reasons) == ("repaired", ("duplicate_slice",))
        assert [row.reason for row in rows] == ["duplicate_slice"]
        assert rows[0].path in (twin, folder / "zz-copy")
        assert_true_to_the_phantom(series, EVEN)

    def test_simpleitk_and_monai_keep_both_and_squeeze_the_volume(self, folder: Path, twin: Path):
        assert simpleitk_reads(folder).slices == monai_reads(folder).slices == 21
        assert abs(simpleitk_reads(folder).spacing_z_mm) < 2.9  # how far it is out hangs on the file names
        assert monai_reads(folder).spacing_z_mm == pytest.approx(57 / 20)


def at(clock: str) -> dict[str, str]:
    return {"AcquisitionDate": "20200301", "AcquisitionTime": clock}


class TestSeveralAcquisitionsInOneSeries:
    SHORT = EVEN.without(*range(8))

    @pytest.mark.parametrize(
        ("first", "second", "code"),
        [
            ({}, {"AcquisitionNumber": 2}, "split_acquisition"),
            ({}, {"TemporalPositionIdentifier": 2}, "split_acquisition"),
            ({"ContrastBolusAgent": None}, {"ContrastBolusAgent": "Iohexol"}, "split_acquisition"),
            (at("101500"), at("101800"), "split_acquisition"),
            ({"KVP": 80}, {"KVP": 140}, "split_acquisition"),
            ({}, {"ConvolutionKernel": "B70f"}, "split_kernel"),
        ],
    )
    def test_they_are_told_apart_and_each_is_usable(
        self, folder: Path, first: dict[str, Any], second: dict[str, Any], code: str
    ):
        write_series(folder, EVEN, "a", **first)
        write_series(folder, self.SHORT, "b", added_hu=40, **second)
        (one, other), rows = judged(folder)
        long, short = sorted((one, other), key=lambda series: -series.slices)
        assert (long.verdict, long.reasons) == (short.verdict, short.reasons) == ("repaired", (code,))
        assert short.uid == f"{long.uid}-2"
        assert rows == []
        assert_true_to_the_phantom(long, EVEN)
        assert_true_to_the_phantom(short, self.SHORT, added_hu=40)

    @pytest.mark.parametrize("slices", [20, 6])
    def test_acquisitions_between_each_others_slices_are_told_apart(self, folder: Path, slices: int):
        """Half a spacing apart they would pass for one even stack of half the spacing."""
        other = Grid(tuple(mm + 1.5 for mm in even_mm()[:slices]))
        write_series(folder, EVEN, "a", tags_of=lambda k: {"InstanceNumber": 2 * k})
        write_series(folder, other, "b", lambda k: {"InstanceNumber": 2 * k + 1}, added_hu=40, AcquisitionNumber=2)
        series, _ = judged(folder)
        assert [one.reasons for one in series] == [("split_acquisition",)] * 2
        by_name = {one.files[0].name[0]: one for one in series}
        assert_true_to_the_phantom(by_name["a"], EVEN)
        assert_true_to_the_phantom(by_name["b"], other, added_hu=40)

    def test_step_and_shoot_is_one_acquisition_whatever_its_numbers(self, folder: Path):
        write_series(folder, EVEN, tags_of=lambda k: {"AcquisitionNumber": 1 + k // 4})
        series = only(folder)
        assert (series.verdict, series.reasons) == ("usable", ())
        assert_true_to_the_phantom(series, EVEN)

    def test_another_matrix_is_told_apart(self, folder: Path):
        fine = Grid(even_mm(12), rows=60, columns=60, pixel_spacing_mm=(1.5, 1.5))
        write_series(folder, EVEN, "a")
        write_series(folder, fine, "b")
        coarse_series, fine_series = judged(folder)[0]
        assert coarse_series.reasons == fine_series.reasons == ("split_matrix",)
        assert_true_to_the_phantom(coarse_series, EVEN)
        assert_true_to_the_phantom(fine_series, fine)

    def test_another_orientation_is_told_apart(self, folder: Path):
        coronal = Grid(even_mm(12), CORONAL)
        write_series(folder, EVEN, "a")
        write_series(folder, coronal, "b")
        axial_series, coronal_series = judged(folder)[0]
        assert axial_series.reasons == ("split_orientation",)
        assert coronal_series.reasons == ("split_orientation", "coronal")
        assert (axial_series.plane, coronal_series.plane) == ("axial", "coronal")
        assert_true_to_the_phantom(axial_series, EVEN)
        assert_true_to_the_phantom(coronal_series, coronal)

    def test_different_images_at_one_place_without_a_telling_tag_are_refused(self, folder: Path):
        write_series(folder, EVEN, "a")
        write_series(folder, self.SHORT, "b", added_hu=40)
        assert [series.reasons for series in judged(folder)[0]] == [("overlapping_slices",)]

    def test_simpleitk_and_monai_pile_them_into_one_volume(self, folder: Path):
        write_series(folder, EVEN, "a")
        write_series(folder, EVEN, "b", added_hu=40, AcquisitionNumber=2)
        for reading in (simpleitk_reads(folder), monai_reads(folder)):
            assert reading.slices == 40
            assert abs(reading.spacing_z_mm) == pytest.approx(57 / 39)


class TestTruncatedFile:
    GONE = 8

    @pytest.fixture(params=[0.9, 0.5])
    def cut(self, folder: Path, request: pytest.FixtureRequest) -> Path:
        path = write_series(folder, EVEN)[self.GONE]
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * request.param)])
        return path

    def test_it_is_set_aside_and_leaves_a_gap(self, folder: Path, cut: Path):
        (series,), rows = judged(folder)
        assert (series.verdict, set(series.reasons)) == ("refused", {"missing_slice", "truncated"})
        assert dropped(rows) == {cut.name: "truncated"}
        assert cut not in series.files

    def test_on_request_the_gap_is_filled(self, folder: Path, cut: Path):
        series = only(folder, RESAMPLE)
        assert (series.verdict, set(series.reasons)) == ("repaired", {"missing_slice", "truncated"})
        volume = read_volume(series)
        errors = errors_hu(volume.array, volume.affine_ras)
        assert np.delete(errors, self.GONE, axis=2).max() <= ROUNDING_HU

    def test_simpleitk_leaves_it_out_and_stretches_the_rest(self, folder: Path, cut: Path):
        assert simpleitk_reads(folder).spacing_z_mm == pytest.approx(57 / 18)

    def test_monai_throws(self, folder: Path, cut: Path):
        with pytest.raises(ValueError, match="bytes of pixel data is less than expected"):
            monai_reads(folder)


def add_dose_page(folder: Path) -> Path:
    return write_colour_page(folder / "page", InstanceNumber=99)


def add_screenshot(folder: Path) -> Path:
    tags = {"SOPClassUID": SECONDARY_CAPTURE, "ImageType": ["DERIVED", "SECONDARY"], "InstanceNumber": 99}
    return write_image(folder / "shot", np.full((48, 56), 1000, np.uint16), **tags)


def add_localizer(folder: Path) -> Path:
    tags = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "InstanceNumber": 99}
    return write_series(folder, Grid((0.0,), CORONAL), "scout", **tags)[0]


FOREIGN = [(add_dose_page, "dose_page"), (add_screenshot, "secondary_capture"), (add_localizer, "localizer")]


class TestPictureThatIsNoSlice:
    @pytest.mark.parametrize(("add", "reason"), FOREIGN)
    def test_it_is_dropped_and_reported(self, folder: Path, add: Callable[[Path], Path], reason: str):
        write_series(folder, EVEN)
        foreign = add(folder)
        (series,), rows = judged(folder)
        assert (series.verdict, series.reasons) == ("repaired", (reason,))
        assert dropped(rows) == {foreign.name: reason}
        assert_true_to_the_phantom(series, EVEN)

    def test_scout_that_does_not_say_so_is_split_off_by_its_orientation(self, folder: Path):
        write_series(folder, EVEN, "a")
        write_series(folder, Grid((0.0,), CORONAL), "b")
        main, scout = judged(folder)[0]
        assert (main.verdict, main.reasons) == ("repaired", ("split_orientation",))
        assert scout.verdict == "refused"
        assert "single_slice" in scout.reasons
        assert_true_to_the_phantom(main, EVEN)

    @pytest.mark.parametrize("add", [add for add, _ in FOREIGN])
    def test_simpleitk_takes_it_for_a_slice(self, folder: Path, add: Callable[[Path], Path]):
        write_series(folder, EVEN)
        add(folder)
        reading = simpleitk_reads(folder)
        assert reading.slices == 21
        assert abs(reading.spacing_z_mm) > 4

    @pytest.mark.parametrize("add", [add_screenshot, add_localizer])
    def test_monai_takes_a_grey_one_for_a_slice(self, folder: Path, add: Callable[[Path], Path]):
        write_series(folder, EVEN)
        add(folder)
        assert monai_reads(folder).slices == 21

    def test_monai_throws_at_a_colour_page(self, folder: Path):
        write_series(folder, EVEN)
        add_dose_page(folder)
        with pytest.raises(ValueError, match="same shape"):
            monai_reads(folder)
