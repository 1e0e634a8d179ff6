"""Lesions as pieces: found, missed and made up."""

import numpy as np

from kicc_ml.evaluation.lesions import detect


def line(*pieces: tuple[int, int]) -> np.ndarray:
    """A mask of one row of 100 voxels with pieces from, to."""
    mask = np.zeros((100, 3, 3), bool)
    for start, stop in pieces:
        mask[start:stop, 1, 1] = True
    return mask


def test_lesions_are_counted_one_by_one_whatever_their_size() -> None:
    found = detect(line((0, 40), (50, 52), (60, 62)), line((0, 40), (60, 62), (80, 83)))
    assert (found.reference, found.found, found.predicted, found.true) == (3, 2, 3, 2)
    assert found.recall == found.precision == found.f1 == 2 / 3


def test_a_tenth_of_a_lesion_counts_as_found_and_less_does_not() -> None:
    assert detect(line((0, 40)), line((36, 41))).found == 1
    assert detect(line((0, 40)), line((37, 41))).found == 0


def test_voxels_that_touch_at_a_corner_are_one_lesion() -> None:
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert detect(mask, mask).reference == 1


def test_one_prediction_over_two_lesions_finds_both_and_is_one_claim() -> None:
    found = detect(line((0, 10), (12, 22)), line((0, 22)))
    assert (found.found, found.predicted, found.true) == (2, 1, 1)


def test_empty_masks_are_as_documented() -> None:
    nothing, something = line(), line((0, 5))
    missed, false, neither = detect(something, nothing), detect(nothing, something), detect(nothing, nothing)
    assert (missed.recall, missed.precision, missed.f1) == (0.0, None, 0.0)
    assert (false.recall, false.precision, false.f1) == (None, 0.0, None)
    assert (neither.recall, neither.precision, neither.f1) == (None, None, None)
