"""Batches: of the promised kind, drawn by seed, epoch and index alone."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch.utils.data import DataLoader

from kicc_ml.core.errors import UserError
from kicc_ml.core.regions import REGIONS
from kicc_ml.data.augment.transform import AugmentConfig
from kicc_ml.data.datamodule import PatchDataModule
from kicc_ml.data.sampling import EpochSampler, choose_patch_source, patch_start, shuffled
from kicc_ml.data.store import VolumeStore
from tests.support.fitted_batches import fit
from tests.support.patch_batches import CANONICAL, patches, segmentation_case, split_of, started

LESION = REGIONS.index("lesion")


def same(batches: Iterable[dict], others: Iterable[dict]) -> bool:
    pairs = list(zip(list(batches), list(others), strict=True))
    return all(
        torch.equal(one[key], other[key]) if isinstance(one[key], torch.Tensor) else one[key] == other[key]
        for one, other in pairs
        for key in one
    )


def at_epoch(loader: DataLoader, epoch: int) -> list[dict]:
    loader.sampler.batches_done = lambda: epoch * len(loader)  # type: ignore[attr-defined]
    return list(loader)


def as_the_task_gets_them(module: PatchDataModule) -> list[dict]:
    return [module.on_after_batch_transfer(batch, 0) for batch in module.train_dataloader()]


def test_segmentation_batches_are_plain_tensors_of_the_promised_kind(tmp_path: Path) -> None:
    module = patches(tmp_path, patch_size=(8, 10, 6))
    for batch, size in (
        (as_the_task_gets_them(module)[0], (2, (8, 10, 6))),
        (next(iter(module.val_dataloader())), (1, (23, 20, 12))),
    ):
        assert batch["image_bcxyz"].shape == (size[0], 1, *size[1])
        assert batch["mask_bcxyz"].shape == (size[0], len(REGIONS), *size[1])
        assert batch["image_bcxyz"].dtype == batch["mask_bcxyz"].dtype == torch.float32
        assert batch["mask_known_bc"].tolist() == [[region == "lesion" for region in REGIONS]] * size[0]
        assert not any(isinstance(value, MetaTensor) for value in batch.values())
        assert all(type(batch[key]) is list for key in ("case_id", "site"))
        assert "region_bits_bxyz" not in batch


def test_patches_travel_to_the_device_as_small_as_they_lie_in_the_store(tmp_path: Path) -> None:
    batch = next(iter(patches(tmp_path).train_dataloader()))
    assert batch["image_bcxyz"].dtype == torch.float16
    assert batch["region_bits_bxyz"].dtype == torch.uint8
    assert batch["region_bits_bxyz"].shape == (2, 8, 8, 8)


def test_patches_depend_on_seed_epoch_and_index_only(tmp_path: Path) -> None:
    module = patches(tmp_path)
    again = patches(tmp_path, num_workers=2)
    first, second = at_epoch(module.train_dataloader(), 0), at_epoch(module.train_dataloader(), 1)
    torch.manual_seed(99)
    np.random.seed(99)
    parallel = again.train_dataloader()
    assert same(first, at_epoch(parallel, 0))
    assert same(second, at_epoch(parallel, 1))
    assert not same(first, second)
    assert not same(first, at_epoch(patches(tmp_path, seed=1).train_dataloader(), 0))


def test_the_lesion_share_is_kept_and_cases_take_turns(tmp_path: Path) -> None:
    def lesions(share: float) -> list[bool]:
        module = patches(tmp_path, lesion_share=share, patches_per_epoch=60)
        batches = as_the_task_gets_them(module)
        seen = [case for batch in batches for case in batch["case_id"]]
        assert {case: seen.count(case) for case in seen} == {"c0": 20, "c1": 20, "c2": 20}
        return [bool(mask[LESION].any()) for batch in batches for mask in batch["mask_bcxyz"]]

    assert all(lesions(1.0))
    assert np.mean(lesions(0.0)) < 0.4
    assert 0.4 < np.mean(lesions(0.5)) < 0.9


def test_a_patch_larger_than_the_volume_holds_all_of_it_centred(tmp_path: Path) -> None:
    module = patches(tmp_path, patch_size=(32, 32, 16))
    batch = as_the_task_gets_them(module)[0]
    volume = module.volumes[batch["case_id"][0]]
    x, y, z = (start // 2 for start in (32 - volume.shape[0] + 1, 32 - volume.shape[1] + 1, 16 - volume.shape[2]))
    inner = batch["image_bcxyz"][0, 0, x : x + volume.shape[0], y : y + 20, z : z + 12]
    np.testing.assert_array_equal(inner, volume.image_cxyz[0].astype(np.float32))
    assert batch["image_bcxyz"][0].sum() == pytest.approx(float(inner.sum()))


def test_patches_stay_inside_and_reach_every_edge() -> None:
    rng = np.random.default_rng(0)
    starts = np.array([patch_start((10, 9, 5), (4, 9, 8), np.zeros((0, 3), int), rng) for _ in range(300)])
    assert set(starts[:, 0]) == set(range(7))
    assert set(starts[:, 1]) == {0}
    assert set(starts[:, 2]) == {-2}
    corner = patch_start((10, 9, 20), (4, 4, 8), np.array([[9, 0, 10]]), rng)
    assert corner == (6, 0, 6)


def test_an_epoch_goes_round_all_cases() -> None:
    laps = [shuffled(5, 7, 0, index) for index in range(10)]
    assert sorted(laps[:5]) == sorted(laps[5:]) == list(range(5))
    assert laps[:5] != laps[5:]


def test_processes_share_an_epoch_and_none_ends_before_another() -> None:
    shares = [list(EpochSampler(7, 2, rank, 3)) for rank in range(3)]
    assert [len(share) for share in shares] == [len(EpochSampler(7, 2, rank, 3)) for rank in range(3)] == [3, 3, 3]
    assert sorted(place for share in shares for place in share) == [(0, index) for index in range(9)]


def test_an_epoch_goes_on_after_the_batches_that_are_done() -> None:
    whole = [list(EpochSampler(7, 2, batches_done=lambda epoch=epoch: 4 * epoch)) for epoch in range(3)]
    assert list(EpochSampler(7, 2, batches_done=lambda: 6)) == whole[1][4:]
    assert list(EpochSampler(7, 2, batches_done=lambda: 8)) == whole[2]


def test_scans_without_a_lesion_get_their_share_evenly_and_in_turn() -> None:
    lesion, empty = ["a", "b", "c"], ["x", "y"]
    drawn = [choose_patch_source(lesion, empty, 0.25, 0, 0, index) for index in range(24)]
    assert {source: drawn.count(source) for source in drawn} == {"a": 6, "b": 6, "c": 6, "x": 3, "y": 3}
    assert [sum(source in empty for source in drawn[start : start + 4]) for start in range(0, 24, 4)] == [1] * 6


@pytest.mark.parametrize(("lesion", "empty", "share"), [("abc", "xy", None), ("abcde", "", 0.5), ("", "vwxyz", 0.5)])
def test_without_two_kinds_or_a_share_every_scan_is_seen_equally_often(
    lesion: str, empty: str, share: float | None
) -> None:
    drawn = [choose_patch_source(lesion, empty, share, 0, 0, index) for index in range(10)]
    assert {drawn.count(source) for source in {*lesion, *empty}} == {2}


def test_a_scan_counts_as_empty_only_where_its_lesions_were_looked_for(tmp_path: Path) -> None:
    cases = [segmentation_case(tmp_path, 0), segmentation_case(tmp_path, 1, lesion_voxels=0)]
    lung = {"lung": segmentation_case(tmp_path, 2).masks["lesion"]}
    cases.append(replace(segmentation_case(tmp_path, 2), masks=lung))
    split, store = split_of(cases, 3, 0), VolumeStore(tmp_path / "store")
    module = started(PatchDataModule(cases, split, store, CANONICAL, (8, 8, 8), 2, 40, empty_share=0.1))
    seen = [case_id for batch in module.train_dataloader() for case_id in batch["case_id"]]
    assert {case_id: seen.count(case_id) for case_id in seen} == {"c0": 18, "c1": 4, "c2": 18}


def test_of_many_held_back_scans_a_few_are_selected_on_from_every_hospital(tmp_path: Path) -> None:
    cases = [replace(segmentation_case(tmp_path, n), site=f"h{min(n // 3, 2)}") for n in range(12)]
    split, store = split_of(cases, 2, 10), VolumeStore(tmp_path / "store")
    few = started(PatchDataModule(cases, split, store, CANONICAL, (8, 8, 8), most_val_cases=3)).val_cases
    assert len(few) == 3
    assert {case.site for case in few} == {case.site for case in cases[2:]}
    assert len(started(PatchDataModule(cases, split, store, CANONICAL, (8, 8, 8))).val_cases) == 10


def test_a_fold_without_masks_or_lesions_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cases = [segmentation_case(tmp_path, number, lesion_voxels=0) for number in range(3)]
    store = VolumeStore(tmp_path / "store")
    module = PatchDataModule(cases, split_of(cases, 2), store, CANONICAL, (8, 8, 8), patches_per_epoch=2)
    assert len(list(started(module).train_dataloader())) == 1
    assert "no training case has a lesion" in caplog.text
    bare = [replace(case, masks={}) for case in cases]
    with pytest.raises(UserError, match="none of its 2 training cases"):
        started(PatchDataModule(bare, split_of(cases, 2), store, CANONICAL))
    with pytest.raises(UserError, match="does not have"):
        started(PatchDataModule(cases[:1], split_of(cases, 2), store, CANONICAL))


def test_augmentation_runs_while_training_only_and_epochs_differ(tmp_path: Path) -> None:
    every_time = AugmentConfig(
        flip_xyz=(1, 0, 0), rotate=0, noise=0, blur=0, low_resolution=0, brightness=0, contrast=0, gamma=0
    )
    plain = fit(patches(tmp_path, patches_per_epoch=4), tmp_path)
    augmented = fit(patches(tmp_path, patches_per_epoch=4, augment=every_time), tmp_path)
    assert len(plain.train_batches) == 4
    for one, other in zip(plain.train_batches, augmented.train_batches, strict=True):
        torch.testing.assert_close(one["image_bcxyz"].flip(2), other["image_bcxyz"], atol=1e-4, rtol=0)
        assert torch.equal(one["mask_bcxyz"].flip(2), other["mask_bcxyz"])
    assert same(plain.val_batches, augmented.val_batches)
    assert not same(plain.train_batches[:2], plain.train_batches[2:])
    again = fit(patches(tmp_path, patches_per_epoch=4, augment=AugmentConfig()), tmp_path)
    assert same(
        fit(patches(tmp_path, patches_per_epoch=4, augment=AugmentConfig()), tmp_path).train_batches,
        again.train_batches,
    )


def test_patches_are_mirrored_along_every_axis_only_where_the_geometry_is_not_stated(tmp_path: Path) -> None:
    never = AugmentConfig(
        flip_xyz=(0, 0, 0), rotate=0, noise=0, blur=0, low_resolution=0, brightness=0, contrast=0, gamma=0
    )
    for known in (True, False):
        plain = fit(patches(tmp_path, spacing_known=known, patches_per_epoch=24), tmp_path, epochs=1)
        seen = fit(patches(tmp_path, spacing_known=known, patches_per_epoch=24, augment=never), tmp_path, epochs=1)
        pairs = [
            (one, other)
            for before, after in zip(plain.train_batches, seen.train_batches, strict=True)
            for one, other in zip(before["image_bcxyz"][:, 0], after["image_bcxyz"][:, 0], strict=True)
        ]
        mirrored = {
            axis for axis in range(3) for one, other in pairs if torch.allclose(one.flip(axis), other, atol=1e-4)
        }
        assert mirrored == (set() if known else {0, 1, 2})
