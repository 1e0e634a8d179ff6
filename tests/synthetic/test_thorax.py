"""The phantom: its anatomy, its pneumonia, and that grey values alone do not find it."""

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from kicc_ml.synthetic.anatomy import draw_physique
from kicc_ml.synthetic.hospital import make_hospitals, scan_ct
from kicc_ml.synthetic.lesions import add_pneumonia
from kicc_ml.synthetic.thorax import Thorax, make_healthy_thorax

MATRIX, SLICES = 80, 40  # of the demo preset
BURDENS = (0.03, 0.06, 0.1, 0.14, 0.18, 0.25, 0.35, 0.5)


@cache
def patient(k: int) -> Thorax:
    person = draw_physique(np.random.default_rng(100 + k), "MF"[k % 2], 30 + 6 * k)
    grid = scanner(k).make_ct_grid(MATRIX, SLICES, person.lung_height_mm)
    return add_pneumonia(make_healthy_thorax(k, person, grid), k, BURDENS[k], consolidated_share=0.25)


def scanner(k: int):
    return list(make_hospitals(0, ["a", "b", "c", "d"]).values())[k % 4]


PATIENTS = range(len(BURDENS))


def test_no_single_threshold_inside_the_true_lungs_finds_the_lesions():
    thresholds = np.arange(-950, 0, 10)
    dice = np.zeros((len(PATIENTS), len(thresholds)))
    for k in PATIENTS:
        thorax = patient(k)
        hu, lesion = scan_ct(scanner(k), thorax, k)[thorax.lung], thorax.lesion[thorax.lung]
        for j, threshold in enumerate(thresholds):
            above = hu > threshold
            dice[k, j] = 2 * (above & lesion).sum() / (above.sum() + lesion.sum())
    assert dice.mean(0).max() <= 0.60


@pytest.mark.parametrize("k", PATIENTS)
def test_the_asked_burden_and_consolidated_share_are_met(k):
    thorax = patient(k)
    assert thorax.lesion.sum() / thorax.lung.sum() == pytest.approx(BURDENS[k], rel=0.05)
    assert thorax.consolidation.sum() / thorax.lesion.sum() == pytest.approx(0.25, rel=0.05)


@pytest.mark.parametrize("k", PATIENTS)
def test_masks_are_disjoint_and_lesions_lie_in_the_lungs(k):
    thorax = patient(k)
    assert not (thorax.left_lung & thorax.right_lung).any()
    assert not (thorax.ground_glass & thorax.consolidation).any()
    assert not (thorax.lesion & ~thorax.lung).any()


def test_left_lung_lies_at_larger_x_and_is_the_smaller_on_average():
    left, right = (np.mean([getattr(patient(k), side).sum() for k in PATIENTS]) for side in ("left_lung", "right_lung"))
    assert 0.75 < left / right < 1.0
    for k in PATIENTS:
        thorax = patient(k)
        centres = [ndimage.center_of_mass(lung)[0] for lung in (thorax.right_lung, thorax.left_lung)]
        assert centres[0] < MATRIX / 2 < centres[1]


def test_lungs_of_adults_hold_two_to_eight_litres():
    for k in PATIENTS:
        thorax = patient(k)
        assert 2.0 < thorax.lung.sum() * np.prod(thorax.grid.spacing_mm) / 1e6 < 8.0


def test_lesions_lie_rather_at_the_back_below_and_at_the_periphery_of_both_lungs():
    behind, below, deep, bilateral = [], [], [], []
    for k in range(24):
        person = draw_physique(np.random.default_rng(k), "MF"[k % 2], 50)
        grid = scanner(k).make_ct_grid(48, 24, person.lung_height_mm)
        thorax = add_pneumonia(make_healthy_thorax(k, person, grid), k, 0.12, 0.2)
        ill, middle = np.argwhere(thorax.lesion), np.median(np.argwhere(thorax.lung), axis=0)
        behind.append((ill[:, 1] > middle[1]).mean())
        below.append((ill[:, 2] < middle[2]).mean())
        depth_mm = ndimage.distance_transform_edt(thorax.lung, grid.spacing_mm)
        deep.append(depth_mm[thorax.lesion].mean() / depth_mm[thorax.lung].mean())
        bilateral.append((thorax.lesion & thorax.left_lung).any() and (thorax.lesion & thorax.right_lung).any())
    assert np.mean(behind) > 0.55
    assert np.mean(below) > 0.6
    assert np.mean(deep) < 1.0
    assert np.mean(bilateral) > 0.9


def test_lesions_are_patches_not_speckle():
    for k in PATIENTS:
        thorax = patient(k)
        labels, _ = ndimage.label(thorax.lesion)
        sizes = np.bincount(labels.ravel())[1:] * np.prod(thorax.grid.spacing_mm) / 1000
        assert sizes[sizes < 1.0].sum() < 0.05 * sizes.sum()  # millilitres


def test_ground_glass_is_denser_than_its_lung_and_consolidation_like_soft_tissue():
    for k in PATIENTS:
        thorax = patient(k)
        healthy = make_healthy_thorax(k, thorax.person, thorax.grid)
        core = ndimage.binary_erosion(thorax.consolidation)
        raised = thorax.hu_xyz[thorax.ground_glass] - healthy.hu_xyz[thorax.ground_glass]
        assert np.median(raised) > 80
        if core.any():
            assert -150 < np.median(thorax.hu_xyz[core]) < 60


def test_beneath_the_left_dome_lie_soft_tissue_fat_and_gas_that_belong_to_no_lung():
    held = {"soft tissue": 0, "fat": 0, "gas": 0}
    for k in PATIENTS:
        thorax = make_healthy_thorax(k, patient(k).person, patient(k).grid)
        x, y, z = (np.broadcast_to(axis, thorax.lung.shape) for axis in thorax.grid.axes_mm)
        beside = ndimage.binary_dilation(thorax.left_lung, iterations=8) & ~thorax.lung
        beneath = thorax.hu_xyz[
            beside & (x > 40) & (x < 110) & (np.abs(y) < 60) & (z < thorax.person.left_dome_mm - 15)
        ]
        for name, low, high in (("soft tissue", 20, 70), ("fat", -110, -80), ("gas", -1000, -900)):
            held[name] += int(((beneath > low) & (beneath < high)).sum() > 50)
    assert held["soft tissue"] == held["fat"] == len(PATIENTS)
    assert held["gas"] >= len(PATIENTS) / 2


def test_no_burden_gives_the_healthy_chest_back():
    healthy = make_healthy_thorax(3, patient(3).person, patient(3).grid)
    assert add_pneumonia(healthy, 3, 0.0, 0.3) is healthy
    assert not healthy.lesion.any()


def test_a_growing_burden_keeps_what_was_ill():
    healthy = make_healthy_thorax(5, patient(5).person, patient(5).grid)
    small, large = add_pneumonia(healthy, 5, 0.1, 0.2), add_pneumonia(healthy, 5, 0.3, 0.2)
    assert not (small.lesion & ~large.lesion).any()


def test_the_same_seed_gives_the_same_chest():
    again = add_pneumonia(make_healthy_thorax(2, patient(2).person, patient(2).grid), 2, BURDENS[2], 0.25)
    np.testing.assert_array_equal(again.hu_xyz, patient(2).hu_xyz)
    np.testing.assert_array_equal(scan_ct(scanner(2), again, 9), scan_ct(scanner(2), patient(2), 9))
    assert (scan_ct(scanner(2), again, 8) != scan_ct(scanner(2), again, 9)).any()
