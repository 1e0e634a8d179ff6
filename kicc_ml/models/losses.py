"""Losses as parts of a configuration: called with logits, labels and what of these is known; they give one number."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kicc_ml.core.parts import PARTIAL, TARGET, build_part, find_part
from kicc_ml.models.outcome import masked_cross_entropy
from kicc_ml.models.segmentation import masked_dice_cross_entropy
from kicc_ml.models.task import Loss


def build_own_loss(settings: Mapping[str, Any]) -> Loss:
    """Build the loss that ``_target_`` names: a class is made of the other settings, a function is called as it is."""
    is_function = not isinstance(find_part(settings[TARGET]), type)
    return build_part({**settings, PARTIAL: True} if is_function else settings)


class MaskedDiceCrossEntropy(nn.Module):
    """Soft Dice and binary cross-entropy over labelled regions: see :func:`masked_dice_cross_entropy`."""

    def forward(self, logits_bcxyz: Tensor, mask_bcxyz: Tensor, known_bc: Tensor) -> Tensor:
        """Compute the loss; ``known_bc`` says which regions of which sample have a reference."""
        return masked_dice_cross_entropy(logits_bcxyz, mask_bcxyz, known_bc)


class MaskedCrossEntropy(nn.Module):
    """Binary cross-entropy over known endpoints: see :func:`masked_cross_entropy`."""

    def forward(self, logits_be: Tensor, endpoints_be: Tensor, known_be: Tensor) -> Tensor:
        """Compute the loss; ``known_be`` says which endpoints of which patient are known."""
        return masked_cross_entropy(logits_be, endpoints_be, known_be)


class OnKnownRegions(nn.Module):
    """A loss that knows of no missing labels, such as those of MONAI, over the labelled (case, region) pairs alone.

    Args:
        loss: takes logits and 0/1 masks ``[n, 1, x, y, z]``, for example ``monai.losses.DiceCELoss(sigmoid=True)``. It
            is asked region by region; the mean over regions counts.
    """

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits_bcxyz: Tensor, mask_bcxyz: Tensor, known_bc: Tensor) -> Tensor:
        """Average the wrapped loss over the regions that some sample of the batch has a reference for."""
        learnt = [channel for channel in range(known_bc.shape[1]) if known_bc[:, channel].any()]
        if not learnt:
            return 0.0 * logits_bcxyz.sum()
        losses = [
            self.loss(logits_bcxyz[known_bc[:, one], one, None], mask_bcxyz[known_bc[:, one], one, None])
            for one in learnt
        ]
        return torch.stack(losses).mean()
