"""CT series with exactly one defect each, written from a phantom with known truth: where the slices lie.

Continues ``test_pitfalls``; here too with what SimpleITK 2.5 and MONAI 1.6 make of the same files.
"""

from pathlib import Path

import numpy as np
import pytest

from kicc_ml.dicom.volume.read import read_volume
from tests.support.judging import ROUNDING_HU, SHEAR, assert_true_to_the_phantom, judged, only
from tests.support.peers import monai_reads, simpleitk_reads, simpleitk_reads_file
from tests.support.phantom_files import write_enhanced, write_series
from tests.support.phantoms import CURVATURE_HU_MM2, Grid, errors_hu, even_mm, scanned, tilted

#: A resampled value is rounded once more.
RESAMPLED_HU = 1.01

EVEN = Grid(even_mm())


@pytest.mark.parametrize("degrees", [5, 12, -20])
class TestGantryTilt:
    def test_it_is_refused_and_measured(self, folder: Path, degrees: float):
        write_series(folder, tilted(degrees))
        series = only(folder)
        assert (series.verdict, series.reasons[0]) == ("refused", "gantry_tilt")
        assert series.tilt_degrees is not None
        assert abs(series.tilt_degrees) == pytest.approx(abs(degrees), abs=0.01)

    def test_on_request_it_is_sheared_back(self, folder: Path, degrees: float):
        grid = tilted(degrees)
        write_series(folder, grid)
        series = only(folder, SHEAR)
        assert (series.verdict, series.reasons[0]) == ("repaired", "gantry_tilt")
        volume = read_volume(series)
        axes = volume.affine_ras[:3, :3] / volume.spacing_mm
        np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
        assert volume.spacing_mm == pytest.approx((1.8, 2.0, 3 * np.cos(np.radians(degrees))), abs=1e-4)
        inside = scanned(grid, volume.array.shape, volume.affine_ras)
        assert inside.sum() > 0.99 * (grid.rows - 2) * grid.columns * len(grid.offsets_mm)
        errors = errors_hu(volume.array, volume.affine_ras)
        assert errors[inside].max() <= CURVATURE_HU_MM2 * 2.0**2 / 8 + RESAMPLED_HU

    def test_simpleitk_loses_the_shear_silently(self, folder: Path, degrees: float):
        write_series(folder, tilted(degrees))
        reading = simpleitk_reads(folder)
        assert errors_hu(reading.array_xyz, reading.affine_ras).max() > 300

    def test_monai_keeps_the_shear_in_its_affine(self, folder: Path, degrees: float):
        """Right as far as it goes: whoever resamples by spacing and direction alone loses the shear there."""
        write_series(folder, tilted(degrees))
        reading = monai_reads(folder)
        assert errors_hu(reading.array_xyz, reading.affine_ras).max() <= ROUNDING_HU
        axes = reading.affine_ras[:3, :3] / np.linalg.norm(reading.affine_ras[:3, :3], axis=0)
        assert abs(axes[:, 1] @ axes[:, 2]) == pytest.approx(np.sin(np.radians(abs(degrees))), abs=1e-4)


class TestInstanceNumberOutOfOrder:
    @pytest.fixture(autouse=True)
    def series_out_of_order(self, folder: Path) -> None:
        numbers = np.random.default_rng(0).permutation(20)
        write_series(folder, EVEN, tags_of=lambda k: {"InstanceNumber": int(numbers[k]) + 1})

    def test_order_follows_position(self, folder: Path):
        assert (only(folder).verdict, only(folder).reasons) == ("usable", ())
        assert_true_to_the_phantom(only(folder), EVEN)

    def test_simpleitk_sorts_by_position_too(self, folder: Path):
        reading = simpleitk_reads(folder)
        assert errors_hu(reading.array_xyz, reading.affine_ras).max() <= ROUNDING_HU

    def test_monai_scrambles_the_volume(self, folder: Path):
        reading = monai_reads(folder)
        assert abs(reading.spacing_z_mm) < 3
        assert errors_hu(reading.array_xyz, reading.affine_ras).max() > 300


class TestNoPosition:
    @pytest.fixture(autouse=True)
    def series_without_position(self, folder: Path) -> None:
        write_series(folder, EVEN, ImagePositionPatient=None)

    def test_it_is_refused(self, folder: Path):
        assert (only(folder).verdict, only(folder).reasons) == ("refused", ("no_position",))

    def test_simpleitk_makes_up_a_spacing_of_one(self, folder: Path):
        assert simpleitk_reads(folder).spacing_z_mm == pytest.approx(1.0)

    def test_monai_makes_up_an_affine_of_the_identity(self, folder: Path):
        assert monai_reads(folder).spacing_z_mm == pytest.approx(1.0)


class TestEnhancedMultiFrame:
    ORDER = tuple(int(k) for k in np.random.default_rng(1).permutation(20))

    def test_frames_are_ordered_by_their_own_positions(self, folder: Path):
        path = write_enhanced(folder / "enhanced", EVEN, self.ORDER)
        (series,), rows = judged(folder)
        assert (series.verdict, series.reasons, rows) == ("usable", (), [])
        assert series.files == (path,)
        assert [self.ORDER[frame] for frame in series.frames] == list(range(20))
        assert_true_to_the_phantom(series, EVEN)

    def test_missing_frame_is_a_missing_slice(self, folder: Path):
        write_enhanced(folder / "enhanced", EVEN, [k for k in self.ORDER if k != 8])
        assert (only(folder).verdict, only(folder).reasons) == ("refused", ("missing_slice",))

    @pytest.mark.parametrize("tag", ["TemporalPositionIndex", "FrameAcquisitionNumber"])
    def test_two_phases_in_one_object_are_told_apart(self, folder: Path, tag: str):
        order = [*self.ORDER, *(k for k in self.ORDER if k >= 8)]
        late = [frame >= 20 for frame in range(32)]
        added_hu = [40 * phase for phase in late]
        write_enhanced(folder / "enhanced", EVEN, order, added_hu, lambda frame: {tag: 1 + late[frame]})
        long, short = judged(folder)[0]
        assert (long.reasons, short.reasons) == (("split_acquisition",), ("split_acquisition",))
        assert (long.uid + "-2", long.slices, short.slices) == (short.uid, 20, 12)
        assert_true_to_the_phantom(long, EVEN)
        assert_true_to_the_phantom(short, EVEN.without(*range(8)), added_hu=40)

    def test_simpleitk_keeps_the_order_of_the_file(self, folder: Path):
        reading = simpleitk_reads_file(write_enhanced(folder / "enhanced", EVEN, self.ORDER))
        assert reading.slices == 20
        assert errors_hu(reading.array_xyz, reading.affine_ras).max() > 300

    def test_monai_has_neither_place_nor_hounsfield_units(self, folder: Path):
        reading = monai_reads(write_enhanced(folder / "enhanced", EVEN, self.ORDER))
        np.testing.assert_allclose(np.abs(reading.affine_ras).max(), 1.0)
        assert reading.array_xyz.min() >= 0
