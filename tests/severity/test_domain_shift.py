"""Scans like those of the training hospitals are within the limits; others are flagged with the reason."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from kicc_ml.core.types import Volume
from kicc_ml.severity.domain_shift import (
    UnsuitableImage,
    check_hounsfield,
    check_lung_fields,
    check_lungs,
    compute_involved_interval,
    fit_reference_distribution,
)
from tests.support.box_chest import AFFINE_RAS, chest


def make_rows(hospitals: int = 6, each: int = 8) -> pd.DataFrame:
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


def make_typical_features(**changes: float | None) -> Mapping[str, float | None]:
    plain: dict[str, float | None] = {
        **{"slice_mm": 2.0, "pixel_mm": 0.7, "lung_ml": 4200.0, "lung_hu": -845.0, "soft_hu": 42.0},
        **{"noise_hu": 17.0, "cut_percent": 1.0, "side_percent": 54.0},
    }
    return plain | changes


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
    with pytest.raises(UnsuitableImage, match="not Hounsfield units"):
        check_hounsfield(Volume(change(volume.array), AFFINE_RAS, "hu"))


def test_lung_fields_of_a_hundredth_of_an_image_are_none():
    lung = np.zeros((100, 100, 1), bool)
    lung[20:40, 10:60] = True
    check_lung_fields(lung)
    lung[:, 15:] = False
    with pytest.raises(UnsuitableImage, match="no lung fields were found"):
        check_lung_fields(lung)


def test_no_lungs_are_refused():
    check_lungs(4000)
    with pytest.raises(UnsuitableImage, match="no lungs were found"):
        check_lungs(120)


def test_a_typical_scan_is_within():
    assert fit_reference_distribution(make_rows()).find_out_of_range(make_typical_features()) == ()


@pytest.mark.parametrize(
    "changes",
    [
        *({"noise_hu": 120.0}, {"slice_mm": 20.0}, {"lung_ml": 12000.0}, {"cut_percent": 90.0}),
        *({"soft_hu": -60.0}, {"lung_hu": -500.0}),
    ],
    ids=str,
)
def test_a_scan_that_is_unlike_them_is_outside_and_the_reason_has_value_and_range(changes):
    (unlike,) = fit_reference_distribution(make_rows()).find_out_of_range(make_typical_features(**changes))
    assert {unlike.feature: unlike.value} == changes
    assert unlike.low <= make_typical_features()[unlike.feature] <= unlike.high
    assert not unlike.low <= unlike.value <= unlike.high


def test_what_is_not_known_is_not_held_against_a_scan():
    assert (
        fit_reference_distribution(make_rows()).find_out_of_range(
            make_typical_features(slice_mm=None, pixel_mm=float("nan"))
        )
        == ()
    )


def test_few_good_scans_of_held_out_hospitals_are_called_outside():
    """Leave one hospital out: at most 5 % of good scans may be flagged."""
    rows = make_rows(hospitals=10, each=20)
    flagged = []
    for site in rows["site"].unique():
        reference = fit_reference_distribution(rows[rows["site"] != site])
        held_out = rows[rows["site"] == site].drop(columns="site").to_dict("records")
        flagged += [bool(reference.find_out_of_range(row)) for row in held_out]
    assert np.mean(flagged) <= 0.05


def test_cases_of_which_no_feature_is_known_are_no_reference():
    """As in a run of an earlier version, or of scans in other units."""
    assert fit_reference_distribution(make_rows()[["site"]]) is None
    assert fit_reference_distribution(make_rows()[["site"]].assign(noise_hu=np.nan)) is None
    assert fit_reference_distribution(pd.DataFrame()) is None


def test_two_hospitals_cannot_say_what_a_third_looks_like():
    assert fit_reference_distribution(make_rows(hospitals=2)) is None
    assert compute_involved_interval(10, [5, 6], [5, 6], ["a", "b"]) is None


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
            low, high = compute_involved_interval(percent, predicted[~held], truth[~held], sites[~held])
            covered.append(low <= true <= high)
            widths.append(high - low)
    assert 0.85 <= np.mean(covered) <= 0.96
    assert np.median(widths) < 25


def test_a_large_hospital_does_not_outvote_the_others():
    """One hospital of 1,000 perfect scans among five small ones that are off: the interval is not a point."""
    predicted = np.array([9.0] * 1000 + [4.0] * 25)
    truth = np.full(1025, 9.0)
    sites = ["large"] * 1000 + [f"small{index % 5}" for index in range(25)]
    low, high = compute_involved_interval(9.0, predicted, truth, sites)
    assert high - low > 5
