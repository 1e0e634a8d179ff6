"""A fold's plan: from its own cases, within its memory, and only where a setting asks for it."""

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from kicc_ml.core.errors import UserError
from kicc_ml.core.regions import REGIONS
from kicc_ml.core.types import Case
from kicc_ml.data.fingerprint import Fingerprint, fingerprint
from kicc_ml.dicom.series.image_files import make_nifti_series
from kicc_ml.models.networks import build_network
from kicc_ml.runs.plan import FIELDS, LEAST_BATCH, fill_plan, make_plan, planned_fields, predicted_gib

THICK = Fingerprint(9, (512, 512, 60), (0.7, 0.7, 5.0), (-985.0, -780.0, 130.0), 3e5, 2)
SIZES = {"in_channels": 1, "out_channels": len(REGIONS)}
DYNUNET = {
    "_target_": "monai.networks.nets.DynUNet",
    **{"spatial_dims": 3, "res_block": True, "deep_supervision": True, "deep_supr_num": 2},
    **dict.fromkeys(("strides", "kernel_size", "upsample_kernel_size", "filters"), "planned"),
}
SLICES = {"_target_": "kicc_ml.models.slice_unet.SliceUNet", "channels": "planned", "strides": "planned"}


def settings(network: dict[str, Any], **data: Any) -> dict[str, Any]:
    canonical = {name: data.pop(name, "planned") for name in ("spacing_mm", "window_hu")}
    planned = {"patch_size": "planned", "batch_size": "planned"} | data
    return {"data": {"canonical": canonical, **planned}, "network": network}


@pytest.mark.parametrize("network", [DYNUNET, SLICES], ids=["dynunet", "slices"])
def test_a_planned_network_takes_the_planned_patch_and_answers_at_every_voxel(network: dict[str, Any]):
    wanted = settings(network)
    complete = fill_plan(wanted, make_plan(replace(THICK, shape=(80, 80, 20)), wanted, memory_gib=2.0))
    assert planned_fields(complete) == []
    built = build_network(complete["network"], SIZES).eval()
    patch = complete["data"]["patch_size"]
    assert built(torch.ones(1, 1, *patch)).shape == (1, len(REGIONS), *patch)


@pytest.mark.slow
def test_a_network_that_halves_more_often_than_the_rehearsed_patches_allow_is_planned_too():
    five_times = {
        "_target_": "monai.networks.nets.AttentionUnet",
        **{"spatial_dims": 3, "channels": [2] * 6, "strides": [2] * 5},
    }
    patch = make_plan(THICK, settings(five_times, spacing_mm=[2.0, 2.0, 4.0]), memory_gib=2.0)["patch_size"]
    assert all(size % 32 == 0 for size in patch)


@pytest.mark.parametrize("memory_gib", [2.0, 6.0])
def test_what_is_planned_stays_within_the_memory_and_uses_most_of_it(memory_gib: float):
    wanted = settings(DYNUNET)
    complete = fill_plan(wanted, make_plan(THICK, wanted, memory_gib))
    assert 0.5 * memory_gib < predicted_gib(complete) <= memory_gib
    assert complete["data"]["batch_size"] >= LEAST_BATCH


def test_more_memory_means_finer_voxels_never_finer_than_the_scans():
    def spacing(memory_gib: float) -> np.ndarray:
        return np.array(make_plan(THICK, settings(SLICES), memory_gib)["spacing_mm"])

    assert (spacing(1.0) > spacing(6.0)).any()
    assert (spacing(1.0) >= spacing(6.0)).all()
    assert (spacing(60.0) >= np.array([0.75, 0.75, 5.0])).all()


def test_thick_slices_are_not_halved_before_the_plane_has_caught_up():
    strides = make_plan(THICK, settings(DYNUNET, spacing_mm=[1.0, 1.0, 5.0]), 4.0)["strides"]
    assert strides[:3] == [[1, 1, 1], [2, 2, 1], [2, 2, 1]]
    assert strides[-1] == [2, 2, 2]


@pytest.mark.parametrize(
    ("name", "value"), [("patch_size", [96, 96, 16]), ("batch_size", 3), ("spacing_mm", [2, 2, 4])]
)
def test_a_field_that_is_given_is_kept_and_the_others_are_planned_around_it(name: str, value: Any):
    wanted = settings(SLICES, **{name: value})
    plan = make_plan(THICK, wanted, 2.0)
    assert name not in plan
    assert set(plan) == set(planned_fields(wanted))


def test_a_window_holds_air_soft_tissue_and_what_the_masks_cover():
    low, high = make_plan(THICK, settings(SLICES), 2.0)["window_hu"]
    assert low <= -1000
    assert high >= 130
    assert make_plan(replace(THICK, foreground_hu=None), settings(SLICES), 2.0)["window_hu"] == [-1000.0, 100.0]


