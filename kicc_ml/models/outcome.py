"""Outcome prediction from CT, radiograph and clinical table, any of which a patient may lack."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from monai.networks.blocks import Convolution
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from kicc_ml.models.schedule import decayed


class ClinicalEncoder(nn.Module):
    """Imputes with the median, standardises, marks what was missing; all of it fitted on training patients alone.

    What is fitted lies in buffers, so it is saved with the weights and can be fitted only once per fold.
    """

    def __init__(self, features: int, width: int):
        super().__init__()
        self.register_buffer("median_f", torch.zeros(features))
        self.register_buffer("mean_f", torch.zeros(features))
        self.register_buffer("scale_f", torch.ones(features))
        self.body = nn.Sequential(nn.Linear(2 * features, width), nn.GELU(), nn.Linear(width, width))

    median_f: Tensor
    mean_f: Tensor
    scale_f: Tensor

    def fit(self, clinical_bf: Tensor) -> None:
        """Take median, mean and standard deviation from training patients; a feature nobody has stays at zero."""
        lower_f, upper_f = clinical_bf.nanmedian(dim=0).values, -(-clinical_bf).nanmedian(dim=0).values
        self.median_f = ((lower_f + upper_f) / 2).nan_to_num(0.0)  # torch's median is the lower of the middle two
        filled_bf = self._imputed(clinical_bf)
        self.mean_f = filled_bf.mean(0)
        spread_f = filled_bf.std(0, correction=0)
        self.scale_f = torch.where(spread_f > 0, spread_f, torch.ones_like(spread_f))

    def standardised(self, clinical_bf: Tensor) -> Tensor:
        """Standardised values and one column of missing-marks per feature: (batch, 2 x features)."""
        value_bf = (self._imputed(clinical_bf) - self.mean_f) / self.scale_f
        return torch.cat([value_bf, clinical_bf.isnan().to(value_bf.dtype)], dim=1)

    def _imputed(self, clinical_bf: Tensor) -> Tensor:
        return torch.where(clinical_bf.isnan(), self.median_f.expand_as(clinical_bf), clinical_bf)

    def forward(self, clinical_bf: Tensor) -> Tensor:
        return self.body(self.standardised(clinical_bf))


def image_encoder(spatial_dims: int, channels: Sequence[int], width: int) -> nn.Sequential:
    """Strided convolutions, global average, one token: (batch, 1, ...) -> (batch, width)."""
    pairs = zip([1, *channels[:-1]], channels, strict=True)
    steps: list[nn.Module] = [
        Convolution(spatial_dims, before, after, strides=2, kernel_size=3, norm=("group", {"num_groups": 4}))
        for before, after in pairs
    ]
    pool = nn.AdaptiveAvgPool3d(1) if spatial_dims == 3 else nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(*steps, pool, nn.Flatten(), nn.Linear(channels[-1], width))


class OutcomeNetwork(nn.Module):
    """One token per modality, a learned token where it is missing, and a linear path from the clinical table.

    The linear path starts as the logistic regression that small cohorts support; the fused tokens add to it.
    ``forward`` takes a batch with ``clinical_bf`` and, as configured, ``ct_bcxyz`` + ``ct_known_b`` and
    ``cxr_bcxy`` + ``cxr_known_b``; it returns one logit per endpoint.
    """

    def __init__(
        self,
        features: int,
        endpoints: int,
        ct: bool = True,
        cxr: bool = True,
        channels: Sequence[int] = (8, 16, 32, 64),
        width: int = 32,
        dropout: float = 0.2,
    ):
        super().__init__()
        self.clinical = ClinicalEncoder(features, width)
        encoders = {"ct": (ct, 3), "cxr": (cxr, 2)}
        self.images = nn.ModuleDict(
            {name: image_encoder(dims, channels, width) for name, (wanted, dims) in encoders.items() if wanted}
        )
        self.missing = nn.ParameterDict({name: nn.Parameter(torch.zeros(width)) for name in self.images})
        self.linear = nn.Linear(2 * features, endpoints)
        tokens = 1 + len(self.images)
        self.fuse = nn.Sequential(
            nn.LayerNorm(tokens * width), nn.Dropout(dropout), nn.Linear(tokens * width, endpoints)
        )
        nn.init.zeros_(self.linear.weight)
        self.modality_dropout = dropout

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        clinical_bf = batch["clinical_bf"]
        tokens = [self.clinical(clinical_bf), *(self._token(name, batch) for name in self.images)]
        return self.linear(self.clinical.standardised(clinical_bf)) + self.fuse(torch.cat(tokens, dim=1))

    def _token(self, name: str, batch: Mapping[str, Tensor]) -> Tensor:
        """The image's token, or the learned one where the patient lacks it (and, in training, now and then)."""
        image = batch["ct_bcxyz" if name == "ct" else "cxr_bcxy"]
        known_b = batch[f"{name}_known_b"]
        if self.training:
            known_b = known_b & (torch.rand(len(known_b), device=known_b.device) >= self.modality_dropout)
        return torch.where(known_b[:, None], self.images[name](image), self.missing[name].expand(len(image), -1))

    @torch.no_grad()
    def fit_inputs(self, clinical_bf: Tensor, prevalence_e: Tensor) -> None:
        """Fit what is fitted before the first step: the clinical scaling, and the bias at the training prevalence."""
        self.clinical.fit(clinical_bf)
        self.linear.bias.copy_(torch.logit(prevalence_e.clamp(0.01, 0.99)))


def masked_cross_entropy(logits_be: Tensor, endpoints_be: Tensor, known_be: Tensor) -> Tensor:
    """Binary cross-entropy over the known endpoints alone; unweighted, since class weights wreck calibration."""
    entropy_be = nn.functional.binary_cross_entropy_with_logits(logits_be, endpoints_be, reduction="none")
    return (entropy_be * known_be).sum() / known_be.sum().clamp(min=1)


class OutcomeTask(pl.LightningModule):
    """Trains an :class:`OutcomeNetwork` on several endpoints at once; unknown ones do not count."""

    monitor, monitor_mode = (
        "val/loss",
        "min",
    )  # never an AUC: with one class among few patients it is arbitrary

    def __init__(self, network: nn.Module, learning_rate: float, weight_decay: float):
        super().__init__()
        self.network = network
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        return self.network(batch)

    def training_step(self, batch: Mapping[str, Any], _: int) -> Tensor:
        return self._loss(batch, "train/loss")

    def validation_step(self, batch: Mapping[str, Any], _: int) -> None:
        self._loss(batch, "val/loss")

    def _loss(self, batch: Mapping[str, Any], name: str) -> Tensor:
        logits_be = self(batch).float()
        loss = masked_cross_entropy(logits_be, batch["endpoints_be"], batch["endpoints_known_be"].float())
        self.log(name, loss, prog_bar=True, batch_size=len(logits_be))
        return loss

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        return decayed(optimizer, self)
