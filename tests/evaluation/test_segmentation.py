"""Figures of masks, case by case."""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import f1_score

from kicc_ml.core.errors import UserError
from kicc_ml.evaluation.segmentation import compute_dice, make_case_columns, score_case

SPACING_MM = (0.8, 1.0, 2.5)


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping random masks; they also touch the border of the image."""
    noise = np.random.default_rng(seed).normal(size=(2, 24, 20, 14))
    smooth = [ndimage.gaussian_filter(noise[0] + share * noise[1], 2) for share in (0.0, 0.5)]
    return smooth[0] > 0.03, smooth[1] > 0.03


@pytest.mark.parametrize("seed", range(3))
def test_dice_is_the_f1_of_voxels(seed: int) -> None:
    truth, predicted = blobs(seed)
    assert compute_dice(truth, predicted) == pytest.approx(f1_score(truth.ravel(), predicted.ravel()))


def test_the_volume_error_is_signed_and_in_millilitres() -> None:
    truth, predicted = np.zeros((2, 10, 10, 10), bool)
    truth[:5, :5, :4] = True
    predicted[:5, :5, :8] = True
    score = score_case({"lesion": truth}, {"lesion": predicted}, SPACING_MM)[0]
    assert score.volume_error_ml == pytest.approx(100 * 2 / 1000)
    assert score.false_positive_ml == pytest.approx(100 * 2 / 1000)


def test_the_volume_error_in_percent_of_the_true_lung_needs_no_voxel_size() -> None:
    truth, predicted, left, right = np.zeros((4, 10, 10, 10), bool)
    left[:5], right[5:] = True, True
    truth[:2], predicted[:3] = True, True
    lungs = {"left_lung": left, "right_lung": right}
    (score,) = (one for one in score_case({"lesion": truth} | lungs, {"lesion": predicted}, None))
    assert score.volume_error_percent == pytest.approx(10)
    assert score_case({"lesion": truth}, {"lesion": predicted}, SPACING_MM)[0].volume_error_percent is None


def test_an_empty_reference_has_no_dice_but_a_false_positive_volume() -> None:
    truth, predicted = np.zeros((2, 10, 10, 10), bool)
    predicted[:5, :5, :4] = True
    score = score_case({"lesion": truth}, {"lesion": predicted}, SPACING_MM)[0]
    assert (score.dice, score.nsd_1mm, score.hd95_mm) == (None, None, None)
    assert score.false_positive_ml == pytest.approx(0.2)
    assert (score.lesionwise_recall, score.lesionwise_precision) == (None, 0.0)
    assert score.reason == "empty reference"


def test_a_missed_lesion_scores_zero_and_has_no_distance() -> None:
    truth, predicted = np.zeros((2, 10, 10, 10), bool)
    truth[:5] = True
    score = score_case({"lesion": truth}, {"lesion": predicted}, SPACING_MM)[0]
    assert (score.dice, score.nsd_3mm, score.hd95_mm) == (0.0, 0.0, None)
    assert (score.lesionwise_recall, score.lesionwise_precision) == (0.0, None)
    assert score.reason == "nothing predicted"


def test_without_spacing_distances_count_voxels_and_volumes_are_unknown() -> None:
    truth, predicted = np.zeros((2, 12, 5, 5), bool)
    truth[0] = True
    predicted[4] = True
    columns = make_case_columns(score_case({"lesion": truth}, {"lesion": predicted}, None))
    assert columns["distance_unit"] == "voxel"
    assert columns["lesion_hd95_mm"] == 4.0
    assert columns["lesion_volume_error_ml"] is None


def test_only_regions_that_both_sides_have_are_scored() -> None:
    mask = np.ones((3, 3, 3), bool)
    scores = score_case({"lesion": mask, "lung": mask}, {"lesion": mask, "left_lung": mask}, SPACING_MM)
    assert [score.region for score in scores] == ["lesion"]


def test_masks_on_different_grids_are_refused() -> None:
    with pytest.raises(UserError, match="grid of the scan"):
        score_case({"lesion": np.ones((3, 3, 3))}, {"lesion": np.ones((3, 3, 4))}, SPACING_MM)
