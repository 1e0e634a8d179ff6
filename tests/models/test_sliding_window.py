"""Volumes seen through windows: nothing is left out, mirrored results are mirrored back, folds are averaged."""

from itertools import pairwise, product
from math import prod

import pytest
import torch
from torch import Tensor, nn

from kicc_ml.core.regions import REGIONS
from kicc_ml.models import device_memory
from kicc_ml.models import sliding_window as windows
from kicc_ml.models.mirrors import TTA_LEFT_RIGHT, TTA_LEFT_RIGHT_FRONT_BACK
from kicc_ml.models.sliding_window import predict_by_sliding_window, window_size

EVERY = range(len(REGIONS))
LEFT, RIGHT, LESION = (REGIONS.index(region) for region in ("left_lung", "right_lung", "lesion"))


class Grey(nn.Module):
    """Says of every region what the grey value is; counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, image_bcxyz: Tensor) -> Tensor:
        self.shapes.append(tuple(image_bcxyz.shape))
        return torch.logit(image_bcxyz.float(), eps=1e-6).repeat(1, len(REGIONS), 1, 1, 1)


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_memory, "VOXELS_AT_ONCE", 2 * 8 * 8 * 4)


@pytest.mark.parametrize("shape", [(19, 14, 9), (8, 8, 4), (33, 8, 5)])
def test_windows_of_a_voxelwise_network_blend_to_what_it_says_of_the_whole(
    shape: tuple[int, int, int], small_windows: None
):
    image = torch.rand(1, *shape).clamp(0.01, 0.99)
    network = Grey()
    found = predict_by_sliding_window([network], image, (8, 8, 4), EVERY, TTA_LEFT_RIGHT)
    torch.testing.assert_close(found.float(), image.expand(len(REGIONS), -1, -1, -1), rtol=0, atol=4e-3)
    assert all(prod(seen) <= device_memory.VOXELS_AT_ONCE for seen in network.shapes)


def test_several_windows_go_through_the_network_at_once_within_the_limit(small_windows: None):
    network = Grey()
    predict_by_sliding_window([network], torch.rand(1, 20, 20, 4), (8, 8, 4), EVERY)
    assert max(prod(seen) for seen in network.shapes) == device_memory.VOXELS_AT_ONCE
    assert max(seen[0] for seen in network.shapes) == 2


def test_a_volume_smaller_than_the_window_keeps_its_own_size():
    assert predict_by_sliding_window([Grey()], torch.rand(1, 5, 4, 3), (8, 8, 8), EVERY).shape == (
        len(REGIONS),
        5,
        4,
        3,
    )


@pytest.mark.parametrize(("shape", "window"), [((180, 150, 75), (192, 160, 8)), ((60, 60, 10), (64, 64, 10))])
def test_a_window_grows_to_the_volume_while_memory_allows(shape: tuple[int, ...], window: tuple[int, ...]):
    assert window_size(shape, (192, 192, 2 if window[2] == 10 else 4), 192 * 160 * 8) == window


@pytest.mark.parametrize(("norm", "sizes"), [(nn.InstanceNorm3d, {(16, 16, 8)}), (nn.BatchNorm3d, {(32, 32, 24)})])
def test_a_network_that_normalises_by_what_it_sees_is_shown_windows_of_its_patch_size(
    norm: type[nn.Module], sizes: set[tuple[int, int, int]]
):
    """Trained on patches, it would take a whole scan for something else: the demonstration fell from 0.77 to 0.22."""
    seen = Grey()
    network = nn.Sequential(norm(1), nn.Sigmoid(), seen).eval()
    predict_by_sliding_window([network], torch.rand(1, 30, 30, 20), (16, 16, 8), EVERY)
    assert {shape[2:] for shape in seen.shapes} == sizes


def test_through_windows_too_a_part_gets_the_answer_that_the_whole_gets_there():
    torch.manual_seed(0)
    seen = Grey()
    network = nn.Sequential(nn.Conv3d(1, 1, 3, padding=1), nn.InstanceNorm3d(1), nn.Sigmoid(), seen).eval()
    image, part = torch.rand(1, 50, 30, 20), (slice(21, 40), slice(3, 9), slice(0, 20))
    whole = predict_by_sliding_window([network], image, (16, 16, 8), EVERY)
    windows_of_whole = sum(shape[0] for shape in seen.shapes)
    torch.testing.assert_close(
        predict_by_sliding_window([network], image, (16, 16, 8), EVERY, within=part), whole[:, *part], rtol=0, atol=1e-3
    )
    assert sum(shape[0] for shape in seen.shapes) - windows_of_whole < 0.7 * windows_of_whole


@pytest.mark.parametrize("tta_mirrors", [TTA_LEFT_RIGHT, TTA_LEFT_RIGHT_FRONT_BACK])
def test_a_mirrored_patient_gets_the_mirrored_answer_with_sides_exchanged(tta_mirrors: tuple[tuple[int, ...], ...]):
    torch.manual_seed(0)
    network = nn.Conv3d(1, len(REGIONS), 3, padding=1)
    image = torch.rand(1, 8, 8, 8)
    answer, of_mirrored = (
        predict_by_sliding_window([network], one, (8, 8, 8), EVERY, tta_mirrors) for one in (image, image.flip(1))
    )
    torch.testing.assert_close(of_mirrored[LEFT], answer[RIGHT].flip(0), rtol=1e-2, atol=5e-3)
    torch.testing.assert_close(of_mirrored[LESION], answer[LESION].flip(0), rtol=1e-2, atol=5e-3)


def test_networks_are_averaged_as_probabilities_not_as_logits():
    class Constant(nn.Module):
        def __init__(self, probability: float) -> None:
            super().__init__()
            self.logit = float(torch.logit(torch.tensor(probability)))

        def forward(self, image_bcxyz: Tensor) -> Tensor:
            return torch.full((len(image_bcxyz), len(REGIONS), *image_bcxyz.shape[2:]), self.logit)

    found = predict_by_sliding_window([Constant(0.98), Constant(0.3)], torch.rand(1, 9, 9, 9), (8, 8, 4), [LESION])
    torch.testing.assert_close(found.float(), torch.full((1, 9, 9, 9), (0.98 + 0.3) / 2), rtol=0, atol=2e-3)


@pytest.mark.parametrize(("length", "size", "step"), list(product([4, 7, 8, 9, 20, 33], [4, 8], [1, 2])))
def test_windows_cover_every_voxel_overlap_and_reach_beyond_by_less_than_a_step(length: int, size: int, step: int):
    starts = windows.window_starts(length, size, step)
    assert all(start % step == 0 for start in starts) or step > windows.WINDOW_OVERLAP * size
    assert max(starts) + size < max(length, size) + step
    covered = {place for start in starts for place in range(start, min(start + size, length))}
    assert covered == set(range(length))
    steps = {later - earlier for earlier, later in pairwise(starts)}
    assert all(step <= size * (1 - windows.WINDOW_OVERLAP) for step in steps)


def test_where_windows_meet_an_answer_comes_from_those_that_see_what_lies_about_it(small_windows: None):
    """A network that is wrong at the border of what it is shown, as convolutions are, is not wrong in a volume."""

    class WrongAtTheBorder(nn.Module):
        def forward(self, image_bcxyz: Tensor) -> Tensor:
            logits = torch.full((len(image_bcxyz), len(REGIONS), *image_bcxyz.shape[2:]), 8.0)
            logits[:, :, 0] = logits[:, :, -1] = -8.0
            return logits

    found = predict_by_sliding_window([WrongAtTheBorder()], torch.rand(1, 40, 8, 4), (8, 8, 4), [LESION])[0]
    assert (found[1:-1] > 0.5).all()
    assert (found[0] < 0.5).all()
