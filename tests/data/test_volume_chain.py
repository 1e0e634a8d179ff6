"""What the store keeps after a user's own transforms, and that a new scan is seen alike."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Compose, LoadImaged

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case, Volume
from kicc_ml.data.canonical import Canonical, CanonicalCT, Canonicald
from kicc_ml.data.own_transforms import OwnTransforms, TransformError
from kicc_ml.data.store import VolumeStore
from kicc_ml.data.volume_chain import Masks, Preparation, VolumeChain, chain_of, identity_of, with_own_transforms
from kicc_ml.dicom.index.build import index_sources
from kicc_ml.dicom.series.image_files import make_nifti_series
from kicc_ml.dicom.volume.read import RepositoryReader, read_volume
from tests.support.phantom_files import write_series
from tests.support.phantoms import Grid, even_mm

CANONICAL = CanonicalCT(spacing_mm=(2.0, 2.0, 2.0), window_hu=(-1000.0, 1000.0))
BRIGHTER = {"_target_": "myLab.transforms.Brightened", "keys": "image", "by": 0.25}
FOREGROUND = {
    "_target_": "monai.transforms.CropForegroundd",
    **{"keys": ["image", "mask"], "source_key": "image", "allow_smaller": True},
}
AFFINE = np.diag([-2.0, -2.0, 2.0, 1.0])


@pytest.fixture(autouse=True)
def lab(monkeypatch: pytest.MonkeyPatch) -> None:
    """``myLab`` is installed."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "support")


def chain(*parts: dict[str, Any], canonical: CanonicalCT = CANONICAL) -> VolumeChain:
    made = with_own_transforms(canonical, OwnTransforms("volume", json.dumps(parts)))
    assert isinstance(made, VolumeChain)
    return made


def volume() -> Volume:
    """Air, with a block of soft tissue from voxel (4, 3, 2) to (9, 9, 7)."""
    array = np.full((14, 12, 10), -1000, np.int16)
    array[4:10, 3:10, 2:8] = 0
    return Volume(array, AFFINE, "hu")


def prepare(preparation: Preparation, volume: Volume, masks: Masks) -> tuple[Canonical, Mapping[str, np.ndarray]]:
    """What the store would keep."""
    prepared = chain_of(preparation).prepare(volume, masks)
    return prepared.image, prepared.masks


def lesion() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    mask = np.zeros((14, 12, 10), bool)
    mask[5:7, 4:6, 3:5] = True
    return {"lesion": (mask, AFFINE)}


def test_without_own_transforms_the_canonical_volume_stays_what_it_is():
    assert with_own_transforms(CANONICAL, OwnTransforms("volume")) is CANONICAL
    assert identity_of(CANONICAL) == ["CanonicalCT", asdict(CANONICAL)]


def test_the_users_transform_comes_after_the_canonical_one_and_leaves_the_mask():
    plain, masks = prepare(CANONICAL, volume(), lesion())
    seen, moved = prepare(chain(BRIGHTER), volume(), lesion())
    torch.testing.assert_close(seen.image_cxyz, plain.image_cxyz + 0.25)
    assert np.array_equal(moved["lesion"], masks["lesion"])
    assert type(seen.image_cxyz) is torch.Tensor


def test_a_new_scan_is_seen_as_the_training_scans_were_stored():
    for one in (chain(BRIGHTER), chain(FOREGROUND)):
        stored, _ = prepare(one, volume(), lesion())
        seen = one(volume())
        assert torch.equal(seen.image_cxyz, stored.image_cxyz)
        assert np.array_equal(seen.affine_ras, stored.affine_ras)


def test_where_a_transform_crops_the_affine_says_where_the_rest_lies():
    plain, whole = prepare(CANONICAL, volume(), lesion())
    seen, moved = prepare(chain(FOREGROUND), volume(), lesion())
    assert seen.image_cxyz.shape == (1, 6, 7, 6)
    assert moved["lesion"].shape == (6, 7, 6)

    def in_mm(mask_xyz: np.ndarray, affine_ras: np.ndarray) -> np.ndarray:
        return np.array([affine_ras @ [*voxel, 1] for voxel in np.argwhere(mask_xyz)])

    assert np.allclose(in_mm(moved["lesion"], seen.affine_ras), in_mm(whole["lesion"], plain.affine_ras))


