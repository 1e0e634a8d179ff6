"""Lungs first, lesions only where lungs are; masks on the scan's grid a slab at a time."""

from dataclasses import replace
from math import prod

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kicc_ml.core.errors import UserError
from kicc_ml.core.progress import StageTimer
from kicc_ml.core.regions import REGIONS
from kicc_ml.core.types import Volume
from kicc_ml.data import canonical as transforms
from kicc_ml.data.canonical import CanonicalCT
from kicc_ml.models import device_memory
from kicc_ml.models import segmenter as inference
from kicc_ml.models.segmenter import Segmenter, decide, drop_small_components
from kicc_ml.models.slice_unet import SliceUNet

AIR, SOFT, LUNG, LESION = -1000, 40, -850, -300
WINDOW = (-1024.0, 600.0)
LESION_CHANNEL = REGIONS.index("lesion")
PATCH = (24, 24, 4)


class ByValue(nn.Module):
    """Lung by its grey value, lesion by its own; keeps how many voxels it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.voxels = 0

    def forward(self, image_bcxyz: Tensor) -> Tensor:
        self.voxels += image_bcxyz.numel()
        hu = image_bcxyz * (WINDOW[1] - WINDOW[0]) + WINDOW[0]
        lung, lesion = (hu > -950) & (hu < -150), (hu > -400) & (hu < -150)
        found = [lesion if region in ("lesion", "consolidation") else lung for region in REGIONS]
        return 16 * torch.cat(found, dim=1).float() - 8


def chest() -> Volume:
    """Two lungs in a body in air, a lesion in one of them, and bowel gas far below; 1 mm voxels along LPS."""
    hu = np.full((96, 80, 64), AIR, np.int16)
    hu[8:88, 8:72] = SOFT
    hu[16:40, 20:56, 24:56] = hu[56:80, 20:56, 24:56] = LUNG
    hu[20:30, 24:34, 30:40] = LESION
    hu[40:46, 40:46, 4:8] = LUNG
    return Volume(hu, np.diag([-1.0, -1.0, 1.0, 1.0]), "hu")


def segmenter(network: nn.Module) -> Segmenter:
    return Segmenter([network], CanonicalCT(None, WINDOW), PATCH, REGIONS, "hu", True, 0.5, ((),))


@pytest.fixture
def lungs_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a large scan: its lungs are looked for before anything else, and windows are smaller than it."""
    monkeypatch.setattr(device_memory, "VOXELS_AT_ONCE", prod(PATCH))
    monkeypatch.setattr(inference, "LUNGS_FIRST_VOXELS", 1)
    monkeypatch.setattr(inference, "LUNG_MARGIN", (2, 2, 2))


def test_lungs_first_finds_the_same_lesion_and_looks_at_less(lungs_first: None):
    network, whole = ByValue(), ByValue()
    first = segmenter(network).segment(chest())
    inference.LUNGS_FIRST_VOXELS = 10**9
    everywhere = segmenter(whole).segment(chest())
    np.testing.assert_array_equal(first["lesion"], everywhere["lesion"])
    np.testing.assert_array_equal(first["lung"], everywhere["lung"])
    assert network.voxels < 0.8 * whole.voxels


class LungsByValue(SliceUNet):
    """A network with weights as they fall, whose lesions depend on all that it sees of a slice; lungs by grey value."""

    def __init__(self) -> None:
        torch.manual_seed(4)
        super().__init__(1, len(REGIONS), [4, 8, 8], [2, 2], num_res_units=1)

    def segment_inner_slices(self, image_bcxyz: Tensor) -> Tensor:
        logits = super().segment_inner_slices(image_bcxyz)
        by_value = ByValue()(image_bcxyz[..., 1:-1])
        logits -= logits.mean((2, 3, 4), keepdim=True)
        return torch.where(torch.arange(len(REGIONS))[:, None, None, None] == LESION_CHANNEL, logits, by_value)


