"""Small tensors on their way to a GPU, without waiting for it."""

from collections.abc import Sequence

import torch


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor of the CPU to a device; a GPU copies from pinned memory while this process goes on."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def take_channels(tensor_bc: torch.Tensor, channels: Sequence[int]) -> torch.Tensor:
    """Select channels, the second axis, in an order. Indexing by a list would make a GPU wait for the list."""
    if list(channels) == list(range(tensor_bc.shape[1])):
        return tensor_bc
    return torch.stack([tensor_bc[:, channel] for channel in channels], dim=1)
