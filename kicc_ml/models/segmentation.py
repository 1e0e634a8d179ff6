"""Lesion segmentation: one logit per region, trained on whatever regions each case has labelled."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from monai.inferers import sliding_window_inference
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from kicc_ml.models.schedule import decayed
from kicc_ml.records import REGIONS

#: Keeps the Dice of an empty reference finite; about one voxel, so that a lone false positive still costs.
DICE_SMOOTHING = 1.0

#: Share of a patch by which windows overlap; with Gaussian weights, more of it costs more than it gains.
WINDOW_OVERLAP = 0.25
WINDOWS_AT_ONCE = 2

#: Where each region is found in a mirrored patient.
MIRROR_CHANNELS = [
    REGIONS.index({"left_lung": "right_lung", "right_lung": "left_lung"}.get(region, region)) for region in REGIONS
]


def window_logits(network: nn.Module, image_bcxyz: Tensor, patch_size: Sequence[int]) -> Tensor:
    """Logits of a whole volume from windows of the size the network was trained on, blended by Gaussian weights."""
    logits = sliding_window_inference(
        image_bcxyz, tuple(patch_size), WINDOWS_AT_ONCE, network, WINDOW_OVERLAP, mode="gaussian"
    )
    assert isinstance(logits, Tensor)
    return logits


def masked_dice_cross_entropy(logits_bcxyz: Tensor, mask_bcxyz: Tensor, known_bc: Tensor) -> Tensor:
    """Soft Dice (over the batch, per region) + binary cross-entropy, over the labelled (case, region) pairs alone.

    Returns a scalar; zero, with gradient, where nothing is labelled. Milletari et al., 3DV 2016 (V-Net Dice).
    """
    space = tuple(range(2, logits_bcxyz.ndim))
    known = known_bc.to(logits_bcxyz.dtype)
    probability = logits_bcxyz.sigmoid()
    overlap_c = ((probability * mask_bcxyz).sum(space) * known).sum(0)
    size_c = ((probability + mask_bcxyz).sum(space) * known).sum(0)
    learnt_c = (known.sum(0) > 0).to(logits_bcxyz.dtype)
    dice_c = (2 * overlap_c + DICE_SMOOTHING) / (size_c + DICE_SMOOTHING)
    entropy_bc = nn.functional.binary_cross_entropy_with_logits(logits_bcxyz, mask_bcxyz, reduction="none").mean(space)
    entropy = (entropy_bc * known).sum() / known.sum().clamp(min=1)
    return ((1 - dice_c) * learnt_c).sum() / learnt_c.sum().clamp(min=1) + entropy


def mirrored_logits(network: nn.Module, image_bcxyz: Tensor, patch_size: Sequence[int]) -> Tensor:
    """Mean of :func:`window_logits` over a volume and its left-right mirror image, whose sides are exchanged back.

    Twice the work; networks are trained on mirrored patches, so both looks are as good.
    """
    mirrored = window_logits(network, image_bcxyz.flip(2), patch_size).flip(2)
    return (window_logits(network, image_bcxyz, patch_size) + mirrored[:, MIRROR_CHANNELS]) / 2


class SegmentationTask(pl.LightningModule):
    """Trains a network that maps ``image_bcxyz`` (1 channel, 0..1) to one logit per entry of ``REGIONS``.

    A batch holds ``image_bcxyz``, ``mask_bcxyz`` (0/1), ``mask_known_bc`` and ``case_id``: patches to train on,
    whole volumes to validate on, which are seen through windows of ``patch_size``.
    """

    monitor, monitor_mode = "val/dice", "max"

    def __init__(self, network: nn.Module, patch_size: Sequence[int], learning_rate: float, weight_decay: float):
        super().__init__()
        self.network = network
        self.patch_size = patch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self._overlap: list[Tensor] = []

    def forward(self, image_bcxyz: Tensor) -> Tensor:
        return self.network(image_bcxyz)

    def training_step(self, batch: Mapping[str, Any], _: int) -> Tensor:
        logits_bcxyz = self(batch["image_bcxyz"]).float()
        loss = masked_dice_cross_entropy(logits_bcxyz, batch["mask_bcxyz"], batch["mask_known_bc"])
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} on {', '.join(batch['case_id'])}")
        self.log("train/loss", loss, prog_bar=True, batch_size=len(logits_bcxyz))
        return loss

    def validation_step(self, batch: Mapping[str, Any], _: int) -> None:
        positive_bcxyz = window_logits(self.network, batch["image_bcxyz"], self.patch_size) > 0
        mask_bcxyz = batch["mask_bcxyz"] > 0.5
        space = tuple(range(2, positive_bcxyz.ndim))
        overlap = 2 * (positive_bcxyz & mask_bcxyz).sum(space)
        size = positive_bcxyz.sum(space) + mask_bcxyz.sum(space)
        self._overlap.append(torch.stack([overlap, size, batch["mask_known_bc"]], dim=-1).cpu())

    def on_validation_epoch_end(self) -> None:
        """Dice per case, then the mean over cases that have the region or were given one; unlabelled ones left out."""
        overlap, size, known = torch.cat(self._overlap).double().unbind(-1)
        self._overlap.clear()
        counted = (known > 0) & (size > 0)
        means = {}
        for channel, region in enumerate(REGIONS):
            if counted[:, channel].any():
                means[region] = (overlap / size)[counted[:, channel], channel].mean()
                self.log(f"val/dice_{region}", means[region], prog_bar=region == "lesion")
        self.log("val/dice", torch.stack(list(means.values())).mean() if means else torch.tensor(0.0))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        return decayed(optimizer, self)
