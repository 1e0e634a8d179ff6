"""The montage of a case: slices, outlines, sides and words."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kicc_ml.pictures.montage import AXIAL_COLUMNS, FOOTER_PX, GAP_PX, HEADER_PX, TILE_PX, draw_montage, write_picture
from kicc_ml.severity.grade import grade

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def chest() -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """CT as scanners store it, x to the patient's left, y to the back; a lesion right, posterior, low."""
    masks = {name: np.zeros((60, 50, 40), bool) for name in ("left_lung", "right_lung", "lesion")}
    masks["right_lung"][8:26, 10:40, 5:35] = True
    masks["left_lung"][34:52, 10:40, 5:35] = True
    masks["lesion"][10:20, 28:38, 6:14] = True
    hu = np.where(masks["right_lung"] | masks["left_lung"], -850.0, 40.0)
    return hu, masks, LPS_TO_RAS @ np.diag([4.0, 4.0, 6.0, 1.0])


def orange(picture: np.ndarray) -> np.ndarray:
    red, green, blue = (picture[..., channel].astype(int) for channel in range(3))
    return (red - blue > 60) & (red > green)


def tile(picture: np.ndarray, place: int) -> np.ndarray:
    height = int((picture.shape[0] - HEADER_PX - 30) / 2) - 4
    row, column = divmod(place, AXIAL_COLUMNS)
    top, left = HEADER_PX + row * (height + 4), column * (TILE_PX + 4)
    return picture[top : top + height, left : left + TILE_PX]


@pytest.mark.parametrize("turned", [False, True])
def test_the_patients_right_is_on_the_left_and_the_back_below(turned: bool) -> None:
    hu, masks, affine = chest()
    if turned:  # the same patient stored from head to foot and mirrored
        hu, masks = hu[::-1, :, ::-1], {name: mask[::-1, :, ::-1] for name, mask in masks.items()}
        affine = affine @ np.diag([-1.0, 1.0, -1.0, 1.0])
    picture = np.asarray(draw_montage(hu, masks, affine, "case"))
    assert not orange(tile(picture, 0)).any()  # highest level: no lesion
    rows, columns = np.nonzero(orange(tile(picture, 7)))
    assert columns.mean() < TILE_PX / 2 - 20
    assert rows.mean() > tile(picture, 7).shape[0] / 2
    coronal = picture[HEADER_PX:-30, AXIAL_COLUMNS * (TILE_PX + 4) :]
    rows, columns = np.nonzero(orange(coronal))
    assert columns.mean() < coronal.shape[1] / 2
    assert rows.mean() > coronal.shape[0] / 2


def test_a_scan_without_lung_or_spacing_still_gives_a_picture() -> None:
    empty = {"lesion": np.zeros((20, 20, 6), bool)}
    picture = draw_montage(np.zeros((20, 20, 6)), empty, np.eye(4), "case", None, "arbitrary", None, False)
    assert picture.size[0] > AXIAL_COLUMNS * TILE_PX


def test_a_scan_alone_is_one_row_of_its_own_grey_values() -> None:
    hu, _, affine = chest()
    picture = np.asarray(draw_montage(hu, {}, affine, "case")).astype(int)
    height = picture.shape[0] - HEADER_PX - FOOTER_PX
    assert height == round(TILE_PX * 50 / 60)
    second = picture[HEADER_PX : HEADER_PX + height, TILE_PX + GAP_PX : 2 * TILE_PX + GAP_PX]
    assert (second[..., 0] == second[..., 2]).all()
    lung, mediastinum = second[height // 2, TILE_PX * 17 // 60, 0], second[height // 2, TILE_PX // 2, 0]
    assert (lung, mediastinum) == pytest.approx((255 * 500 / 1500, 255 * 1390 / 1500), abs=2)


def test_sides_are_marked_only_where_the_geometry_is_stated() -> None:
    hu, masks, affine = chest()
    corners = []
    for known in (True, False):
        picture = draw_montage(hu, masks, affine, "case", None, "hu", None, known)
        corners.append(np.asarray(picture)[HEADER_PX : HEADER_PX + 20, : TILE_PX // 8])
    assert (corners[0] == 255).any()
    assert not (corners[1] == 255).any()


def test_nothing_but_the_picture_is_left_in_the_folder(tmp_path: Path) -> None:
    hu, masks, affine = chest()
    sheet = draw_montage(hu, masks, affine, "case", grade(masks, affine, hu))
    write_picture(sheet, tmp_path / "m.png")
    assert [path.name for path in tmp_path.iterdir()] == ["m.png"]
    assert Image.open(tmp_path / "m.png").size == sheet.size
