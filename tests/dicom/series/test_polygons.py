"""Outlines become the voxels whose centres they hold; areas are known in closed form."""

import numpy as np
import pytest

from kicc_ml.dicom.series.polygons import fill_polygon

SHAPE = (90, 80)


def shoelace_area(corners_n2: np.ndarray) -> float:
    x, y = corners_n2.T
    return 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def perimeter(corners_n2: np.ndarray) -> float:
    return float(np.linalg.norm(corners_n2 - np.roll(corners_n2, 1, axis=0), axis=1).sum())


def test_a_rectangle_holds_exactly_the_centres_within():
    filled = fill_polygon(np.array([(2.5, 3.5), (7.5, 3.5), (7.5, 5.5), (2.5, 5.5)]), SHAPE)
    assert sorted(map(tuple, np.argwhere(filled))) == [(x, y) for x in range(3, 8) for y in (4, 5)]


@pytest.mark.parametrize("seed", range(5))
def test_the_area_of_a_star_is_that_of_the_shoelace_formula(seed: int):
    rng = np.random.default_rng(seed)
    angles, radii = np.sort(rng.uniform(0, 2 * np.pi, 24)), rng.uniform(8, 35, 24)
    corners = np.stack([45 + radii * np.cos(angles), 40 + radii * np.sin(angles)], axis=1)
    counted = fill_polygon(corners, SHAPE).sum()
    # each voxel that the outline passes may be counted or not: of such a voxel half is in the mean
    assert abs(counted - shoelace_area(corners)) < 0.5 * perimeter(corners)
    assert fill_polygon(corners[::-1], SHAPE).sum() == counted


def test_areas_are_right_on_average_over_shifts_of_the_outline():
    triangle = np.array([(20.0, 15.0), (50.0, 22.0), (31.0, 60.0)])
    shifts = np.stack(np.meshgrid(np.arange(0.05, 1, 0.1), np.arange(0.05, 1, 0.1)), axis=-1).reshape(-1, 2)
    areas = [fill_polygon(triangle + shift, SHAPE).sum() for shift in shifts]
    assert np.mean(areas) == pytest.approx(shoelace_area(triangle), rel=0.002)


def test_what_lies_outside_of_the_slice_is_cut_off():
    corners = np.array([(-50.5, -50.5), (9.5, -50.5), (9.5, 4.5), (-50.5, 4.5)])
    assert fill_polygon(corners, SHAPE).sum() == 10 * 5
    assert not fill_polygon(corners - 60, SHAPE).any()
    everywhere = np.array([(-1e9, -1e9), (1e9, -1e9), (1e9, 1e9), (-1e9, 1e9)])
    assert fill_polygon(everywhere, SHAPE).all()


def test_where_an_outline_crosses_itself_twice_covered_parts_are_outside():
    inner_twice = np.array([(1.5, 1.5), (9.5, 1.5), (9.5, 9.5), (1.5, 9.5), (1.5, 1.5), (3.5, 3.5), (3.5, 7.5),
                            (7.5, 7.5), (7.5, 3.5), (3.5, 3.5)])  # fmt: skip
    assert fill_polygon(inner_twice, SHAPE).sum() == 8 * 8 - 4 * 4
