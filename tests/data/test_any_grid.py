"""Resampling between grids of any place, voxel size and turn, drawn by hypothesis."""

from itertools import permutations

import numpy as np
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from kicc_ml.data.resampling import moved_origin, resample, source_box

SIDES = st.tuples(*[st.integers(1, 9)] * 3)
SPACINGS_MM = st.tuples(*[st.floats(0.3, 6.0)] * 3)
PLACES_MM = st.tuples(*[st.floats(-300, 300)] * 3)
#: Turns about the patient's axes; none half of the time, as most scans lie.
TURNS_DEGREES = st.tuples(*[st.floats(-180, 180)] * 3) | st.just((0.0, 0.0, 0.0))
#: Voxels that a grid may reach beyond the other.
OFFSETS = st.tuples(*[st.integers(-4, 8)] * 3)
#: Of values between 0 and 1, summed up in single precision.
ROUNDING = 1e-4


def affine_of(spacing_mm: tuple, turn_degrees: tuple, place_mm: tuple) -> np.ndarray:
    affine_ras = np.eye(4)
    affine_ras[:3, :3] = Rotation.from_euler("xyz", turn_degrees, degrees=True).as_matrix() * spacing_mm
    affine_ras[:3, 3] = place_mm
    return affine_ras


def image_of(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(seed))


@st.composite
def overlapping_grids(draw: st.DrawFn) -> tuple[np.ndarray, tuple, np.ndarray, tuple]:
    """Affine and shape of two grids, the second of which begins near a voxel of the first."""
    first = affine_of(draw(SPACINGS_MM), draw(TURNS_DEGREES), draw(PLACES_MM))
    second = affine_of(draw(SPACINGS_MM), draw(TURNS_DEGREES), (0, 0, 0))
    second[:3, 3] = (first @ [*draw(OFFSETS), 1])[:3]
    return first, draw(SIDES), second, draw(SIDES)


#: Three voxels are averaged to one, and the other grid lies where less than three are left, or before all of them.
PAST_THE_LAST_BLOCK = (np.diag([0.5, 1, 1, 1]), (5, 1, 1), affine_of((1.5, 1, 1), (0, 0, 0), (3, 0, 0)), (1, 1, 1))
BEFORE_THE_FIRST = (np.diag([0.5, 1, 1, 1]), (5, 1, 1), affine_of((1.5, 1, 1), (0, 0, 0), (-9, 0, 0)), (1, 1, 1))


@given(overlapping_grids(), st.sampled_from(["zeros", "border"]), st.sampled_from(["trilinear", "nearest"]))
@example(PAST_THE_LAST_BLOCK, "border", "trilinear")
@example(BEFORE_THE_FIRST, "border", "trilinear")
def test_the_source_box_is_all_of_a_scan_that_another_grid_needs(grids: tuple, padding: str, mode: str):
    affine_ras, shape, to_affine_ras, to_shape = grids
    image = image_of(shape, 0)
    box = source_box(affine_ras, shape, to_affine_ras, to_shape)
    part = image[(slice(None), *box)].contiguous()
    part_affine_ras = moved_origin(affine_ras, [one.start for one in box])
    whole = resample(image, affine_ras, to_affine_ras, to_shape, mode, padding)
    torch.testing.assert_close(
        resample(part, part_affine_ras, to_affine_ras, to_shape, mode, padding), whole, atol=ROUNDING, rtol=0
    )


@given(
    SIDES,
    SPACINGS_MM,
    TURNS_DEGREES,
    PLACES_MM,
    st.sampled_from(list(permutations(range(3)))),
    st.tuples(*[st.booleans()] * 3),
)
def test_flips_and_exchanged_axes_are_exact_copies(
    shape: tuple, spacing_mm: tuple, turn: tuple, place_mm: tuple, order: tuple, flipped: tuple
):
    affine_ras, image = affine_of(spacing_mm, turn, place_mm), image_of(shape, 1)
    to_index = np.zeros((4, 4))
    to_index[3, 3] = 1
    for axis, source in enumerate(order):
        to_index[source, axis] = -1 if flipped[axis] else 1
        to_index[source, 3] = shape[source] - 1 if flipped[axis] else 0
    expected = image.permute(0, *(1 + source for source in order))
    expected = expected.flip([1 + axis for axis in range(3) if flipped[axis]])
    moved = resample(image, affine_ras, affine_ras @ to_index, [shape[source] for source in order])
    torch.testing.assert_close(moved, expected, atol=0, rtol=0)


@given(overlapping_grids(), st.floats(-2000, 2000))
def test_an_even_image_stays_even_and_no_value_leaves_the_range_of_the_source(grids: tuple, hu: float):
    affine_ras, shape, to_affine_ras, to_shape = grids
    even = torch.full((1, *shape), hu)
    moved = resample(even, affine_ras, to_affine_ras, to_shape)
    torch.testing.assert_close(moved, torch.full_like(moved, hu), atol=ROUNDING, rtol=1e-5)
    image = image_of(shape, 2)
    moved = resample(image, affine_ras, to_affine_ras, to_shape)
    assert image.min() - ROUNDING <= moved.min()
    assert moved.max() <= image.max() + ROUNDING


@given(overlapping_grids())
def test_nearest_neighbours_are_values_of_the_source(grids: tuple):
    affine_ras, shape, to_affine_ras, to_shape = grids
    image = image_of(shape, 3)
    moved = resample(image, affine_ras, to_affine_ras, to_shape, mode="nearest")
    assert set(moved.flatten().tolist()) <= set(image.flatten().tolist())
