"""Which file is of which case."""

from pathlib import Path

import numpy as np
import pytest

from kicc_ml.cohort.predicted_masks import list_files_by_case, predicted_masks
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case
from kicc_ml.dicom.volume.read import read_volume
from tests.support.phantom_files import write_series
from tests.support.segmentations import (
    GRID,
    STUDY,
    ball,
    described,
    series_of,
    true_mask,
    write_segmentation,
)


@pytest.fixture
def cases(tmp_path: Path) -> dict[str, Case]:
    """Two patients with a CT of the same geometry."""
    found = {}
    for number in (1, 2):
        own = {"SeriesInstanceUID": f"1.2.3.{number}", "FrameOfReferenceUID": f"1.2.4.{number}"}
        write_series(tmp_path / f"ct{number}" / "seoul", GRID, **(STUDY | own))
        found[f"c{number}"] = Case(f"c{number}", "seoul", f"p{number}", ct=series_of(tmp_path / f"ct{number}"))
    return found


def segmented(path: Path, case: Case, *labels: str) -> Path:
    assert case.ct is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    images = sorted(case.ct.files, reverse=True)  # file names run against the slices of the grid
    mask_nrc = ball(GRID.points_mm)
    parts = [mask_nrc & (np.arange(mask_nrc.shape[2]) % len(labels) == part) for part in range(len(labels))]
    segments = [described(number, label) for number, label in enumerate(labels, start=1)]
    return write_segmentation(path, images, np.stack(parts, axis=-1).astype(np.uint8), segments)


def test_a_segmentation_is_of_the_case_it_is_named_after_lies_under_or_refers_to(
    tmp_path: Path, cases: dict[str, Case]
) -> None:
    for name in ("c1.dcm", "c1/1.dcm", "export/1.2.840.dcm"):
        path = segmented(tmp_path / "net" / name, cases["c1"], "lesion")
        assert list_files_by_case(tmp_path / "net", cases) == [("c1", path)]
        path.unlink()


def test_a_segmentation_under_the_name_of_another_patient_is_refused(tmp_path: Path, cases: dict[str, Case]) -> None:
    path = segmented(tmp_path / "net" / "c2.dcm", cases["c1"], "lesion")
    volume = read_volume(cases["c2"].ct)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="another series"):
        predicted_masks(cases["c2"], path, volume)


def test_ground_glass_and_consolidation_are_the_lesion_and_one_alone_is_not(
    tmp_path: Path, cases: dict[str, Case]
) -> None:
    case, volume = cases["c1"], read_volume(cases["c1"].ct)  # type: ignore[arg-type]
    both = segmented(tmp_path / "both.dcm", case, "GGO", "consolidation")
    np.testing.assert_array_equal(predicted_masks(case, both, volume)["lesion"], true_mask(case.ct))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no segment of the lesion"):
        predicted_masks(case, segmented(tmp_path / "one.dcm", case, "consolidation"), volume)


def test_all_segments_that_are_no_region_are_named_in_one_error(tmp_path: Path, cases: dict[str, Case]) -> None:
    segmented(tmp_path / "net" / "c1.dcm", cases["c1"], "lesion", "heart")
    segmented(tmp_path / "net" / "c2.dcm", cases["c2"], "airway", "lesion")
    with pytest.raises(UserError, match=r"airway .*, heart "):
        list_files_by_case(tmp_path / "net", cases)
