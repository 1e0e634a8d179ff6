"""Boxes around masks, against a search voxel by voxel."""

import numpy as np
import pytest

from kicc_ml.core.boxes import find_bounding_box, grow_box, make_whole_box, measure_box


@pytest.mark.parametrize("shape", [(7, 9), (5, 6, 7), (4, 3, 1)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_box_holds_all_that_is_marked_and_touches_it_on_every_side(shape: tuple[int, ...], order: str):
    rng = np.random.default_rng(0)
    for _ in range(20):
        masks = [np.array(rng.random(shape) < share, order=order) for share in (0.02, 0.05)]  # type: ignore[call-overload]
        marked = np.argwhere(masks[0] | masks[1])
        expected = [(along.min(), along.max() + 1) for along in marked.T] if len(marked) else None
        box = find_bounding_box(*masks)
        assert (None if box is None else [(side.start, side.stop) for side in box]) == expected


def test_nothing_marked_has_no_box():
    assert find_bounding_box(np.zeros((3, 4, 5), bool)) is None


def test_a_grown_box_ends_where_the_grid_does():
    box = grow_box((slice(1, 3), slice(2, 9), slice(0, 1)), (2, 1, 0), (10, 9, 1))
    assert box == (slice(0, 5), slice(1, 9), slice(0, 1))
    assert measure_box(box) == (5, 8, 1)
    assert make_whole_box((10, 9)) == (slice(0, 10), slice(0, 9))
