"""Outlines of planning systems become the voxels within them, by patient coordinates."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 # its usual name

from kicc_ml.core.errors import UserError
from kicc_ml.dicom.results.drawn_masks import read_drawn_masks, read_header
from kicc_ml.dicom.volume.read import read_volume
from tests.support.phantom_files import write_series
from tests.support.phantoms import AXIAL, CORONAL, FEET_FIRST, Grid, even_mm, rotated
from tests.support.segmentations import GRID, STUDY, series_of, true_mask
from tests.support.structures import circles_of_ball, on_slice, write_structures

#: Rows 3 to 8 and columns 5 to 9 of a slice: corners half a pixel outside of the centres.
SQUARE = [(2.5, 4.5), (2.5, 9.5), (8.5, 9.5), (8.5, 4.5)]
HOLE = [(4.5, 5.5), (4.5, 8.5), (6.5, 8.5), (6.5, 5.5)]


def lay(tmp_path: Path, grid: Grid = GRID) -> Path:
    """The folder of a CT; its first slice as a file is handed back."""
    return write_series(tmp_path / "ct", grid, **STUDY)[0]


def masks(tmp_path: Path, path: Path, labels=None) -> dict[str, np.ndarray]:
    series = series_of(tmp_path / "ct")
    return read_drawn_masks(path, labels or {}, series, read_volume(series))


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, FEET_FIRST, rotated(20, 35)])
def test_circles_on_slices_in_any_plane_become_the_ball_they_were_cut_from(tmp_path: Path, orientation):
    grid = Grid(even_mm(), orientation=orientation)
    path = write_structures(tmp_path / "rt.dcm", lay(tmp_path, grid), {"Lesion": circles_of_ball(grid)})
    mask_xyz = masks(tmp_path, path)["lesion"]
    truth_xyz = true_mask(series_of(tmp_path / "ct"))
    assert truth_xyz.sum() > 200
    np.testing.assert_array_equal(mask_xyz, truth_xyz)


def test_voxels_of_an_outline_are_where_simpleitk_finds_their_points(tmp_path: Path):
    files = write_series(tmp_path / "ct", GRID, **STUDY)
    image = sitk.ReadImage([str(path) for path in files])
    path = write_structures(tmp_path / "rt.dcm", files[0], {"lesion": [on_slice(GRID, 7, SQUARE)]})
    volume = read_volume(series_of(tmp_path / "ct"))
    index = np.argwhere(masks(tmp_path, path)["lesion"])
    points_ras = index @ volume.affine_ras[:3, :3].T + volume.affine_ras[:3, 3]
    found = {tuple(image.TransformPhysicalPointToIndex((-x, -y, z))) for x, y, z in points_ras.tolist()}
    assert found == {(x, y, 7) for x in range(5, 10) for y in range(3, 9)}


def test_an_outline_holds_its_rows_and_columns_on_its_slice(tmp_path: Path):
    path = write_structures(tmp_path / "rt.dcm", lay(tmp_path), {"Lung_L": [on_slice(GRID, 4, SQUARE)]})
    marked = np.argwhere(masks(tmp_path, path)["left_lung"])
    assert {(5, 9), (3, 8), (4, 4)} == {(int(axis.min()), int(axis.max())) for axis in marked.T}
    assert len(marked) == 5 * 6


def test_an_inner_outline_cuts_a_hole_and_one_within_it_fills_it(tmp_path: Path):
    outlines = [on_slice(GRID, 4, corners) for corners in (SQUARE, HOLE)]
    one = write_structures(tmp_path / "hole.dcm", lay(tmp_path), {"lesion": outlines})
    assert masks(tmp_path, one)["lesion"].sum() == 5 * 6 - 3 * 2
    two = write_structures(
        tmp_path / "xor.dcm", lay(tmp_path), {"lesion": [(one, "CLOSEDPLANAR_XOR") for one in outlines]}
    )
    assert masks(tmp_path, two)["lesion"].sum() == 5 * 6 - 3 * 2
    keyhole = [*SQUARE, SQUARE[0], HOLE[0], *HOLE[::-1], SQUARE[0]]
    three = write_structures(tmp_path / "key.dcm", lay(tmp_path), {"lesion": [on_slice(GRID, 4, keyhole)]})
    assert masks(tmp_path, three)["lesion"].sum() == 5 * 6 - 3 * 2


def test_structures_of_one_region_are_joined_and_others_are_named(tmp_path: Path):
    structures = {
        "GGO": [on_slice(GRID, 4, SQUARE)],
        "ground glass": [on_slice(GRID, 5, SQUARE)],
        "Heart": [on_slice(GRID, 6, SQUARE)],
    }
    path = write_structures(tmp_path / "rt.dcm", lay(tmp_path), structures)
    assert read_header(path, {}).strange == ("Heart",)
    found = masks(tmp_path, path)
    assert list(found) == ["ground_glass"]
    assert found["ground_glass"].sum(axis=(0, 1)).nonzero()[0].tolist() == [4, 5]


def test_numbers_of_structures_may_be_stated_in_place_of_names(tmp_path: Path):
    structures = {"GTV-1": [on_slice(GRID, 4, SQUARE)], "x": [on_slice(GRID, 5, SQUARE)]}
    path = write_structures(tmp_path / "rt.dcm", lay(tmp_path), structures)
    assert masks(tmp_path, path) == {}
    assert {name: int(mask.sum()) for name, mask in masks(tmp_path, path, {1: "lesion"}).items()} == {"lesion": 30}


def test_points_and_open_lines_mark_nothing(tmp_path: Path):
    square = on_slice(GRID, 4, SQUARE)
    outlines = [(square[:1], "POINT"), (square, "OPEN_PLANAR")]
    path = write_structures(tmp_path / "rt.dcm", lay(tmp_path), {"lesion": outlines})
    assert masks(tmp_path, path)["lesion"].sum() == 0


@pytest.mark.parametrize(("off_mm", "refused"), [(0.2, False), (1.5, True)])
def test_an_outline_between_slices_is_refused_and_rounding_is_not(tmp_path: Path, off_mm: float, refused: bool):
    path = write_structures(tmp_path / "rt.dcm", lay(tmp_path), {"lesion": [on_slice(GRID, 4, SQUARE, off_mm)]})
    if refused:
        with pytest.raises(UserError, match=r"rt\.dcm: an outline does not lie on a slice"):
            masks(tmp_path, path)
    else:
        assert masks(tmp_path, path)["lesion"].sum() == 30


def test_an_outline_beyond_the_ct_or_of_another_series_is_refused(tmp_path: Path):
    first = lay(tmp_path)
    beyond = on_slice(GRID, 19, SQUARE, off_mm=3.0)
    with pytest.raises(UserError, match="reaches beyond the CT"):
        masks(tmp_path, write_structures(tmp_path / "rt.dcm", first, {"lesion": [beyond]}))
    other = write_series(tmp_path / "other", GRID, **{**STUDY, "SeriesInstanceUID": "1.2.3.7"})[0]
    with pytest.raises(UserError, match="was drawn on another series"):
        masks(tmp_path, write_structures(tmp_path / "rt.dcm", other, {"lesion": [on_slice(GRID, 4, SQUARE)]}))


def test_a_file_of_another_kind_is_refused(tmp_path: Path):
    first = lay(tmp_path)
    with pytest.raises(UserError, match="is not a DICOM Segmentation"):
        read_header(first, {})
    (tmp_path / "text.dcm").write_text("no DICOM")
    with pytest.raises(UserError, match=r"text\.dcm: cannot be read as DICOM"):
        read_header(tmp_path / "text.dcm", {})


@pytest.mark.filterwarnings("ignore:Invalid value for VR DS")  # pydicom, of what is written here on purpose
@pytest.mark.parametrize("points", [["1", "2"], ["nan", "1", "2"] * 3, ["1e400", "0", "0"] * 3])
def test_an_outline_of_damaged_points_is_refused_by_file(tmp_path: Path, points: list[str]):
    path = write_structures(tmp_path / "rt.dcm", lay(tmp_path), {"lesion": [on_slice(GRID, 4, SQUARE)]})
    image = pydicom.dcmread(path)
    image.ROIContourSequence[0].ContourSequence[0].ContourData = points
    image.save_as(path)
    with pytest.raises(UserError, match=r"rt\.dcm: its segments or outlines cannot be read .*export it again"):
        masks(tmp_path, path)


def test_a_structure_without_a_number_is_refused_by_file(tmp_path: Path):
    path = write_structures(tmp_path / "rt.dcm", lay(tmp_path), {"lesion": [on_slice(GRID, 4, SQUARE)]})
    image = pydicom.dcmread(path)
    del image.StructureSetROISequence[0].ROINumber
    image.save_as(path)
    with pytest.raises(UserError, match=r"rt\.dcm: its segments or outlines cannot be read"):
        read_header(path, {})
