"""Radiographs as shadows of the phantom."""

from dataclasses import replace

import numpy as np
import pytest

from kicc_ml.synthetic.anatomy import draw_physique
from kicc_ml.synthetic.lesions import add_pneumonia
from kicc_ml.synthetic.radiograph import (
    AIR_GAP_MM,
    FOCUS_MM,
    WATER_PER_MM,
    Pose,
    compute_plate,
    draw_pose,
    make_radiograph_grid,
    project,
    project_masks,
    simulate_exposure,
)
from kicc_ml.synthetic.thorax import Thorax, make_healthy_thorax


@pytest.fixture(scope="module")
def healthy() -> Thorax:
    person = draw_physique(np.random.default_rng(4), "M", 50)
    return make_healthy_thorax(4, person, make_radiograph_grid(64, person))


def holding(thorax: Thorax, hu_xyz: np.ndarray) -> Thorax:
    return replace(thorax, hu_xyz=hu_xyz.astype(np.float32))


@pytest.mark.parametrize("projection", ["AP", "PA"])
def test_a_slab_of_water_attenuates_by_its_thickness(healthy, projection):
    hu = np.full(healthy.grid.shape, -1000.0)
    hu[:, 10:20, :] = 0
    thickness_mm = 10 * healthy.grid.spacing_mm[1]
    np.testing.assert_allclose(project(holding(healthy, hu), projection), WATER_PER_MM * thickness_mm, rtol=1e-4)


def test_air_casts_no_shadow(healthy):
    assert not project(holding(healthy, np.full(healthy.grid.shape, -1000.0)), "PA").any()


def test_what_lies_in_front_is_larger_in_an_ap_by_the_rule_of_the_cone(healthy):
    hu = np.full(healthy.grid.shape, -1000.0)
    x, y, _ = healthy.grid.axes_mm
    front = y.ravel().argmin()
    wide = np.abs(x[:, 0]) < 60
    hu[:, front + 2] = np.where(wide, 0.0, -1000.0)
    shadows = {p: project(holding(healthy, hu), p)[:, 60] for p in ("AP", "PA")}
    width = {p: (shadow > shadow.max() / 2).sum() for p, shadow in shadows.items()}
    depth_mm = float(y.ravel()[-1] - y.ravel()[front + 2])
    magnified = FOCUS_MM["AP"] / (FOCUS_MM["AP"] - AIR_GAP_MM - depth_mm)
    expected = wide.sum() * healthy.grid.spacing_mm[0] * magnified / compute_plate(healthy.grid)[1]
    assert width["AP"] == pytest.approx(expected, abs=2)
    assert width["AP"] > 1.2 * width["PA"]


def test_lungs_are_darker_than_heart_spine_and_liver(healthy):
    picture = simulate_exposure(project(healthy, "PA", Pose()), 0, digital=True).astype(float)
    lung_shadow = project(holding(healthy, np.where(healthy.lung, 0.0, -1000.0)), "PA")
    body_shadow = project(holding(healthy, np.where(healthy.hu_xyz > -500, 0.0, -1000.0)), "PA")
    for half in (np.s_[: picture.shape[0] // 2], np.s_[picture.shape[0] // 2 :]):
        lung = lung_shadow[half] > 0.7 * lung_shadow[half].max()
        tissue = (lung_shadow[half] == 0) & (body_shadow[half] > 2)
        assert np.median(picture[half][lung]) < 0.7 * np.median(picture[half][tissue])


def test_pneumonia_makes_the_lung_whiter(healthy):
    ill = add_pneumonia(healthy, 4, 0.4, 0.5)
    added = project(ill, "PA") - project(healthy, "PA")
    assert added.max() > 0.3
    assert added.min() > -1e-3


def test_pixels_are_twelve_bits_and_never_more_than_256_across(healthy):
    picture = simulate_exposure(project(healthy, "AP"), 1, digital=False)
    assert picture.dtype == np.uint16
    assert picture.max() <= 4095
    assert picture.shape == compute_plate(healthy.grid)[0] == (128, 118)
    assert compute_plate(make_radiograph_grid(200, healthy.person))[0][0] == 256


def test_noise_and_pose_follow_their_seeds(healthy):
    pose = draw_pose(np.random.default_rng(3), "AP")
    assert pose == draw_pose(np.random.default_rng(3), "AP")
    shadow = project(healthy, "AP", pose)
    np.testing.assert_array_equal(simulate_exposure(shadow, 5, True), simulate_exposure(shadow, 5, True))
    assert (simulate_exposure(shadow, 5, True) != simulate_exposure(shadow, 6, True)).any()


def test_the_fields_marked_are_the_dark_ones_of_either_side(healthy):
    pose = Pose()
    picture = simulate_exposure(project(healthy, "PA", pose), 0, digital=True).astype(float)
    marked = project_masks(healthy, "PA", pose)
    right, left = marked["right_lung"], marked["left_lung"]
    assert not (right & left).any()
    assert np.argwhere(right)[:, 0].mean() < picture.shape[0] / 2 < np.argwhere(left)[:, 0].mean()
    heart = ~(right | left)[picture.shape[0] // 2 - 3 : picture.shape[0] // 2 + 3]
    assert heart.mean() > 0.9
    assert np.median(picture[right | left]) < 0.75 * np.median(picture[~(right | left) & (picture > 0)])


def test_marked_opacities_are_where_pneumonia_adds_to_the_shadow(healthy):
    ill, pose = add_pneumonia(healthy, 4, 0.3, 0.5), Pose(2.0, 5.0, -4.0)
    added = project(ill, "AP", pose) - project(healthy, "AP", pose)
    marked = project_masks(ill, "AP", pose)
    field = marked["left_lung"] | marked["right_lung"]
    assert marked["lesion"].any()
    assert not (marked["lesion"] & ~field).any()
    assert added[marked["lesion"]].mean() > 5 * added[field & ~marked["lesion"]].mean()
    assert not project_masks(healthy, "AP", pose)["lesion"].any()
