"""The list a run folder may pick from."""

import pytest
import torch

from kicc_ml.core.errors import UserError
from kicc_ml.core.regions import REGIONS
from kicc_ml.models.networks import NETWORKS, build_network

SIZES = {"in_channels": 1, "out_channels": len(REGIONS)}
SETTINGS = {
    "monai.networks.nets.UNet": {"spatial_dims": 3, "channels": [4, 8], "strides": [2]},
    "monai.networks.nets.SegResNet": {"spatial_dims": 3, "init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]},
    "monai.networks.nets.DynUNet": {
        **{"spatial_dims": 3, "kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2]},
        "filters": [4, 8, 8],
    },
    "kicc_ml.models.slice_unet.SliceUNet": {"channels": [4, 8], "strides": [2], "neighbours": 1},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_segmentation_network_has_one_logit_per_region_at_every_voxel(name: str):
    network = build_network({"_target_": name, **SETTINGS[name]}, SIZES).eval()
    assert network(torch.rand(1, 1, 16, 16, 8)).shape == (1, len(REGIONS), 16, 16, 8)


def test_every_listed_network_is_tried_here():
    assert set(NETWORKS) == {*SETTINGS, "kicc_ml.models.outcome.OutcomeNetwork"}


@pytest.mark.parametrize("name", ["monai.networks.nets.VNet", "builtins.exec", "UNet"])
def test_a_network_that_is_not_listed_is_refused_and_the_list_shown(name: str):
    with pytest.raises(UserError) as caught:
        build_network({"_target_": name}, SIZES)
    assert all(one in str(caught.value) for one in (name, *NETWORKS))
