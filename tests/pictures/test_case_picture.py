"""A radiograph and its findings, as it hangs."""

import numpy as np

from kicc_ml.core.types import Volume
from kicc_ml.pictures.case_picture import (
    PANEL_PX,
    describe_radiograph_severity,
    draw_case_picture,
    draw_radiograph_overlay,
)
from kicc_ml.pictures.montage import HEADER_PX, LESION_RGB
from kicc_ml.severity.grade import grade_radiograph

FRONTAL = np.array([[-1.0, 0, 0, 0], [0, 0, -1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def masks() -> dict[str, np.ndarray]:
    """On a picture of 40 x 30: the right lung on its left, of which the lowest quarter is opacified."""
    empty = np.zeros((40, 30), bool)
    right, left, lesion = empty.copy(), empty.copy(), empty.copy()
    right[4:16, 4:24], left[24:36, 4:24], lesion[4:16, 19:24] = True, True, True
    return {"lung": right | left, "right_lung": right, "left_lung": left, "lesion": lesion}


def graded(found: dict[str, np.ndarray]):
    return grade_radiograph({region: mask[..., None] for region, mask in found.items()}, FRONTAL)


def test_shares_are_of_each_lung_field_and_its_thirds():
    severity = graded(masks())
    assert severity.lung_percent == {"right": 25.0, "left": 0.0}
    assert severity.percent_involved == 12.5
    assert severity.zone_percent["right_upper"] == severity.zone_percent["left_lower"] == 0.0
    assert severity.zone_percent["right_lower"] > 70


def test_a_quarter_of_one_lung_is_two_points_of_geographic_extent():
    severity = graded(masks())
    assert severity.geographic_extent == 2  # [25, 50) is 2, none is 0
    assert severity.score is None
    assert severity.lung_ml is severity.lesion_ml is severity.lesion_g is None
    assert any("shadow" in reason for reason in severity.reasons)


def test_lungs_that_are_not_told_apart_have_no_geographic_extent_and_say_so():
    severity = graded({region: mask for region, mask in masks().items() if region in ("lung", "lesion")})
    assert severity.percent_involved == 12.5
    assert severity.geographic_extent is None
    assert any(reason.startswith("geographic_extent") for reason in severity.reasons)


def test_the_lesion_is_painted_on_the_right_panel_alone_and_where_it_lies():
    grey = np.full((40, 30), 100.0, np.float32)
    grey[0], grey[-1] = 0, 200
    picture = np.asarray(draw_radiograph_overlay(grey, masks(), "case", graded(masks()))).astype(int)
    orange = (picture[..., 0] - picture[..., 2] > 60)[HEADER_PX:]
    scale = PANEL_PX / 40
    painted = orange[: round(30 * scale)]
    assert not painted[:, :PANEL_PX].any()
    x, y = PANEL_PX + 4 + round(10 * scale), round(21.5 * scale)
    assert painted[y, x]
    assert not painted[round(10 * scale), x]
    assert LESION_RGB[0] > LESION_RGB[2]


def test_a_radiograph_stands_beside_its_map_and_alone_it_is_one_panel():
    grey = np.arange(40 * 30, dtype=np.float32).reshape(40, 30)
    volume = Volume(grey[..., None], FRONTAL, "arbitrary")
    thick = {region: mask[..., None] for region, mask in masks().items()}
    both = draw_case_picture("case", volume, thick, "stated", graded(masks()))
    assert both.tobytes() == draw_radiograph_overlay(grey, masks(), "case", graded(masks())).tobytes()
    assert draw_case_picture("case", volume, {}, "stated").width == PANEL_PX


def test_words_give_both_lungs():
    parts = describe_radiograph_severity(graded(masks())).split("  |  ")
    assert parts == ["12 % of the lung fields opacified", "right 25 %", "left 0 %", "geographic extent 2 of 8"]
