"""Zones see grey and detail where they are, and a ridge learns from them without the tested persons."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from kicc_ml.models.baselines import radiograph_zones as cxr_zones
from kicc_ml.models.baselines.radiograph_zones import SMOOTHING_PIXELS, ZONES, zone_features, zone_ridge

IMAGE_XY = np.random.default_rng(0).uniform(0.2, 0.8, (96, 96))
#: As they come: grey, then bands from fine to coarse, each a half of the zones.
BANDS = len(SMOOTHING_PIXELS)


def maps(image_xy: np.ndarray) -> np.ndarray:
    return zone_features(image_xy).reshape(BANDS, ZONES // 2, ZONES)


def test_a_mirrored_radiograph_has_the_same_features():
    np.testing.assert_allclose(zone_features(IMAGE_XY[::-1]), zone_features(IMAGE_XY), atol=1e-5)


def test_grey_is_the_mean_of_both_sides_at_its_place():
    image_xy = np.zeros((96, 96))
    image_xy[16:32, 80:96] = 1.0  # second column of the left edge, lowest row
    expected = np.zeros((ZONES // 2, ZONES))
    expected[1, 5] = 0.5
    np.testing.assert_allclose(maps(image_xy)[0], expected, atol=1e-6)


def test_blur_takes_the_finest_detail_most():
    loss = (maps(IMAGE_XY) - maps(gaussian_filter(IMAGE_XY, 1.5)))[1:].mean(axis=(1, 2))
    assert loss[0] > 2
    assert loss[0] == loss.max()
    assert loss[-1] < 0.3


def linear_scores(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, scores that are linear in them but for noise, and persons of two images each."""
    rng = np.random.default_rng(1)
    table_bf = rng.normal(size=(rows, 8))
    return table_bf, 0.5 + 0.1 * table_bf[:, 0] + rng.normal(0, 0.01, rows), np.arange(rows) // 2


def test_what_is_linear_is_found_in_rows_not_seen():
    table_bf, score_b, person_b = linear_scores(120)
    predicted_b = zone_ridge(table_bf[:80], score_b[:80], person_b[:80])(table_bf[80:])
    assert np.corrcoef(predicted_b, score_b[80:])[0, 1] > 0.97


def test_the_numbers_kept_are_the_closed_form_of_a_ridge_on_standardised_features(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cxr_zones, "RIDGES", [3.0])
    table_bf, score_b, person_b = linear_scores(60)
    table_bf = table_bf * np.arange(1, 9) + 5
    centred_bf = table_bf - table_bf.mean(0)
    standard_bf = centred_bf / table_bf.std(0)
    weight_f = np.linalg.solve(standard_bf.T @ standard_bf + 3 * np.eye(8), standard_bf.T @ (score_b - score_b.mean()))
    expected_b = score_b.mean() + standard_bf @ weight_f
    assert 0 < expected_b.min() < expected_b.max() < 1
    np.testing.assert_allclose(zone_ridge(table_bf, score_b, person_b)(table_bf), expected_b, atol=1e-9)


def test_rows_without_a_score_change_nothing():
    table_bf, score_b, person_b = linear_scores(60)
    known = zone_ridge(table_bf[:40], score_b[:40], person_b[:40])(table_bf[50:])
    unknown = np.concatenate([score_b[:40], np.full(10, np.nan)])
    np.testing.assert_allclose(zone_ridge(table_bf[:50], unknown, person_b[:50])(table_bf[50:]), known)


def test_scores_stay_on_their_scale():
    table_bf, score_b, person_b = linear_scores(60)
    predicted_b = zone_ridge(table_bf, score_b, person_b)(100 * table_bf)
    assert predicted_b.min() == 0
    assert predicted_b.max() == 1


def test_of_one_person_only_the_mean_is_learnt():
    table_bf, score_b, _ = linear_scores(4)
    predicted_b = zone_ridge(table_bf, score_b, np.zeros(4))(table_bf)
    np.testing.assert_allclose(predicted_b, score_b.mean())
    assert predicted_b[0] == pytest.approx(0.5, abs=0.2)
