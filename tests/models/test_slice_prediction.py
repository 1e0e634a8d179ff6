"""Slices are seen whole and once: what is found in a part of a scan is what is found there in the whole."""

import pytest
import torch
from torch import Tensor

from kicc_ml.models import device_memory, slice_prediction
from kicc_ml.models.mirrors import TTA_LEFT_RIGHT, TTA_LEFT_RIGHT_FRONT_BACK, MirrorAxes
from kicc_ml.models.slice_prediction import LEAST_LESION, MOST_SLICE_PIXELS, go_by_slices
from kicc_ml.models.slice_unet import SliceUNet
from kicc_ml.models.sliding_window import predict_by_sliding_window

REGIONS, PATCH, EVERY = 3, (8, 8, 3), range(3)
LESION, SWAPPED = 2, [1, 0, 2]
PART = (slice(3, 17), slice(5, 12), slice(2, 8))


class Counted(SliceUNet):
    """Counts the slices that it is shown, and notes the width of each."""

    def __init__(self, neighbours: int = 1) -> None:
        torch.manual_seed(0)
        super().__init__(1, REGIONS, [4, 8], [2], num_res_units=1, neighbours=neighbours)
        self.slices, self.widths = 0, set[int]()

    def segment_inner_slices(self, image_bcxyz: Tensor) -> Tensor:
        logits = super().segment_inner_slices(image_bcxyz)
        self.slices += logits.shape[0] * logits.shape[4]
        self.widths.add(logits.shape[2])
        return logits


@pytest.fixture
def image() -> Tensor:
    return torch.rand(1, 21, 18, 11, generator=torch.Generator().manual_seed(1))


def predict(network: SliceUNet, image: Tensor, mirrors: tuple[MirrorAxes, ...] = ((),), **asked: object) -> Tensor:
    return predict_by_sliding_window([network.eval()], image, PATCH, EVERY, mirrors, SWAPPED, **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("neighbours", [0, 1, 2])
def test_a_volume_gets_the_answer_of_the_network_to_all_of_it_at_once(neighbours: int, image: Tensor):
    network = Counted(neighbours).eval()
    with torch.inference_mode():
        whole = network(torch.nn.functional.pad(image, [0, 0, 0, 0, 0, 1])[None])[0, :, :21].sigmoid()
    torch.testing.assert_close(predict(network, image).float(), whole, rtol=0, atol=0.02)  # bf16 and float16


@pytest.mark.parametrize("lesion", [None, LESION])
@pytest.mark.parametrize("mirrors", [((),), TTA_LEFT_RIGHT, TTA_LEFT_RIGHT_FRONT_BACK])
def test_what_is_found_in_a_part_is_what_is_found_there_in_the_whole(
    mirrors: tuple[MirrorAxes, ...], lesion: int | None, image: Tensor
):
    image[..., 4] += 3  # its lesion lies outside the part
    whole, part = (predict(LesionWhereBright(), image, mirrors, within=one, lesion=lesion) for one in (None, PART))
    assert torch.equal(part, whole[:, *PART])


def test_each_slice_that_is_asked_for_is_predicted_once_and_whole(image: Tensor):
    network = Counted()
    predict(network, image, within=PART)
    assert network.slices == PART[2].stop - PART[2].start
    assert network.widths == {22}  # of 21 voxels, filled up to a multiple of the strides


def test_how_many_slices_are_predicted_at_once_does_not_show(image: Tensor, monkeypatch: pytest.MonkeyPatch):
    together = predict(Counted(), image)
    monkeypatch.setattr(slice_prediction, "BLOCK_VOXELS", 1)
    torch.testing.assert_close(predict(Counted(), image), together, rtol=0, atol=2e-3)


def test_a_gpu_with_little_memory_left_gets_fewer_slices_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(device_memory, "free_bytes", lambda device: device_memory.GIB)
    counts = {kind: slice_prediction.slices_at_once(512 * 512, torch.device(kind)) for kind in ("cuda", "cpu")}
    assert counts["cuda"] * 512 * 512 * device_memory.ASSUMED_BYTES_A_VOXEL <= device_memory.GIB / 2
    assert counts["cpu"] > counts["cuda"] > 1
    assert slice_prediction.slices_at_once(MOST_SLICE_PIXELS, torch.device("cuda")) == 1


class LesionWhereBright(Counted):
    """Finds a lesion in a slice with a bright voxel, and none in any other."""

    def segment_inner_slices(self, image_bcxyz: Tensor) -> Tensor:
        logits = super().segment_inner_slices(image_bcxyz)
        logits[:, LESION] = torch.logit(torch.tensor(LEAST_LESION / 2))
        bright_b = image_bcxyz[..., 1].amax((1, 2, 3)) > 2
        logits[bright_b, LESION, 0, 0] = 3.0
        return logits


def test_mirror_images_are_looked_at_where_there_may_be_a_lesion(image: Tensor):
    image[..., [4, 7]] += 3
    network = LesionWhereBright()
    chosen = predict(network, image, TTA_LEFT_RIGHT, lesion=LESION)
    assert network.slices == 11 + 2
    everywhere, once = predict(LesionWhereBright(), image, TTA_LEFT_RIGHT), predict(LesionWhereBright(), image)
    for z in range(11):
        assert torch.equal(chosen[..., z], (everywhere if z in (4, 7) else once)[..., z])


def test_slices_that_are_too_large_are_seen_through_windows():
    side = int(MOST_SLICE_PIXELS**0.5)
    assert go_by_slices([Counted(), Counted()], (side, side, 900))
    assert not go_by_slices([Counted()], (side, side + 1, 1))


def test_networks_that_see_other_numbers_of_neighbours_do_not_go_together():
    assert not go_by_slices([Counted(1), Counted(2)], (8, 8, 8))
    assert not go_by_slices([Counted(), torch.nn.Conv3d(1, REGIONS, 1)], (8, 8, 8))
