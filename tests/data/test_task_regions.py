"""Regions of another task: their channels, their mirror, what makes them up, through store and batches."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from kicc_ml.core.errors import UserError
from kicc_ml.core.regions import CHEST, REGIONS, RegionSet, make_region_set, sort_regions
from kicc_ml.core.types import Case, Split
from kicc_ml.data.augment.transform import AugmentConfig, augment_batch
from kicc_ml.data.canonical import CanonicalCT
from kicc_ml.data.datamodule import PatchDataModule
from kicc_ml.data.region_bits import unpack
from kicc_ml.data.store import VolumeStore
from kicc_ml.dicom.series.image_files import make_nifti_series
from kicc_ml.models.segmentation import SegmentationTask

LOBES = make_region_set(
    ["left_upper", "right_upper", "nodule"],
    mirrored=[["left_upper", "right_upper"]],
    derived={"nodule": ["solid", "subsolid"]},
    lesion="nodule",
)
CANONICAL = CanonicalCT(spacing_mm=None, window_hu=(-1000.0, 1000.0))
AFFINE = np.diag([-2.0, -2.0, 2.0, 1.0])
BOXES = {"left_upper": np.s_[8:14], "right_upper": np.s_[1:7], "solid": np.s_[2:4], "subsolid": np.s_[4:6]}


def case(folder: Path) -> Case:
    """A scan of 16 x 12 x 10 voxels in which each mask is a slab along x."""
    masks = {}
    for name, box in BOXES.items():
        mask = np.zeros((16, 12, 10), np.uint8)
        mask[box] = 1
        masks[name] = folder / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(mask, AFFINE), masks[name])
    nib.save(nib.Nifti1Image(np.zeros((16, 12, 10), np.int16), AFFINE), folder / "ct.nii.gz")
    series = make_nifti_series(folder / "ct.nii.gz", site="seoul", patient="a", units="hu")
    return Case("a", "seoul", "a", ct=series, masks=masks)


def test_the_chest_is_what_it_was():
    assert CHEST.names == REGIONS
    assert [REGIONS[channel] for channel in CHEST.mirror_channels] == [
        "lung", "right_lung", "left_lung", "lesion", "consolidation"
    ]  # fmt: skip
    assert set(CHEST.mask_names) == {*REGIONS, "ground_glass"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"names": []}, "from 1 to 8"),
        ({"names": ["a", "a"]}, "from 1 to 8"),
        ({"names": [f"r{number}" for number in range(9)]}, "from 1 to 8"),
        ({"names": ["../lesion"]}, "region"),
        ({"names": ["left_lung"], "mirrored": [["left_lung", "right_lung"]]}, "change places"),
    ],
)
def test_regions_that_cannot_be_are_refused(settings: dict, said: str):
    with pytest.raises(UserError, match=said):
        make_region_set(**settings)


def test_the_store_keeps_the_regions_of_the_task_and_keeps_them_apart_from_others(tmp_path: Path):
    one = case(tmp_path)
    stores = {name: VolumeStore(tmp_path / "store", regions) for name, regions in (("own", LOBES), ("chest", CHEST))}
    volumes = {}
    for name, store in stores.items():
        assert store.prepare([one], CANONICAL) == {}
        volumes[name] = store.load([one], CANONICAL)["a"]
    own = volumes["own"]
    assert own.folder != volumes["chest"].folder
    assert own.mask_known_c.tolist() == [True, True, True]
    assert own.lesion_known
    assert not volumes["chest"].mask_known_c.any()
    slabs = {name: np.flatnonzero(mask.any((1, 2))) for name, mask in zip(LOBES.names, own.mask_cxyz, strict=True)}
    assert {name: (slab[0], slab[-1]) for name, slab in slabs.items()} == {
        "left_upper": (8, 13), "right_upper": (1, 6), "nodule": (2, 5)
    }  # fmt: skip
    assert set(own.lesion_index[:, 0].tolist()) == {2, 3, 4, 5}


def test_in_a_mirrored_patch_the_sides_of_the_task_change_places():
    bits = torch.zeros(1, 4, 2, 2, dtype=torch.uint8)
    bits[:, 0] = 0b001
    bits[:, 3] = 0b110
    batch = {
        **{"image_bcxyz": torch.zeros(1, 1, 4, 2, 2), "region_bits_bxyz": bits, "sample_seed": [3]},
        "mask_known_bc": torch.tensor([[True, False, True]]),
    }
    only_flips = AugmentConfig(
        flip_xyz=(1.0, 0.0, 0.0), rotate=0, noise=0, blur=0, low_resolution=0, brightness=0, contrast=0, gamma=0
    )
    keys = ("image_bcxyz", "region_bits_bxyz")
    done = augment_batch(batch, keys, only_flips, LOBES.mirror_channels)
    mask = unpack(done["region_bits_bxyz"], 3)[0, :, :, 0, 0]
    assert mask.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]]
    assert done["mask_known_bc"].tolist() == [[False, True, True]]


def test_batches_and_the_task_have_a_channel_for_each_region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cases = [case(tmp_path)]
    data = PatchDataModule(
        cases,
        Split("f", ("a",), (), (), {"a": "a"}),
        VolumeStore(tmp_path / "store", LOBES),
        CANONICAL,
        patch_size=(8, 8, 8),
        patches_per_epoch=2,
    )
    data.prepare_data()
    data.setup()
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert batch["mask_bcxyz"].shape == (2, 3, 8, 8, 8)
    network = torch.nn.Conv3d(1, 3, 1)
    task = SegmentationTask(network, (8, 8, 8), 1e-3, 0.0, regions=LOBES.names)
    logged = {}
    monkeypatch.setattr(task, "log", lambda name, value, **_: logged.update({name: float(value)}))
    assert torch.isfinite(task.training_step(batch, 0))
    whole = {key: value for key, value in batch.items() if key != "sample_seed"}
    task.validation_step({key: value[:1] for key, value in whole.items()}, 0)
    task.on_validation_epoch_end()
    assert set(logged) <= {"train/loss", "val/dice", *(f"val/dice_{name}" for name in LOBES.names)}


def test_regions_of_the_chest_come_first_and_in_their_order():
    assert sort_regions(["nodule", "lesion", "lung", "airway"]) == ["lung", "lesion", "airway", "nodule"]


def test_a_frozen_set_equals_one_made_from_lists():
    assert make_region_set(list(REGIONS), [["left_lung", "right_lung"]], dict(CHEST.derived), "lesion") == RegionSet()
