"""A volume through a 2-D network: every slice sees its neighbours and no other."""

import pytest
import torch

from kicc_ml.models.slice_unet import SliceUNet


def network(neighbours: int) -> SliceUNet:
    torch.manual_seed(0)
    return SliceUNet(1, 2, channels=[4, 8], strides=[2], num_res_units=1, neighbours=neighbours).eval()


@pytest.mark.parametrize("neighbours", [0, 1, 2])
def test_an_answer_depends_on_its_slice_and_the_neighbours_alone(neighbours: int):
    image = torch.rand(1, 1, 8, 8, 9)
    changed = image.clone()
    changed[..., 4] += 1
    answer, other = network(neighbours)(image), network(neighbours)(changed)
    differs = [not torch.equal(answer[..., z], other[..., z]) for z in range(9)]
    assert differs == [abs(z - 4) <= neighbours for z in range(9)]


def test_slices_and_samples_come_back_in_their_own_places():
    image = torch.rand(2, 1, 16, 8, 5)
    together = network(1)(image)
    assert together.shape == (2, 2, 16, 8, 5)
    torch.testing.assert_close(together[1:], network(1)(image[1:]))
    torch.testing.assert_close(together[..., 1:4], network(1)(image[..., :5])[..., 1:4])


def test_beyond_the_ends_the_outermost_slice_is_repeated():
    image = torch.rand(1, 1, 8, 8, 3)
    longer = torch.cat([image[..., :1], image, image[..., -1:]], dim=-1)
    torch.testing.assert_close(network(1)(image), network(1)(longer)[..., 1:-1])


def test_in_training_the_ends_of_a_patch_are_context_alone():
    image = torch.rand(1, 1, 8, 8, 6)
    in_training = network(1)
    in_training.plane.eval()  # the same statistics either way
    in_training.training = True
    torch.testing.assert_close(in_training(image), network(1)(image)[..., 1:-1])
