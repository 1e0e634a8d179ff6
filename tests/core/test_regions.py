"""What makes up a region: one rule, and every room of the package goes by it."""

from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from kicc_ml.clinic.page.scan import LABELS, make_ct_display
from kicc_ml.cohort.mask_folders import mask_folders
from kicc_ml.core.errors import UserError
from kicc_ml.core.pseudonym import make_pseudonym
from kicc_ml.core.regions import MIRROR_CHANNELS, REGIONS, find_region, is_known, merge_sides, without_overlap
from kicc_ml.core.types import Case, Volume
from kicc_ml.data.fingerprint import fingerprint
from kicc_ml.data.masks import reference_masks
from kicc_ml.dicom.series.image_files import make_nifti_series
from kicc_ml.pictures.montage import make_layers
from kicc_ml.report.external_predictions import score_masks
from kicc_ml.severity.grade import grade
from kicc_ml.severity.image_features import measure_ct_features

SHAPE = (12, 10, 8)
AFFINE_RAS = np.diag([-2.0, -2.0, 2.0, 1.0])

#: Which masks of the lesion and its parts are marked, and of which the whole lesion then is the union; None: unknown.
MARKED: Mapping[tuple[str, ...], tuple[str, ...] | None] = {
    ("lesion",): ("lesion",),
    ("ground_glass", "consolidation"): ("ground_glass", "consolidation"),
    ("lesion", "ground_glass", "consolidation"): ("lesion",),
    ("lesion", "consolidation"): ("lesion",),
    ("ground_glass",): None,
    ("consolidation",): None,
    (): None,
}


def drawn() -> dict[str, np.ndarray]:
    """Lungs on two sides, and three different blocks in the left one (x grows to the left)."""
    masks = {
        name: np.zeros(SHAPE, bool)
        for name in ("left_lung", "right_lung", *("lesion", "ground_glass", "consolidation"))
    }
    masks["right_lung"][1:5, 1:9, 1:7], masks["left_lung"][7:11, 1:9, 1:7] = True, True
    masks["ground_glass"][7:9, 2:4, 2:4], masks["consolidation"][9:11, 2:4, 2:4] = True, True
    masks["lesion"][7:11, 2:5, 2:5] = True
    return masks


def case_with(folder: Path, masks: Mapping[str, np.ndarray]) -> tuple[Case, Volume]:
    """A CT in HU as NIfTI, and beside it the masks."""
    folder.mkdir(parents=True)
    hu = np.full(SHAPE, -800, np.int16)
    paths = {}
    for name, array in {"ct": hu, **masks}.items():
        paths[name] = folder / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(array.astype(np.int16), AFFINE_RAS), paths[name])
    series = make_nifti_series(paths.pop("ct"), site="a", patient="p", units="hu")
    return Case("1", "a", "p", ct=series, masks=paths), Volume(hu, AFFINE_RAS, "hu")


@pytest.mark.parametrize(("marked", "parts"), MARKED.items())
def test_training_severity_picture_and_page_see_the_same_lesion(
    tmp_path: Path, marked: tuple[str, ...], parts: tuple[str, ...] | None
):
    everything = drawn()
    masks = {name: everything[name] for name in ("left_lung", "right_lung", *marked)}
    lesion = None if parts is None else np.logical_or.reduce([everything[part] for part in parts])
    case, volume = case_with(tmp_path / "case", masks)

    trained = reference_masks(case, volume)
    pictured = make_layers(masks)
    assert ("lesion" in trained) == ("lesion" in pictured) == (lesion is not None)
    if lesion is None:
        assert grade(masks, AFFINE_RAS).percent_involved is None
        assert fingerprint([case]).lesion_voxels is None
        assert not (make_ct_display(volume, masks).label_zyx == LABELS["lesion"]).any()
        with pytest.raises(UserError, match="no case of the cohort has a reference mask of the lesion"):
            score_masks(tmp_path, {"1": case})
        return
    np.testing.assert_array_equal(trained["lesion"], lesion)
    np.testing.assert_array_equal(pictured["lesion"], lesion)
    assert grade(masks, AFFINE_RAS).lesion_ml == pytest.approx(lesion.sum() * 8 / 1000)
    assert fingerprint([case]).lesion_voxels == lesion.sum()


