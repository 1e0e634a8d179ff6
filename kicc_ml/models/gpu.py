"""What makes a GPU faster and changes no result beyond rounding."""

import torch
from torch import nn


def arrange_for_gpu(network: nn.Module, device: torch.device) -> nn.Module:
    """Arrange, for a GPU, the weights of 3-D convolutions with the channels last, as its tensor cores take them.

    What a convolution gives follows its weights, so that the whole network works in that arrangement.
    """
    if device.type == "cuda":
        for weight in network.parameters():
            if weight.ndim == 5:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last_3d)
    return network


def allow_tensor_cores(device: torch.device) -> None:
    """Let a GPU multiply float32 matrices in TF32, as it does in convolutions already."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
