"""Losses: one that learns, one that gives no number."""

import torch
from torch import Tensor, nn


class SquaredError(nn.Module):
    """Mean squared error of the probabilities, over what is labelled."""

    def forward(self, logits_bcxyz: Tensor, mask_bcxyz: Tensor, known_bc: Tensor) -> Tensor:
        error_bc = (logits_bcxyz.sigmoid() - mask_bcxyz).square().mean((2, 3, 4))
        return (error_bc * known_bc).sum() / known_bc.sum().clamp(min=1)


def not_a_number(logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    """What a division by nothing gives."""
    return logits.mean() * torch.nan
