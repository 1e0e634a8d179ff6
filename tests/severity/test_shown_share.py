"""A share is shown so that a reader gives it the points that it has."""

import numpy as np
import pytest

from kicc_ml.severity.grade import ZONE_CUT_OFFS_PERCENT, compute_zone_points, format_share


@pytest.mark.parametrize(
    ("percent", "shown"),
    [
        *[(49.83, "49.8"), (49.97, "49.97"), (50.0, "50"), (50.4, "50"), (0.5, "0.5"), (0.49, "0"), (0.0, "0")],
        *[(24.6, "24.6"), (74.99, "74.99"), (12.3, "12"), (99.9, "100"), (49.999999, "<50")],
    ],
)
def test_a_share_beside_a_cut_off_is_shown_on_its_side(percent: float, shown: str) -> None:
    assert format_share(percent) == shown


def test_every_shown_share_has_the_points_of_the_exact_one() -> None:
    beside = [cut_off + step for cut_off in (0.5, *ZONE_CUT_OFFS_PERCENT) for step in np.linspace(-1, 1, 4001)]
    for percent in (max(0.0, one) for one in beside):
        shown = format_share(percent)
        assert shown.startswith("<") or compute_zone_points(float(shown)) == compute_zone_points(percent), percent
        assert not shown.startswith("<") or percent < float(shown[1:])
