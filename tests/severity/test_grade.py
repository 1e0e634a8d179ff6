"""Severity is graded from masks, zone by zone."""

from collections.abc import Callable

import numpy as np
import pytest

from kicc_ml.severity.grade import ZONES, compute_change, compute_zone_points, grade, grade_radiograph

#: x to the patient's right, y to the front, z to the head; 2 x 2 x 3 mm.
AFFINE_RAS = np.diag([2.0, 2.0, 3.0, 1.0])


def make_two_lungs(shape: tuple[int, int, int] = (40, 20, 32)) -> dict[str, np.ndarray]:
    """Boxes of 10 x 10 x 30 voxels, the right lung at high x; each zone has 1,000 voxels."""
    masks = {name: np.zeros(shape, bool) for name in ("left_lung", "right_lung", "lesion")}
    masks["left_lung"][5:15, 5:15, 1:31] = True
    masks["right_lung"][25:35, 5:15, 1:31] = True
    return masks


@pytest.mark.parametrize(
    ("percent", "points"),
    [(0, 0), (0.49, 0), (0.5, 1), (24.99, 1), (25, 2), (49.99, 2), (50, 3), (74.99, 3), (75, 4), (100, 4)],
)
def test_points_change_exactly_at_the_published_borders(percent: float, points: int) -> None:
    assert compute_zone_points(percent) == points


def test_a_lesion_in_the_right_lower_zone_is_found_there_and_nowhere_else() -> None:
    masks = make_two_lungs()
    masks["lesion"][25:35, 5:15, 1:6] = True  # 500 of the 1,000 voxels
    graded = grade(masks, AFFINE_RAS)
    assert graded.zone_percent == {zone: 50.0 if zone == "right_lower" else 0.0 for zone in ZONES}
    assert graded.score == 3
    assert graded.percent_involved == pytest.approx(100 * 500 / 6000)


@pytest.mark.parametrize(
    ("turn", "affine"),
    [
        (lambda mask: mask[:, :, ::-1], np.diag([2.0, 2.0, -3.0, 1.0])),
        (lambda mask: mask[::-1, ::-1], np.diag([-2.0, -2.0, 3.0, 1.0])),
        (lambda mask: mask.transpose(2, 1, 0), AFFINE_RAS[:, [2, 1, 0, 3]]),
    ],
)
def test_zones_do_not_depend_on_the_orientation_of_the_grid(
    turn: Callable[[np.ndarray], np.ndarray], affine: np.ndarray
) -> None:
    masks = make_two_lungs()
    masks["lesion"][5:15, 5:15, 21:24] = True
    turned = {name: turn(mask) for name, mask in masks.items()}
    assert grade(turned, affine).zone_percent == grade(masks, AFFINE_RAS).zone_percent
    assert grade(turned, affine).zone_percent["left_upper"] == pytest.approx(30.0)


def test_each_lung_is_divided_by_its_own_height() -> None:
    masks = make_two_lungs()
    masks["left_lung"][:, :, 16:] = False  # 15 slices: thirds of 5
    masks["lesion"][5:15, 5:15, 11:16] = True
    graded = grade(masks, AFFINE_RAS)
    assert graded.zone_percent["left_upper"] == 100.0
    assert graded.zone_percent["left_middle"] == 0.0


def test_a_shred_far_from_the_lung_does_not_stretch_its_thirds() -> None:
    masks = make_two_lungs((40, 20, 60))
    masks["lesion"][25:35, 5:15, 1:11] = True
    masks["right_lung"][30, 10, 50:58] = True
    assert grade(masks, AFFINE_RAS).zone_percent["right_lower"] == 100.0


def test_stray_voxels_add_no_point_but_stay_in_the_percentage() -> None:
    masks = make_two_lungs()
    masks["lesion"][10, 10, 2:6] = True  # 4 of 1,000
    graded = grade(masks, AFFINE_RAS)
    assert graded.score == 0
    assert graded.zone_percent["left_lower"] == pytest.approx(0.4)


def test_volume_and_weight_follow_from_voxel_size_and_density() -> None:
    masks = make_two_lungs()
    masks["lesion"][5:15, 5:15, 1:11] = True  # 1,000 voxels of 12 microlitres
    hu = np.full(masks["lesion"].shape, -500.0)
    hu[5, 5, 1] = -3000.0  # padding weighs nothing
    graded = grade(masks, AFFINE_RAS, hu)
    assert graded.lesion_ml == pytest.approx(12.0)
    assert graded.lung_ml == pytest.approx(72.0)
    assert graded.lesion_g == pytest.approx(999 * 0.012 * 0.5)


def test_ground_glass_and_consolidation_make_up_the_lesion() -> None:
    masks = make_two_lungs()
    del masks["lesion"]
    masks["ground_glass"], masks["consolidation"] = np.zeros((2, 40, 20, 32), bool)
    masks["ground_glass"][5:15, 5:15, 1:7] = True
    masks["consolidation"][5:15, 5:15, 7:10] = True
    graded = grade(masks, AFFINE_RAS)
    assert graded.percent_involved == pytest.approx(100 * 900 / 6000)
    assert graded.percent_consolidated == pytest.approx(100 * 300 / 6000)


