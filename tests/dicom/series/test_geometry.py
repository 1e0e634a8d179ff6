"""Stacks written as numbers, judged against positions computed by hand."""

import numpy as np
import pytest

from kicc_ml.dicom.series import geometry
from kicc_ml.dicom.series.geometry import NotAVolume

AXIAL = np.array([1.0, 0, 0, 0, 1, 0])
SPACING_MM = np.array([0.7, 0.5])


def along_z(*heights_mm: float) -> np.ndarray:
    return np.array([[-10.0, -20.0, height] for height in heights_mm])


def codes(positions_mm: np.ndarray, orientation: np.ndarray = AXIAL) -> list[str]:
    return [fault.code for fault in geometry.find_faults(positions_mm, orientation, SPACING_MM)]


def test_even_stack_has_no_fault():
    assert codes(along_z(0, 2.5, 5, 7.5)) == []


def test_positions_printed_to_a_tenth_of_a_millimetre_are_even():
    assert codes(along_z(*np.round(np.arange(60) * 0.625, 1))) == []


@pytest.mark.parametrize("gone", [1, 30, 58])
def test_one_missing_slice_is_found_wherever_it_lay(gone: int):
    heights = [5.0 * index for index in range(60) if index != gone]
    (fault,) = geometry.find_faults(along_z(*heights), AXIAL, SPACING_MM)
    assert fault.code == "missing_slice"
    assert "1 slice(s) missing" in str(fault)


def test_uneven_spacing_is_named():
    assert codes(along_z(0, 4, 8, 9.5, 16)) == ["uneven_spacing"]


def test_two_slices_cannot_show_their_spacing():
    assert codes(along_z(0, 5)) == ["too_few_slices"]


def test_stack_along_the_table_with_tilted_slices_is_gantry_tilt():
    tilted = np.array([1, 0, 0, 0, np.cos(np.radians(14)), -np.sin(np.radians(14))])
    (fault,) = geometry.find_faults(along_z(0, 5, 10, 15), tilted, SPACING_MM)
    assert fault.code == "gantry_tilt"
    assert "14.0 degrees" in str(fault)


def test_oblique_stack_along_its_own_normal_is_sound():
    tilted = np.array([1, 0, 0, 0, np.cos(0.3), -np.sin(0.3)])
    normal = np.array([0, np.sin(0.3), np.cos(0.3)])
    assert codes(np.outer(np.arange(5) * 2.0, normal), tilted) == []


def test_slice_shifted_sideways_is_found():
    positions = along_z(0, 5, 10, 15)
    positions[2, 0] += 4
    assert codes(positions) == ["shifted_slices"]


def test_one_slice_in_another_plane_is_refused():
    with pytest.raises(NotAVolume, match="1 of 3"):
        geometry.find_common_orientation(np.array([AXIAL, AXIAL, [0, 1, 0, 0, 0, -1]]))


@pytest.mark.parametrize(
    ("orientation", "name"),
    [([1, 0, 0, 0, 1, 0], "axial"), ([1, 0, 0, 0, 0, -1], "coronal"), ([0, 1, 0, 0, 0, -1], "sagittal")],
)
def test_plane_is_named_after_the_normal(orientation: list[float], name: str):
    assert geometry.name_plane(np.array(orientation, float)) == name


@pytest.mark.parametrize("orientation", [[1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1]])
def test_affine_takes_an_index_to_the_point_that_dicom_places_there(orientation: list[float]):
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    start, step = np.array([-100.0, 50, 7]), 3 * np.cross(row, column)
    positions = start + np.outer(np.arange(4), step)
    affine = geometry.compute_affine_ras(positions, np.array(orientation, float), SPACING_MM)
    lps = start + 5 * 0.5 * row + 2 * 0.7 * column + 3 * step  # column 5, row 2, slice 3
    np.testing.assert_allclose((affine @ [5, 2, 3, 1])[:3], lps * [-1, -1, 1])
