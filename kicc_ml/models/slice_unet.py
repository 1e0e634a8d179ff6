"""A 2-D U-Net that segments a volume slice by slice, each with its neighbours; two CPU cores can train it."""

from collections.abc import Sequence
from math import prod

import torch
from monai.networks.nets import UNet
from torch import Tensor, nn


class SliceUNet(nn.Module):
    """MONAI's residual 2-D U-Net over axial slices, with ``neighbours`` slices on either side as additional channels.

    It maps volumes like a 3-D network: (batch, in_channels, x, y, z) -> (batch, out_channels, x, y, z). Outside
    training, the outermost slice is repeated beyond the ends of the volume. In training, the ends of a patch are not
    the ends of a scan: its outer ``neighbours`` slices are context only, and the output has only the slices between
    them. x and y must be multiples of the product of ``strides``. With batch normalisation, the result of a voxel
    depends only on its surroundings, not on the size of the input, so lungs can be cut out first.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (32, 64, 128, 256, 256),
        strides: Sequence[int] = (2, 2, 2, 2),
        num_res_units: int = 2,
        neighbours: int = 1,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.neighbours = neighbours
        #: What plans of a training ask (:mod:`kicc_ml.models.network_facts`).
        self.slices_of_patch = 2 * neighbours + 1
        self.patch_multiples = (prod(strides), prod(strides), 1)
        seen = in_channels * (2 * neighbours + 1)
        self.plane = UNet(
            2, seen, out_channels, channels, strides, num_res_units=num_res_units, norm="batch", dropout=dropout
        ).to(memory_format=torch.channels_last)

    @staticmethod
    def planned_strides(strides: Sequence[Sequence[int]]) -> list[int]:
        """Return one stride a level, for x and y."""
        return [level[0] for level in strides]

    def forward(self, image_bcxyz: Tensor) -> Tensor:
        """Return logits for each slice, each seen with its neighbours ``[batch, region, x, y, z]``."""
        if not self.training:
            ends = (self.neighbours, self.neighbours, 0, 0, 0, 0)
            image_bcxyz = nn.functional.pad(image_bcxyz, ends, mode="replicate")
        return self.segment_inner_slices(image_bcxyz)

    def segment_inner_slices(self, image_bcxyz: Tensor) -> Tensor:
        """Return logits for the slices that have all their neighbours in ``image_bcxyz``, as many as there are."""
        seen_bzcnxy = image_bcxyz.unfold(4, 2 * self.neighbours + 1, 1).permute(0, 4, 1, 5, 2, 3)
        batch, slices, _, _, size_x, size_y = seen_bzcnxy.shape
        slices_bcxy = seen_bzcnxy.reshape(batch * slices, -1, size_x, size_y)
        logits_bcxy = self.plane(slices_bcxy.contiguous(memory_format=torch.channels_last))
        return logits_bcxy.reshape(batch, slices, -1, size_x, size_y).permute(0, 2, 3, 4, 1)