def test_scans_without_voxel_size_are_planned_in_voxels():
    wanted = settings(SLICES)
    complete = fill_plan(wanted, make_plan(replace(THICK, spacing_mm=None, shape=(256, 256, 30)), wanted, 2.0))
    assert prod(complete["data"]["patch_size"]) <= 256 * 256 * 32


def test_too_little_memory_is_refused_with_the_setting_to_change():
    with pytest.raises(UserError, match=r"plan\.memory_gib"):
        make_plan(THICK, settings(SLICES), 0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("memory_gib", "twice"), [(1.0, True), (60.0, False)])
def test_blocks_are_computed_twice_only_where_a_patch_would_be_smaller_without(memory_gib: float, twice: bool):
    small = replace(THICK, shape=(160, 160, 60))
    given = settings(DYNUNET, spacing_mm=[0.7, 0.7, 5.0], window_hu=[-1000.0, 300.0])
    without = make_plan(small, given, memory_gib)
    plan = make_plan(small, given | {"plan": {"checkpointing": "planned"}}, memory_gib)
    assert plan.pop("checkpointing") is twice
    assert (plan != without) == twice
    assert np.prod(plan["patch_size"]) >= np.prod(without["patch_size"])
    if twice:
        assert np.prod(plan["patch_size"]) > 1.3 * np.prod(without["patch_size"])


def test_where_there_are_no_patches_nothing_is_planned_of_blocks():
    assert planned_fields({"data": {}, "network": {}, "plan": {"checkpointing": "planned"}}) == []


def test_every_field_is_a_setting_of_the_files_that_ship():
    assert set(planned_fields(settings(DYNUNET) | {})) <= set(FIELDS)
    assert planned_fields({"data": {"patch_size": [1, 1, 1]}, "network": {}}) == []


def case(folder: Path, number: int, spacing: tuple[float, float, float], lesion: bool) -> Case:
    rng = np.random.default_rng(number)
    hu = rng.integers(-900, 0, (20, 16, 12)).astype(np.int16)
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    nib.save(nib.Nifti1Image(hu, affine), path := folder / f"{number}.nii.gz")
    mask = np.zeros(hu.shape, np.uint8)
    mask[: 4 if lesion else 0] = 1
    nib.save(nib.Nifti1Image(mask, affine), mask_path := folder / f"{number}_lesion.nii.gz")
    ct = make_nifti_series(path, site="a", patient=str(number), units="hu")
    return Case(str(number), "a", str(number), ct=ct, masks={"lesion": mask_path})


def test_a_fingerprint_is_that_of_the_cases_handed_over_and_no_others(tmp_path: Path):
    train = [case(tmp_path, number, (1.0, 1.0, 5.0), lesion=number != 2) for number in range(3)]
    case(tmp_path, 9, (3.0, 3.0, 1.0), lesion=True)
    found = fingerprint(train)
    assert found.spacing_mm == pytest.approx((1.0, 1.0, 5.0))
    assert found.shape == (20, 16, 12)
    assert found.lesion_voxels == 4 * 16 * 12
    assert (found.cases, found.lesion_free) == (3, 1)
    assert found.foreground_hu is not None
    assert -900 <= found.foreground_hu[0] < found.foreground_hu[1] < found.foreground_hu[2] <= 0


def test_a_case_that_cannot_be_read_is_passed_over_unless_it_is_the_only_one(tmp_path: Path):
    good, bad = (case(tmp_path, number, (1.0, 1.0, 5.0), lesion=True) for number in range(2))
    assert bad.ct is not None
    bad.ct.files[0].write_bytes(b"no image")
    assert fingerprint([good, bad]).cases == 1
    with pytest.raises(UserError, match=r"nothing can be planned; 1: .*NIfTI"):
        fingerprint([bad])


def test_asking_a_network_for_its_patches_draws_nothing_that_the_training_draws_from():
    """The weights of a fold are drawn after its plan: what is planned beside must not move them."""

    def state_after(**given: Any) -> torch.Tensor:
        torch.manual_seed(4)
        make_plan(THICK, settings(SLICES, spacing_mm=[1.0, 1.0, 5.0], window_hu=[-1000, 300], **given), 2.0)
        return torch.get_rng_state()

    assert torch.equal(state_after(), state_after(patch_size=[96, 96, 3]))


def test_a_network_that_plans_do_not_know_is_planned_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "support")
    for name in ("TwoScales", "ReadsValues"):
        wanted = settings({"_target_": f"myLab.networks.{name}", "width": 4}, spacing_mm=[2.0, 2.0, 4.0])
        complete = fill_plan(wanted, make_plan(THICK, wanted, memory_gib=0.5))
        patch = complete["data"]["patch_size"]
        assert all(size % 2 == 0 for size in patch)
        assert 0.2 < predicted_gib(complete) <= 0.5 * 1.25