def test_without_sides_there_is_a_percentage_but_no_score() -> None:
    sides = make_two_lungs()
    lung = sides["left_lung"] | sides["right_lung"]
    graded = grade({"lung": lung, "lesion": lung}, AFFINE_RAS)
    assert graded.score is None
    assert graded.zone_percent == {}
    assert graded.percent_involved == 100.0
    assert any(reason.startswith("score: ") for reason in graded.reasons)


def test_without_spacing_there_are_no_millilitres() -> None:
    masks = make_two_lungs()
    graded = grade(masks, np.eye(4), np.zeros(masks["lesion"].shape), spacing_known=False)
    assert (graded.lung_ml, graded.lesion_ml, graded.lesion_g) == (None, None, None)
    assert graded.score == 0
    assert any("voxel size" in reason for reason in graded.reasons)


def test_a_missing_lung_is_said_and_not_scored() -> None:
    masks = make_two_lungs()
    masks["left_lung"][:] = False
    graded = grade(masks, AFFINE_RAS)
    assert graded.score is None
    assert graded.zone_score["left_upper"] is None
    assert "score: no lung in the left upper zone" in graded.reasons


def test_lesion_outside_the_lungs_is_not_counted_and_said() -> None:
    masks = make_two_lungs()
    masks["lesion"][5:15, 5:15, 1:11] = True
    masks["lesion"][18:22, 5:15, 1:11] = True
    graded = grade(masks, AFFINE_RAS)
    assert graded.percent_involved == pytest.approx(100 * 1000 / 6000)
    assert any(reason.startswith("lesion: 29 %") for reason in graded.reasons)


@pytest.mark.parametrize("part", ["consolidation", "ground_glass"])
def test_one_part_of_the_lesion_alone_is_graded_as_no_lesion_of_any_size(part: str) -> None:
    masks = make_two_lungs()
    masks[part] = masks.pop("lesion")
    masks[part][5:15, 5:15, 1:7] = True
    graded = grade(masks, AFFINE_RAS, np.zeros(masks[part].shape))
    assert (graded.score, graded.percent_involved, graded.lesion_ml, graded.lesion_g) == (None, None, None, None)
    assert graded.percent_consolidated == (pytest.approx(10.0) if part == "consolidation" else None)
    assert graded.lung_ml == pytest.approx(72.0)
    reasons = dict(reason.split(": ", 1) for reason in graded.reasons)
    assert reasons["percent_involved"] == "neither the lesion nor both of its parts were segmented"
    assert "score, lesion_ml, lesion_g" in reasons


def test_a_radiograph_without_lesion_mask_has_its_reason_and_no_extent() -> None:
    lungs = {name: mask[:, :, :1] for name, mask in make_two_lungs().items() if name != "lesion"}
    graded = grade_radiograph(lungs, AFFINE_RAS)
    assert (graded.geographic_extent, graded.percent_involved) == (None, None)
    assert all("segmented" in reason or "shadow" in reason for reason in graded.reasons)


def test_lesions_are_counted_apart_and_dots_are_not() -> None:
    masks = make_two_lungs()
    masks["lesion"][6:8, 6:8, 2:4] = True  # 8 voxels
    masks["lesion"][26:30, 6:8, 20:22] = True  # 16 voxels
    masks["lesion"][30, 12, 10] = True  # one
    graded = grade(masks, np.diag([-5.0, -5.0, 5.0, 1.0]))  # 0.125 mL a voxel: each counts
    assert (graded.lesion_count, graded.largest_lesion_ml) == (3, pytest.approx(2.0))
    smaller = grade(masks, np.diag([-4.0, -4.0, 4.0, 1.0]))  # 0.064 mL: the dot does not
    assert smaller.lesion_count == 2


def test_no_lesion_is_none_of_no_size_and_without_voxel_size_it_is_not_known() -> None:
    masks = make_two_lungs()
    assert (grade(masks, AFFINE_RAS).lesion_count, grade(masks, AFFINE_RAS).largest_lesion_ml) == (0, 0.0)
    assert grade(masks, AFFINE_RAS, spacing_known=False).lesion_count is None


def test_each_lung_has_its_own_share() -> None:
    masks = make_two_lungs()
    masks["lesion"] |= masks["left_lung"]
    assert grade(masks, AFFINE_RAS).lung_percent == {"right": 0.0, "left": 100.0}


def test_change_is_after_less_before_and_unknown_where_one_is() -> None:
    masks = make_two_lungs()
    before = grade(masks, AFFINE_RAS, spacing_known=False)
    masks["lesion"] |= masks["left_lung"]
    after = grade(masks, AFFINE_RAS)
    assert compute_change(before, after)["score"] == 12
    assert compute_change(after, before)["percent_involved"] == pytest.approx(-50)
    assert compute_change(before, after)["lesion_ml"] is None
