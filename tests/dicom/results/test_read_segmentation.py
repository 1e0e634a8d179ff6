"""Segmentations as other software writes them (highdicom, without this project), read onto the grid of their CT."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Series
from kicc_ml.dicom.results.read_segmentation import read_masks_on_grid, read_segments
from kicc_ml.dicom.volume.read import read_volume
from tests.support.phantom_files import write_series
from tests.support.phantoms import AXIAL, CORONAL, FEET_FIRST, Grid, even_mm, rotated
from tests.support.segmentations import GRID, STUDY, TISSUE, ball, described, series_of, true_mask, write_segmentation


def written(tmp_path: Path, grid: Grid = GRID, label: str = "lesion", **more: Any) -> tuple[Path, Series]:
    paths = write_series(tmp_path / "ct" / "seoul", grid, **STUDY)
    mask_nrcs = ball(grid.points_mm)[..., None].astype(np.uint8)
    path = write_segmentation(tmp_path / "seg.dcm", paths, mask_nrcs, [described(1, label)], **more)
    return path, series_of(tmp_path / "ct")


@pytest.mark.parametrize("orientation", [AXIAL, FEET_FIRST, CORONAL, rotated(25, 20)], ids=str)
def test_pixels_find_their_voxels_whatever_the_order_of_frames_and_axes(tmp_path: Path, orientation: tuple) -> None:
    path, series = written(tmp_path, Grid(even_mm(), orientation))
    found = read_masks_on_grid(read_segments(path), series, read_volume(series))
    assert set(found) == {"lesion"}
    np.testing.assert_array_equal(found["lesion"], true_mask(series))


@pytest.mark.parametrize("kind", ["FRACTIONAL", "LABELMAP"])
def test_a_fractional_file_of_two_values_and_a_label_map_are_masks_too(tmp_path: Path, kind: str) -> None:
    path, series = written(tmp_path, kind=kind)
    found = read_masks_on_grid(read_segments(path), series, read_volume(series))
    np.testing.assert_array_equal(found["lesion"], true_mask(series))


def test_shares_are_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "ct" / "seoul", GRID, **STUDY)
    share_nrcs = ball(GRID.points_mm)[..., None] * np.linspace(0.2, 1, len(paths))[:, None, None, None]
    path = write_segmentation(tmp_path / "seg.dcm", paths, share_nrcs, [described(1, "lesion")], "FRACTIONAL")
    series = series_of(tmp_path / "ct")
    with pytest.raises(UserError, match=r"seg\.dcm: holds shares"):
        read_masks_on_grid(read_segments(path), series, read_volume(series))


def test_segments_are_known_by_label_or_by_code_old_codes_too(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "ct" / "seoul", GRID, **STUDY)
    ball_nrc = ball(GRID.points_mm)
    parts = [ball_nrc & (np.arange(ball_nrc.shape[2]) % 4 == part) for part in range(4)]
    segments = [
        described(1, "Segment_1", codes.SCT.Lesion),
        described(2, "Left_Lung"),
        described(3, "Segment_3", Code("T-28000", "SRT", "Lung")),
        described(4, "Consolidation"),
    ]
    path = write_segmentation(tmp_path / "seg.dcm", paths, np.stack(parts, axis=-1).astype(np.uint8), segments)
    series = series_of(tmp_path / "ct")
    found = read_masks_on_grid(read_segments(path), series, read_volume(series))
    assert set(found) == {"lesion", "left_lung", "lung", "consolidation"}
    np.testing.assert_array_equal(np.sum(list(found.values()), axis=0), true_mask(series))


@pytest.mark.parametrize(
    ("label", "kind"), [("heart", TISSUE), ("Segment_1", TISSUE), ("lung", codes.SCT.Lesion)], ids=str
)
def test_a_segment_that_is_no_region_or_says_two_things_is_named_not_guessed(
    tmp_path: Path, label: str, kind: Code
) -> None:
    paths = write_series(tmp_path / "ct", GRID, **STUDY)
    mask_nrcs = ball(GRID.points_mm)[..., None].astype(np.uint8)
    path = write_segmentation(tmp_path / "seg.dcm", paths, mask_nrcs, [described(1, label, kind)])
    segments = read_segments(path)
    assert segments.strange == (f"{label} (coded as {kind.meaning})",)
    assert not segments.region_of


@pytest.mark.parametrize(("tag", "uid"), [("SeriesInstanceUID", "1.2.3.1.2"), ("FrameOfReferenceUID", "1.2.3.8")])
def test_a_segmentation_of_another_series_or_frame_of_reference_is_refused(tmp_path: Path, tag: str, uid: str) -> None:
    path, _ = written(tmp_path)
    write_series(tmp_path / "other" / "seoul", GRID, **(STUDY | {tag: uid}))
    other = series_of(tmp_path / "other")
    with pytest.raises(UserError, match="another series or in another frame of reference"):
        read_masks_on_grid(read_segments(path), other, read_volume(other))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"pixel_spacing_mm": (4.0, 3.6)}, "another grid"),
        ({"offsets_mm": tuple(offset + 1.2 for offset in even_mm())}, "another grid"),
        ({"offsets_mm": tuple(offset + 60 for offset in even_mm())}, "beyond the CT"),
    ],
    ids=["coarser pixels", "between two slices", "beside the volume"],
)
def test_another_grid_is_refused_and_never_interpolated(tmp_path: Path, changed: dict, told: str) -> None:
    path, _ = written(tmp_path)
    write_series(tmp_path / "moved" / "seoul", Grid(**({"offsets_mm": even_mm()} | changed)), **STUDY)
    moved = series_of(tmp_path / "moved")
    with pytest.raises(UserError, match=told):
        read_masks_on_grid(read_segments(path), moved, read_volume(moved))


def test_a_file_that_is_no_segmentation_is_refused_by_name(tmp_path: Path) -> None:
    (image, *_) = write_series(tmp_path / "ct", GRID, **STUDY)
    with pytest.raises(UserError, match=f"{image.name} is not a DICOM Segmentation"):
        read_segments(image)
    (tmp_path / "text.dcm").write_text("no DICOM")
    with pytest.raises(UserError, match=r"text\.dcm: cannot be read as DICOM"):
        read_segments(tmp_path / "text.dcm")
