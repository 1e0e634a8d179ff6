"""Leaning and uneven stacks, sampled from a continuous phantom and put on a regular grid, are still the phantom."""

import numpy as np
import pytest

from kicc_ml.dicom.series.repair import repair_stack
from tests.support.phantoms import CURVATURE_HU_MM2, Grid, errors_hu, even_mm, rotated, scanned, tilted

#: The phantom and the repaired value are each rounded to whole HU.
ROUNDING_HU = 1.01

UNEVEN = Grid((-27.0, -24.0, -21.0, -18.0, -13.5, -9.0, -6.0, -3.0, 0.0, 3.0, 6.0, 10.0, 13.0, 16.0))


def repaired(grid: Grid, *reasons: str) -> tuple[np.ndarray, np.ndarray]:
    """``array[x, y, z]`` and affine of the phantom on a grid, repaired."""
    spacing_mm = np.array(grid.pixel_spacing_mm)
    volume_zyx, affine_ras = repair_stack(grid.hu, grid.positions_mm, np.array(grid.orientation), spacing_mm, reasons)
    return volume_zyx.transpose(2, 1, 0), affine_ras


def linear_limit_hu(step_mm: float) -> float:
    """How far linear interpolation between samples that far apart can be from the phantom (Taylor)."""
    return CURVATURE_HU_MM2 * step_mm**2 / 8 + ROUNDING_HU


def assert_orthogonal(affine_ras: np.ndarray) -> None:
    axes = affine_ras[:3, :3] / np.linalg.norm(affine_ras[:3, :3], axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)


def test_a_sound_stack_is_left_as_it_is():
    grid = Grid(even_mm(), rotated(30, 10))
    array, affine_ras = repaired(grid)
    np.testing.assert_array_equal(array, grid.hu.transpose(2, 1, 0))
    assert errors_hu(array, affine_ras).max() <= ROUNDING_HU


@pytest.mark.parametrize("degrees", [0.6, 5, 12, -20, 30])
def test_tilted_stack_is_sheared_back_onto_the_phantom(degrees: float):
    grid = tilted(degrees)
    array, affine_ras = repaired(grid, "gantry_tilt")
    assert_orthogonal(affine_ras)
    spacing_mm = np.linalg.norm(affine_ras[:3, :3], axis=0)
    np.testing.assert_allclose(spacing_mm, (1.8, 2.0, 3 * np.cos(np.radians(degrees))), atol=1e-9)
    inside = scanned(grid, array.shape, affine_ras)
    assert errors_hu(array, affine_ras)[inside].max() <= linear_limit_hu(2.0)


@pytest.mark.parametrize("degrees", [5, 12, -20])
def test_shearing_back_keeps_what_was_scanned_and_adds_only_air(degrees: float):
    grid = tilted(degrees)
    array, affine_ras = repaired(grid, "gantry_tilt")
    inside = scanned(grid, array.shape, affine_ras)
    lost_rows_per_slice = 1  # a slice moved by part of a pixel has one row less between true ones
    assert inside.sum() >= (grid.rows - lost_rows_per_slice) * grid.columns * len(grid.offsets_mm)
    beyond = ~scanned(grid, array.shape, affine_ras, margin_pixels=1)
    assert beyond.any()
    assert (array[beyond] == -1024).all()


def test_a_slice_at_its_true_place_goes_over_untouched():
    array, affine_ras = repaired(UNEVEN, "uneven_spacing")
    heights_mm = affine_ras[2, 3] + np.arange(array.shape[2]) * affine_ras[2, 2]
    truth_mm = UNEVEN.positions_mm[:, 2]
    at = np.abs(heights_mm[:, None] - truth_mm) < 1e-6
    assert at.any(axis=0).sum() >= 6
    for index, source in np.argwhere(at):
        np.testing.assert_array_equal(array[..., index], UNEVEN.hu[source].T)


def test_uneven_stack_is_interpolated_between_true_neighbours():
    array, affine_ras = repaired(UNEVEN, "uneven_spacing")
    assert_orthogonal(affine_ras)
    heights_mm = affine_ras[2, 3] + np.arange(array.shape[2]) * affine_ras[2, 2]
    truth_mm = UNEVEN.positions_mm[:, 2]
    assert heights_mm[0] == pytest.approx(truth_mm[0])
    assert truth_mm[-1] - heights_mm[-1] < affine_ras[2, 2]
    for row, column in np.ndindex(UNEVEN.rows // 8, UNEVEN.columns // 8):
        y, x = 8 * row, 8 * column
        between = np.interp(heights_mm, truth_mm, UNEVEN.hu[:, y, x].astype(float))
        np.testing.assert_allclose(array[x, y], between, atol=ROUNDING_HU)


@pytest.mark.parametrize("gone", [(8,), (3, 8, 15), (8, 9)])
def test_gaps_are_filled_and_all_else_stays(gone: tuple[int, ...]):
    whole = Grid(even_mm())
    array, affine_ras = repaired(whole.without(*gone), "missing_slice")
    assert array.shape[2] == 20
    errors = errors_hu(array, affine_ras)
    assert np.delete(errors, gone, axis=2).max() <= ROUNDING_HU
    assert errors[..., list(gone)].max() <= linear_limit_hu(3.0 * (2 if gone != (8, 9) else 3))


def test_a_tilted_stack_with_a_gap_is_both_sheared_back_and_filled():
    grid = tilted(12).without(8)
    array, affine_ras = repaired(grid, "gantry_tilt", "missing_slice")
    assert_orthogonal(affine_ras)
    assert array.shape[2] == 20
    errors = errors_hu(array, affine_ras)
    inside = scanned(tilted(12), array.shape, affine_ras)
    kept = np.delete(np.arange(20), 8)
    assert errors[..., kept][inside[..., kept]].max() <= linear_limit_hu(2.0)
    assert errors[..., 8][inside[..., 8]].max() <= linear_limit_hu(2.0) + linear_limit_hu(6.0)


def test_a_coronal_stack_that_leans_is_sheared_back_too():
    leaning = Grid(even_mm(), (1.0, 0.0, 0.0, 0.0, 0.0, -1.0), travel=(0.1, 0.97, 0.22))
    array, affine_ras = repaired(leaning, "gantry_tilt")
    assert_orthogonal(affine_ras)
    inside = scanned(leaning, array.shape, affine_ras)
    assert errors_hu(array, affine_ras)[inside].max() <= linear_limit_hu(2.0) + linear_limit_hu(1.8)


def test_fractions_of_a_hounsfield_unit_survive():
    grid = tilted(12)
    spacing_mm = np.array(grid.pixel_spacing_mm)
    source = grid.hu.astype(np.float32) + 0.25
    volume_zyx, _ = repair_stack(source, grid.positions_mm, np.array(grid.orientation), spacing_mm, ["gantry_tilt"])
    assert volume_zyx.dtype == np.float32
    assert (volume_zyx[0].max() % 1) == pytest.approx(0.25)
