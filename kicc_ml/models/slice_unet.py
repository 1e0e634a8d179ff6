"""A U-Net that looks at a volume slice by slice, each with its neighbours: what two CPU cores can train."""

from collections.abc import Sequence

import torch
from monai.networks.nets import UNet
from torch import Tensor, nn


class SliceUNet(nn.Module):
    """MONAI's residual 2-D U-Net over axial slices; ``neighbours`` slices on either side are further channels.

    Takes and gives volumes like a 3-D network: (batch, in_channels, x, y, z) -> (batch, out_channels, x, y, z). Beyond
    the first and last slice the outermost one is repeated; in training, where these are the ends of a patch and not of
    a scan, they are context alone, and only the slices between them are answered. x and y must be multiples of the
    product of ``strides``. Batch normalisation, so that a voxel's answer depends on its surroundings alone, not on how
    much of the body is looked at: lungs can be cut out first.
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
        seen = in_channels * (2 * neighbours + 1)
        self.plane = UNet(
            2, seen, out_channels, channels, strides, num_res_units=num_res_units, norm="batch", dropout=dropout
        ).to(memory_format=torch.channels_last)

    def forward(self, image_bcxyz: Tensor) -> Tensor:
        if not self.training:
            ends = (self.neighbours, self.neighbours, 0, 0, 0, 0)
            image_bcxyz = nn.functional.pad(image_bcxyz, ends, mode="replicate")
        seen_bzcnxy = image_bcxyz.unfold(4, 2 * self.neighbours + 1, 1).permute(0, 4, 1, 5, 2, 3)
        batch, slices, _, _, size_x, size_y = seen_bzcnxy.shape
        slices_bcxy = seen_bzcnxy.reshape(batch * slices, -1, size_x, size_y)
        logits_bcxy = self.plane(slices_bcxy.contiguous(memory_format=torch.channels_last))
        return logits_bcxy.reshape(batch, slices, -1, size_x, size_y).permute(0, 2, 3, 4, 1)
