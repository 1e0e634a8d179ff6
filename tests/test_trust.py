"""Scans like the training hospitals' are within, scans that are not are named with the reason."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from kicc_ml.records import Volume
from kicc_ml.trust import (
    NotForThisModel,
    check_hounsfield,
    check_lungs,
    involved_interval,
    reference_of,
    scan_features,
)

AFFINE_RAS = np.diag([-3.0, -3.0, 5.0, 1.0])


def chest(noise_hu: float = 15.0, seed: int = 0) -> tuple[Volume, dict[str, np.ndarray]]:
    """A box of soft tissue in air with two lungs, 300 x 240 x 250 mm."""
    right, left = np.zeros((2, 100, 80, 50), bool)
    right[15:45, 20:60, 5:45] = True
    left[55:83, 20:60, 5:45] = True
    hu = np.full((100, 80, 50), -1000.0)
    hu[5:95, 8:72] = 40
    hu[right | left] = -850
    hu += np.random.default_rng(seed).normal(0, noise_hu, hu.shape)
    lesion = np.zeros_like(right)
    return Volume(hu.round().astype(np.int16), AFFINE_RAS, "hu"), {
        "right_lung": right,
        "left_lung": left,
        "lesion": lesion,
    }


def rows_of(hospitals: int = 6, each: int = 8) -> pd.DataFrame:
    """Scans of hospitals that differ in noise, slice distance and patients."""
    rng = np.random.default_rng(3)
    rows = []
    for hospital in range(hospitals):
        noise, distance = rng.uniform(10, 25), rng.choice([1.0, 3.0, 5.0])
        for _ in range(each):
            rows.append(
                {
                    "site": f"h{hospital}",
                    "slice_mm": distance,
                    "pixel_mm": rng.uniform(0.6, 0.85),
                    "lung_ml": rng.normal(4500, 900),
                    "lung_hu": rng.normal(-850, 15),
                    "soft_hu": rng.normal(40, 5),
                    "noise_hu": rng.normal(noise, 2),
                    "cut_percent": abs(rng.normal(0, 2)),
                    "side_percent": rng.normal(53, 2),
                }
            )
    return pd.DataFrame(rows)


def typical(**changes: float | None) -> Mapping[str, float | None]:
    plain: dict[str, float | None] = {
        **{"slice_mm": 2.0, "pixel_mm": 0.7, "lung_ml": 4200.0, "lung_hu": -845.0, "soft_hu": 42.0},
        **{"noise_hu": 17.0, "cut_percent": 1.0, "side_percent": 54.0},
    }
    return plain | changes


def test_features_are_what_was_put_into_the_phantom():
    volume, masks = chest(noise_hu=15)
    features = scan_features(volume, masks)
    assert features["noise_hu"] == pytest.approx(15, rel=0.05)
    assert features["soft_hu"] == pytest.approx(40, abs=1)
    assert features["lung_hu"] == pytest.approx(-850, abs=1)
    assert features["lung_ml"] == pytest.approx((30 + 28) * 40 * 40 * 45 / 1000)
    assert features["side_percent"] == pytest.approx(100 * 30 / 58)
    assert (features["slice_mm"], features["pixel_mm"], features["cut_percent"]) == (5, 3, 0)


def test_a_scan_that_ends_within_the_lungs_is_cut():
    volume, masks = chest()
    below = {name: mask[:, :, 20:] for name, mask in masks.items()}
    assert scan_features(Volume(volume.array[:, :, 20:], AFFINE_RAS, "hu"), below)["cut_percent"] == 100


@pytest.mark.parametrize(
    "change",
    [
        lambda hu: -hu,
        lambda hu: (hu + 1024) // 10,
        lambda hu: np.full_like(hu, -1000),
        lambda hu: hu + 2000,
    ],
    ids=["inverted", "8 bit", "nothing but air", "no intercept"],
)
def test_values_that_are_no_hounsfield_units_are_refused(change):
    volume, _ = chest()
    check_hounsfield(volume)
    with pytest.raises(NotForThisModel, match="not Hounsfield units"):
        check_hounsfield(Volume(change(volume.array), AFFINE_RAS, "hu"))


def test_no_lungs_are_refused():
    check_lungs(4000)
    with pytest.raises(NotForThisModel, match="no lungs were found"):
        check_lungs(120)


def test_a_typical_scan_is_within():
    assert reference_of(rows_of()).reasons(typical()) == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"noise_hu": 120.0}, "noise"),
        ({"slice_mm": 20.0}, "slice distance"),
        ({"lung_ml": 12000.0}, "lung volume"),
        ({"cut_percent": 90.0}, "cut off"),
        ({"soft_hu": -60.0}, "soft tissue"),
        ({"lung_hu": -500.0}, "aerated lung"),
    ],
)
def test_a_scan_that_is_unlike_them_is_outside_and_the_reason_names_value_and_range(changes, word):
    (reason,) = reference_of(rows_of()).reasons(typical(**changes))
    assert word in reason
    assert "in training" in reason


def test_what_is_not_known_is_not_held_against_a_scan():
    assert reference_of(rows_of()).reasons(typical(slice_mm=None, pixel_mm=float("nan"))) == []


def test_few_good_scans_of_held_out_hospitals_are_called_outside():
    """Leave one hospital out: at most 5 % of good scans may be flagged."""
    rows = rows_of(hospitals=10, each=20)
    flagged = []
    for site in rows["site"].unique():
        reference = reference_of(rows[rows["site"] != site])
        held_out = rows[rows["site"] == site].drop(columns="site").to_dict("records")
        flagged += [bool(reference.reasons(row)) for row in held_out]
    assert np.mean(flagged) <= 0.05


def test_two_hospitals_cannot_say_what_a_third_looks_like():
    assert reference_of(rows_of(hospitals=2)) is None
    assert involved_interval(10, [5, 6], [5, 6], ["a", "b"]) is None


def test_the_interval_covers_nine_in_ten_of_new_hospitals_scans():
    """Simulated hospitals with a bias of their own; each is judged by the others."""
    rng = np.random.default_rng(11)
    covered, widths = [], []
    for _ in range(60):
        sites = np.repeat([f"h{index}" for index in range(12)], rng.integers(8, 40, 12))
        bias = dict(zip(np.unique(sites), rng.normal(0, 0.25, 12), strict=True))
        truth = np.clip(rng.gamma(1.2, 14, len(sites)), 0, 90)
        root = np.sqrt(truth) + [bias[site] for site in sites] + rng.normal(0, 0.35, len(sites))
        predicted = np.clip(root, 0, None) ** 2
        held = sites == "h3"
        for percent, true in zip(predicted[held], truth[held], strict=True):
            low, high = involved_interval(percent, predicted[~held], truth[~held], sites[~held])
            covered.append(low <= true <= high)
            widths.append(high - low)
    assert 0.85 <= np.mean(covered) <= 0.96
    assert np.median(widths) < 25


def test_a_large_hospital_does_not_outvote_the_others():
    """One hospital of 1,000 perfect scans among five small ones that are off: the interval is not a point."""
    predicted = np.array([9.0] * 1000 + [4.0] * 25)
    truth = np.full(1025, 9.0)
    sites = ["large"] * 1000 + [f"small{index % 5}" for index in range(25)]
    low, high = involved_interval(9.0, predicted, truth, sites)
    assert high - low > 5


def test_blurring_is_less_noise():
    volume, masks = chest(noise_hu=30)
    smooth = Volume(gaussian_filter(volume.array.astype(np.float32), 1), AFFINE_RAS, "hu")
    assert scan_features(smooth, masks)["noise_hu"] < scan_features(volume, masks)["noise_hu"]
