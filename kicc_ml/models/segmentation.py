"""Lesion segmentation: one logit per region, trained on the labelled regions of each case."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kicc_ml.core.regions import REGIONS
from kicc_ml.models.precision import fast_autocast
from kicc_ml.models.schedule import decayed
from kicc_ml.models.sliding_window import predict_by_sliding_window
from kicc_ml.models.task import Loss, Task

#: Keeps the Dice of an empty reference finite; about one voxel, so a single false positive voxel still costs.
DICE_SMOOTHING = 1.0


def masked_dice_cross_entropy(logits_bcxyz: Tensor, mask_bcxyz: Tensor, known_bc: Tensor) -> Tensor:
    """Compute soft Dice (over the batch, per region) plus binary cross-entropy over labelled (case, region) pairs.

    Milletari et al., 3DV 2016 (V-Net Dice).

    Args:
        logits_bcxyz: one logit per region and voxel.
        mask_bcxyz: the reference, 0 or 1.
        known_bc: whether each region of each case is labelled.

    Returns:
        A scalar; zero, with gradient, if nothing is labelled.
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


def training_loss(
    logits: Tensor, mask_bcxyz: Tensor, known_bc: Tensor, loss: Loss = masked_dice_cross_entropy
) -> Tensor:
    """Compute the loss of a network output: ``bcxyz``, or several heads ``bhcxyz`` (deep supervision).

    Heads must have the size of the first, as in MONAI's DynUNet; each head has half the weight of the one before, as in
    nnU-Net. If the output has fewer slices than the mask, they are the middle ones.

    Args:
        logits: the output of the network.
        mask_bcxyz: the reference masks, 0 or 1.
        known_bc: whether a region of a case is labelled.
        loss: the loss of one head, of logits, masks and ``known_bc``.
    """
    first = (mask_bcxyz.shape[-1] - logits.shape[-1]) // 2
    mask_bcxyz = mask_bcxyz[..., first : first + logits.shape[-1]]
    logits_bhcxyz = logits.float() if logits.ndim > mask_bcxyz.ndim else logits.float()[:, None]
    weights = [0.5**head for head in range(logits_bhcxyz.shape[1])]
    heads = [loss(logits, mask_bcxyz, known_bc) for logits in logits_bhcxyz.unbind(1)]
    return torch.stack([weight * of_head for weight, of_head in zip(weights, heads, strict=True)]).sum() / sum(weights)


def one_tensor(answer: Tensor | Sequence[Tensor]) -> Tensor:
    """Make one tensor of a network's output in training; a list of heads of several sizes becomes ``bhcxyz``.

    Smaller heads are enlarged to the size of the first, with nearest neighbours.
    """
    if isinstance(answer, Tensor):
        return answer
    size = answer[0].shape[2:]
    return torch.stack([nn.functional.interpolate(head, size) for head in answer], dim=1)


class SegmentationTask(Task):
    """A training task for a network that maps ``image_bcxyz`` (1 channel, 0..1) to one logit per entry of ``regions``.

    A batch holds ``image_bcxyz``, ``mask_bcxyz`` (0/1), ``mask_known_bc`` and ``case_id``: patches to train on, and
    single whole volumes to validate on, which are predicted in windows of ``patch_size``. A network in training mode
    may return several heads, stacked along a second axis.
    """

    monitor, monitor_mode = "val/dice", "max"

    def __init__(
        self,
        network: nn.Module,
        patch_size: Sequence[int],
        learning_rate: float,
        weight_decay: float,
        loss: Loss = masked_dice_cross_entropy,
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
        schedule: Callable[..., Any] = decayed,
        regions: Sequence[str] = REGIONS,
    ) -> None:
        super().__init__(network, learning_rate, weight_decay, loss, optimizer, schedule)
        self.patch_size = patch_size
        self.regions = regions
        #: The network in another form for training steps; whoever sets it sees that it has the same weights.
        self.compiled: Callable[[Tensor], Any] | None = None

    def configure_metrics(self) -> None:
        """Make room for the voxel counts of the validation volumes."""
        self.validation_counts: list[Tensor] = []

    def forward(self, image_bcxyz: Tensor) -> Tensor:
        """Return a logit for each region and voxel ``[batch, region, x, y, z]``."""
        run = self.compiled if self.compiled is not None and self.training else self.network
        return run(image_bcxyz)

    def training_step(self, batch: Mapping[str, Any], _: int) -> Tensor:
        """Return the loss of a training batch; a loss that is no number ends the run by naming its cases."""
        image_bcxyz, mask_bcxyz, known_bc = (batch[key] for key in ("image_bcxyz", "mask_bcxyz", "mask_known_bc"))
        with fast_autocast(self.device.type):
            logits = one_tensor(self(image_bcxyz))
        loss = training_loss(logits, mask_bcxyz, known_bc, self.loss)
        on_cpu = loss.device.type == "cpu"
        self.check_loss(loss, _culprits(logits, batch) if on_cpu and not torch.isfinite(loss) else batch["case_id"])
        self.log("train/loss", loss, prog_bar=True, batch_size=len(logits))
        return loss

    def validation_step(self, batch: Mapping[str, Any], _: int) -> None:
        """Predict a whole volume and count its voxels for the Dice of each region."""
        every = range(len(self.regions))
        found_cxyz = predict_by_sliding_window([self.network], batch["image_bcxyz"][0], self.patch_size, every) > 0.5
        mask_cxyz = batch["mask_bcxyz"][0].to(found_cxyz.device) > 0.5
        overlap_c = 2 * (found_cxyz & mask_cxyz).sum((1, 2, 3))
        size_c = found_cxyz.sum((1, 2, 3)) + mask_cxyz.sum((1, 2, 3))
        known_c = batch["mask_known_bc"][0].to(found_cxyz.device)
        self.validation_counts.append(torch.stack([overlap_c, size_c, known_c], dim=-1))

    def on_validation_epoch_end(self) -> None:
        """Compute the mean Dice over cases with reference or predicted voxels; unlabelled cases are left out."""
        overlap, size, known = torch.stack([one.cpu() for one in self.validation_counts]).double().unbind(-1)
        self.validation_counts.clear()
        counted = (known > 0) & (size > 0)
        means = {}
        for channel, region in enumerate(self.regions):
            if counted[:, channel].any():
                means[region] = (overlap / size)[counted[:, channel], channel].mean()
                self.log(f"val/dice_{region}", means[region], prog_bar=region == "lesion")
        self.log("val/dice", torch.stack(list(means.values())).mean() if means else torch.tensor(0.0))


def _culprits(logits: Tensor, batch: Mapping[str, Any]) -> list[str]:
    """Find the cases whose logits or image are not finite; all cases of the batch if none is found."""
    sound_b = torch.stack([part.flatten(1).isfinite().all(1) for part in (logits, batch["image_bcxyz"])]).all(0)
    return [case_id for case_id, sound in zip(batch["case_id"], sound_b.tolist(), strict=True) if not sound] or list(
        batch["case_id"]
    )