def test_lungs_first_and_the_whole_scan_are_one_answer_of_a_network_that_goes_by_slices(
    lungs_first: None, monkeypatch: pytest.MonkeyPatch
):
    noise = np.random.default_rng(0).normal(0, 30, chest().array.shape)
    scan = replace(chest(), array=(chest().array + noise).astype(np.int16))
    first = segmenter(LungsByValue().eval()).segment(scan)
    monkeypatch.setattr(inference, "LUNGS_FIRST_VOXELS", 10**9)
    everywhere = segmenter(LungsByValue().eval()).segment(scan)
    assert 0.1 < first["lesion"].sum() / first["lung"].sum() < 0.9
    for region in REGIONS:
        np.testing.assert_array_equal(first[region], everywhere[region])


def test_bowel_gas_is_no_lung():
    volume = chest()
    lung = segmenter(ByValue()).segment(volume)["lung"]
    np.testing.assert_array_equal(lung, (volume.array != AIR) & (volume.array < SOFT) & (np.arange(64) > 10))


def test_where_no_lung_is_found_the_whole_volume_is_looked_at(lungs_first: None):
    class NeverLung(ByValue):
        def forward(self, image_bcxyz: Tensor) -> Tensor:
            logits = super().forward(image_bcxyz)
            logits[:, [c for c in range(len(REGIONS)) if c != LESION_CHANNEL]] = -8
            return logits

    kept = np.zeros(chest().array.shape, np.float32)
    segmenter(NeverLung()).segment_keeping(chest(), {"lesion": kept}, StageTimer())
    assert (kept > 0.5).sum() == 1000


def test_lung_is_uncertain_where_networks_disagree_on_the_lesion():
    class NoLesion(ByValue):
        def forward(self, image_bcxyz: Tensor) -> Tensor:
            logits = super().forward(image_bcxyz)
            logits[:, LESION_CHANNEL] = -8
            return logits

    two = replace(segmenter(ByValue()), networks=[ByValue(), NoLesion()])
    for asked, expected in ((two, chest().array == LESION), (segmenter(ByValue()), np.zeros(chest().array.shape))):
        unsure = np.zeros(chest().array.shape, bool)
        asked.segment_keeping(chest(), {"uncertain": unsure}, StageTimer())
        np.testing.assert_array_equal(unsure, expected)


def test_each_stage_of_the_work_is_timed():
    stages = StageTimer()
    segmenter(ByValue()).segment_keeping(chest(), {}, stages)
    assert list(stages.seconds) == ["to the networks' grid", "lungs", "lesions", "back to the scan's grid"]
    assert stages.seconds["lesions"] > 0


def test_slabs_do_not_show_in_the_masks(monkeypatch: pytest.MonkeyPatch):
    turned = chest().affine_ras.copy()
    turned[:3, :3] = turned[:3, :3] @ _about_z(12) @ np.diag([0.7, 0.7, 1.3])
    volume = Volume(chest().array, turned, "hu")
    coarse = Segmenter([ByValue()], CanonicalCT((2.0, 2.0, 3.0), WINDOW), (32, 32, 8), REGIONS, "hu", True, 0.5)
    whole = coarse.segment(volume)
    for module in (inference, transforms):
        monkeypatch.setattr(module, "SLAB_VOXELS", 30_000)
    for region, mask in coarse.segment(volume).items():
        np.testing.assert_array_equal(mask, whole[region])


def _about_z(degrees: float) -> np.ndarray:
    a = np.deg2rad(degrees)
    return np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])


def test_a_scan_in_other_units_is_refused():
    grey = Volume(chest().array, chest().affine_ras, "arbitrary")
    with pytest.raises(UserError, match="arbitrary"):
        segmenter(ByValue()).segment(grey)


def test_pieces_below_a_tenth_of_the_largest_are_shreds():
    mask = np.zeros((20, 4, 4), bool)
    mask[:10], mask[12:13], mask[14, 0, 0] = True, True, True
    kept = drop_small_components(mask)
    assert kept.sum() == 160 + 16
    assert not kept[14].any()
    assert not drop_small_components(np.zeros((3, 3, 3), bool)).any()


def test_masks_fit_together_region_by_region():
    masks = decide({"lung": np.array([0.9, 0.1]), "lesion": np.array([0.4, 0.9])}, lesion_threshold=0.3)
    assert masks["lesion"].tolist() == [True, False]
