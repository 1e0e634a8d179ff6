"""A network that says nothing of itself: whoever plans with it has to try it."""

from torch import Tensor, nn


class TwoScales(nn.Module):
    """A convolution in full resolution beside one in half."""

    def __init__(self, in_channels: int, out_channels: int, width: int = 4) -> None:
        super().__init__()
        self.near = nn.Conv3d(in_channels, width, 3, padding=1)
        self.far = nn.Sequential(
            nn.Conv3d(in_channels, width, 2, stride=2), nn.GELU(), nn.ConvTranspose3d(width, width, 2, 2)
        )
        self.last = nn.Conv3d(width, out_channels, 1)

    def forward(self, image_bcxyz: Tensor) -> Tensor:
        return self.last(self.near(image_bcxyz).relu() + self.far(image_bcxyz))


class ReadsValues(TwoScales):
    """One that cannot be rehearsed without values: it looks at them."""

    def forward(self, image_bcxyz: Tensor) -> Tensor:
        return super().forward(image_bcxyz - float(image_bcxyz.mean().item()))