@pytest.mark.parametrize(
    ("marked", "known"),
    [(("lung",), True), (("left_lung", "right_lung"), True), (("left_lung",), False), (("right_lung",), False)],
)
def test_every_room_takes_the_lung_as_marked_or_from_both_sides(tmp_path: Path, marked: tuple[str, ...], known: bool):
    everything = drawn()
    both = everything["left_lung"] | everything["right_lung"]
    everything["lung"] = both.copy()
    masks = {name: everything[name] for name in (*marked, "lesion")}
    case, volume = case_with(tmp_path / "case", masks)
    assert ("lung" in reference_masks(case, volume)) == ("lung" in make_layers(masks)) == known
    assert grade(masks, AFFINE_RAS).lung_ml == (pytest.approx(both.sum() * 8 / 1000) if known else None)
    lung_ml = measure_ct_features(volume, masks)["lung_ml"]
    assert lung_ml == pytest.approx(both.sum() * 8 / 1000 if known else 0)


@pytest.mark.parametrize(
    ("labels", "known"),
    [
        ({1: "ground_glass", 2: "consolidation"}, {"lesion", "ground_glass", "consolidation"}),
        ({1: "ground_glass"}, {"ground_glass"}),
        ({2: "consolidation"}, {"consolidation"}),
        ({1: "lesion", 2: "consolidation"}, {"lesion", "consolidation"}),
        ({1: "left_lung", 2: "right_lung"}, {"lung", "left_lung", "right_lung"}),
        ({1: "left_lung"}, {"left_lung"}),
    ],
)
def test_a_file_of_labels_makes_known_what_masks_of_those_names_would(
    tmp_path: Path, labels: dict[int, str], known: set[str]
):
    folder = tmp_path / "masks" / "1.2.3"
    folder.mkdir(parents=True)
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), AFFINE_RAS), folder / "labels.nii.gz")
    assert set(mask_folders(tmp_path, b"key", labels)[make_pseudonym(b"key", "1.2.3")]) == known


def test_a_region_without_parts_is_known_by_its_own_mask_alone():
    assert not is_known("consolidation", REGIONS[:-1])
    assert find_region({"lesion": np.ones(2, bool)}, "consolidation") is None


def test_masks_of_any_kind_of_number_come_out_as_bool():
    found = find_region({"left_lung": np.array([0, 255, 0]), "right_lung": np.array([0.0, 0.0, 1.0])}, "lung")
    assert found is not None
    assert found.tolist() == [False, True, True]


def test_merged_sides_leave_both_lungs_and_every_other_mask():
    masks = drawn()
    merged = merge_sides(masks)
    assert set(merged) == {"lung", "lesion", "ground_glass", "consolidation"}
    np.testing.assert_array_equal(merged["lung"], masks["left_lung"] | masks["right_lung"])


def test_masks_without_overlap_hold_the_same_lesion_and_lungs():
    masks = drawn()
    masks |= {"lung": masks["left_lung"] | masks["right_lung"]}
    del masks["ground_glass"]
    apart = without_overlap(masks)
    assert set(apart) == {"left_lung", "right_lung", "ground_glass", "consolidation"}
    assert not (apart["ground_glass"] & apart["consolidation"]).any()
    np.testing.assert_array_equal(
        apart["ground_glass"] | apart["consolidation"], masks["lesion"] | masks["consolidation"]
    )


def test_a_mirror_exchanges_the_lungs_and_nothing_else_and_twice_is_as_before():
    mirrored = [REGIONS[channel] for channel in MIRROR_CHANNELS]
    assert mirrored == ["lung", "right_lung", "left_lung", "lesion", "consolidation"]
    assert [mirrored[channel] for channel in MIRROR_CHANNELS] == list(REGIONS)