def test_a_transform_that_crops_the_image_alone_is_refused():
    with pytest.raises(TransformError, match=r"keys: \[image, mask\]"):
        prepare(chain({**FOREGROUND, "keys": "image"}), volume(), lesion())


def test_the_store_keeps_what_each_chain_makes_apart(tmp_path: Path):
    nib.save(nib.Nifti1Image(volume().array, AFFINE), tmp_path / "a_ct.nii.gz")
    series = make_nifti_series(tmp_path / "a_ct.nii.gz", site="seoul", patient="a", units="hu")
    cases = [Case("a", "seoul", "a", ct=series)]
    store = VolumeStore(tmp_path / "store")
    stored = {}
    for name, one in {"none": CANONICAL, "0.25": chain(BRIGHTER), "0.5": chain({**BRIGHTER, "by": 0.5})}.items():
        assert store.prepare(cases, one) == {}
        stored[name] = store.load(cases, one)["a"]
    assert len({one.folder for one in stored.values()}) == 3
    means = {name: float(np.asarray(one.image_cxyz, float).mean()) for name, one in stored.items()}
    assert means["0.25"] == pytest.approx(means["none"] + 0.25, abs=1e-3)
    assert means["0.5"] == pytest.approx(means["none"] + 0.5, abs=1e-3)


def test_a_chain_that_fails_ends_the_preparation_and_sets_no_case_aside(tmp_path: Path):
    nib.save(nib.Nifti1Image(volume().array, AFFINE), tmp_path / "a_ct.nii.gz")
    series = make_nifti_series(tmp_path / "a_ct.nii.gz", site="seoul", patient="a", units="hu")
    with pytest.raises(TransformError, match=r"transforms\.volume"):
        VolumeStore(tmp_path / "store").prepare(
            [Case("a", "seoul", "a", ct=series)], chain({**BRIGHTER, "keys": "imgae"})
        )


def test_the_steps_give_what_monais_loader_gives_with_the_same_reader(tmp_path: Path):
    """Of a series of DICOM files, whose voxels the loader copies."""
    write_series(tmp_path / "seoul", Grid(even_mm(12), rows=24, columns=20, pixel_spacing_mm=(4.0, 4.0)))
    (series,) = [one for one in index_sources([tmp_path])[0] if one.usable]
    loaded = Compose(
        [LoadImaged("image", reader=RepositoryReader(), expanduser=False), Canonicald("image", CANONICAL)]
    )({"image": series})
    case = Case("a", "seoul", "a", ct=series)
    prepared = chain_of(CANONICAL).prepare_case(case)
    assert torch.equal(prepared.image.image_cxyz, loaded["image"])
    assert np.array_equal(prepared.image.affine_ras, loaded["image_affine_ras"])
    assert type(prepared.image.image_cxyz) is torch.Tensor


def test_a_refused_scan_keeps_its_reason_through_the_steps(tmp_path: Path):
    nib.save(nib.Nifti1Image(volume().array, AFFINE), tmp_path / "a_ct.nii.gz")
    series = make_nifti_series(tmp_path / "a_ct.nii.gz", site="seoul", patient="a", units="hu")
    refused = replace(series, verdict="refused", reasons=("missing_slice",))
    with pytest.raises(UserError) as alone:
        read_volume(refused)
    for preparation in (CANONICAL, chain(BRIGHTER)):
        store = VolumeStore(tmp_path / "store")
        assert store.prepare([Case("a", "seoul", "a", ct=refused)], preparation) == {"a": str(alone.value)}
        with pytest.raises(UserError) as through:
            chain_of(preparation).read(refused)
        assert str(through.value) == str(alone.value)
