"""Measured features of a CT and of a radiograph equal those with which the images were made."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from kicc_ml.core.types import Volume
from kicc_ml.severity.image_features import (
    CT_FEATURES,
    RADIOGRAPH_FEATURES,
    measure_ct_features,
    measure_features,
    measure_radiograph_features,
)
from tests.support.box_chest import AFFINE_RAS, chest, film


def test_features_are_what_was_put_into_the_phantom():
    volume, masks = chest(noise_hu=15)
    features = measure_ct_features(volume, masks)
    assert features["noise_hu"] == pytest.approx(15, rel=0.05)
    assert features["soft_hu"] == pytest.approx(40, abs=1)
    assert features["lung_hu"] == pytest.approx(-850, abs=1)
    assert features["lung_ml"] == pytest.approx((30 + 28) * 40 * 40 * 45 / 1000)
    assert features["side_percent"] == pytest.approx(100 * 30 / 58)
    assert (features["slice_mm"], features["pixel_mm"], features["cut_percent"]) == (5, 3, 0)


def test_a_scan_that_ends_within_the_lungs_is_cut():
    volume, masks = chest()
    below = {name: mask[:, :, 20:] for name, mask in masks.items()}
    assert measure_ct_features(Volume(volume.array[:, :, 20:], AFFINE_RAS, "hu"), below)["cut_percent"] == 100


def test_blurring_is_less_noise():
    volume, masks = chest(noise_hu=30)
    smooth = Volume(gaussian_filter(volume.array.astype(np.float32), 1), AFFINE_RAS, "hu")
    assert measure_ct_features(smooth, masks)["noise_hu"] < measure_ct_features(volume, masks)["noise_hu"]


def test_features_of_a_film_are_what_was_put_into_it():
    features = measure_radiograph_features(*film(noise=30))
    assert features["lungs_mm"] == pytest.approx(1.5 * 160)
    assert features["field_percent"] == pytest.approx(100 * (70 * 120 + 60 * 100) / (256 * 200))
    assert features["heights_percent"] == pytest.approx(100 * 100 / 120)
    assert features["side_percent"] == pytest.approx(100 * 70 * 120 / (70 * 120 + 60 * 100))
    assert features["lungs_wide_percent"] == pytest.approx(100 * 160 / 120)
    assert features["field_grey"] == pytest.approx(100 * 1000 / 3050, abs=2)
    assert features["middle_grey"] == pytest.approx(0, abs=2)  # body, as most of the film
    assert features["grain"] == pytest.approx(100 * 30 / 3050, rel=0.1)


def test_a_film_stored_twice_as_finely_has_the_same_features():
    once, twice = measure_radiograph_features(*film()), measure_radiograph_features(*film(fine=2))
    assert twice == pytest.approx(once, rel=0.01)


def test_on_a_negative_heart_and_spine_are_darker_than_the_film():
    volume, masks = film()
    volume.array[110:140, 100:] += 1500
    negative = Volume(5000 - volume.array, volume.affine_ras, "arbitrary")
    greys = [measure_radiograph_features(one, masks)["middle_grey"] for one in (volume, negative)]
    assert greys[0] == pytest.approx(100 * 1500 / 4500, abs=2)
    assert greys[1] == pytest.approx(-greys[0], abs=2)


def test_of_a_film_without_lungs_or_spacing_nothing_is_claimed():
    volume, masks = film()
    nothing = {name: np.zeros_like(mask) for name, mask in masks.items()}
    assert set(measure_radiograph_features(volume, nothing).values()) == {None}
    picture = Volume(volume.array, volume.affine_ras, "arbitrary", spacing_known=False)
    assert measure_radiograph_features(picture, masks)["lungs_mm"] is None


def test_a_scan_has_features_of_its_kind_and_one_in_other_units_none():
    assert set(measure_features(*chest(), "CT")) == set(CT_FEATURES)
    assert set(measure_features(*film(), "CXR")) == set(RADIOGRAPH_FEATURES)
    volume, masks = chest()
    assert measure_features(Volume(volume.array, AFFINE_RAS, "arbitrary"), masks, "CT") == {}
