"""Outcome prediction from CT, radiograph and clinical table, any of which may be missing for a patient."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn

from kicc_ml.models.schedule import decayed
from kicc_ml.models.task import Loss, Task


class ClinicalEncoder(nn.Module):
    """An encoder that imputes medians, standardises and adds indicators of missingness, fitted on training data.

    The fitted values are buffers, so they are saved with the weights.
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
        """Fit median, mean and standard deviation on training patients; a feature without values gets zero."""
        lower_f, upper_f = clinical_bf.nanmedian(dim=0).values, -(-clinical_bf).nanmedian(dim=0).values
        self.median_f = ((lower_f + upper_f) / 2).nan_to_num(0.0)  # torch's median is the lower one of the middle two
        filled_bf = self._imputed(clinical_bf)
        self.mean_f = filled_bf.mean(0)
        spread_f = (filled_bf - self.mean_f).square().mean(0).sqrt()
        self.scale_f = torch.where(spread_f > 0, spread_f, torch.ones_like(spread_f))

    def standardised(self, clinical_bf: Tensor) -> Tensor:
        """Standardise the values and add one indicator of missingness per feature: (batch, 2 x features)."""
        value_bf = (self._imputed(clinical_bf) - self.mean_f) / self.scale_f
        return torch.cat([value_bf, clinical_bf.isnan().to(value_bf.dtype)], dim=1)

    def _imputed(self, clinical_bf: Tensor) -> Tensor:
        return torch.where(clinical_bf.isnan(), self.median_f.expand_as(clinical_bf), clinical_bf)

    def forward(self, clinical_bf: Tensor) -> Tensor:
        """Encode the clinical features ``[batch, feature]``."""
        return self.body(self.standardised(clinical_bf))


class ImageEncoder(nn.Module):
    """An encoder of strided convolutions, then mean and maximum over space: (batch, 1, ...) -> (batch, width).

    The mean shows how much of the lung is affected; the maximum shows a small finding.
    """

    def __init__(self, spatial_dims: int, channels: Sequence[int], width: int):
        super().__init__()
        norm = ("group", {"num_groups": 4})
        steps = [
            Convolution(spatial_dims, before, after, strides=2, kernel_size=3, norm=norm)
            for before, after in pairwise([1, *channels])
        ]
        self.body = nn.Sequential(*steps)
        self.head = nn.Linear(2 * channels[-1], width)

    def forward(self, image: Tensor) -> Tensor:
        """Encode an image by the mean and the maximum of its features."""
        found_bcn = self.body(image).flatten(2)
        return self.head(torch.cat([found_bcn.mean(-1), found_bcn.amax(-1)], dim=1))


class OutcomeNetwork(nn.Module):
    """A network with one token per modality, a learned token for a missing one, and a linear path from the table.

    The linear path is a logistic regression, which small cohorts support; the fused tokens are added to it. Both start
    at zero, so the first prediction is the prevalence. In training each modality, the table included, is withheld at
    random (``dropout``), so the network learns to predict without it. A table with only missing cells is a missing
    table.

    ``forward`` takes a batch with ``clinical_bf`` and, as configured, ``ct_bcxyz`` + ``ct_known_b`` and
    ``cxr_bcxy`` + ``cxr_known_b``; it returns one logit per endpoint, recalibrated except in training.
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
            {name: ImageEncoder(dims, channels, width) for name, (wanted, dims) in encoders.items() if wanted}
        )
        modalities = ("clinical", *self.images)
        self.missing = nn.ParameterDict({name: nn.Parameter(torch.zeros(width)) for name in modalities})
        self.linear = nn.Linear(2 * features, endpoints, bias=False)
        joined = len(modalities) * width
        self.fuse = nn.Sequential(nn.LayerNorm(joined), nn.Dropout(dropout), nn.Linear(joined, endpoints))
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.fuse[-1].weight)  # type: ignore[arg-type]
        self.modality_dropout = dropout
        self.register_buffer("intercept_e", torch.zeros(endpoints))
        self.register_buffer("slope_e", torch.ones(endpoints))

    intercept_e: Tensor
    slope_e: Tensor

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return a logit for each endpoint ``[batch, endpoint]``; recalibrated once training has ended."""
        known_b = {name: self._known(name, batch) for name in self.missing}
        tokens = [self._token(name, batch, known_b[name]) for name in self.missing]
        linear_be = self.linear(self.clinical.standardised(batch["clinical_bf"])) * known_b["clinical"][:, None]
        logits_be = linear_be + self.fuse(torch.cat(tokens, dim=1))
        return logits_be if self.training else self.intercept_e + self.slope_e * logits_be

    def _known(self, name: str, batch: Mapping[str, Tensor]) -> Tensor:
        """Tell which patients have the modality; in training some are treated as if they lacked it."""
        known_b = ~batch["clinical_bf"].isnan().all(1) if name == "clinical" else batch[f"{name}_known_b"]
        if self.training:
            known_b = known_b & (torch.rand(len(known_b), device=known_b.device) >= self.modality_dropout)
        return known_b

    def _token(self, name: str, batch: Mapping[str, Tensor], known_b: Tensor) -> Tensor:
        """Encode the modality as a token, or take the learned token if it is missing."""
        if name == "clinical":
            token_bw = self.clinical(batch["clinical_bf"])
        else:
            token_bw = self.images[name](batch["ct_bcxyz" if name == "ct" else "cxr_bcxy"])
        return torch.where(known_b[:, None], token_bw, self.missing[name].expand_as(token_bw))

    @torch.no_grad()
    def fit_inputs(self, clinical_bf: Tensor, prevalence_e: Tensor) -> None:
        """Fit the clinical scaling, and set the bias to the training prevalence, before the first training step."""
        self.clinical.fit(clinical_bf)
        self._start_at(prevalence_e)

    @torch.no_grad()
    def set_inputs(self, mean_f: Tensor, scale_f: Tensor, prevalence_e: Tensor) -> None:
        """Set the scaling, and the bias to a prevalence, from figures over patients; a missing value is the mean.

        Args:
            mean_f: the mean of each feature.
            scale_f: its standard deviation; 0 stands for 1.
            prevalence_e: the share of patients with each endpoint.
        """
        encoder = self.clinical
        encoder.median_f.copy_(mean_f)
        encoder.mean_f.copy_(mean_f)
        encoder.scale_f.copy_(torch.where(scale_f > 0, scale_f, torch.ones_like(scale_f)))
        self._start_at(prevalence_e)

    def _start_at(self, prevalence_e: Tensor) -> None:
        self.fuse[-1].bias.copy_(torch.logit(prevalence_e.clamp(0.01, 0.99)))  # type: ignore[operator]

    @torch.no_grad()
    def set_recalibration(self, intercept_e: Sequence[float], slope_e: Sequence[float]) -> None:
        """Add a recalibration to the present one: new logits are ``intercept + slope`` times the present logits."""
        intercept, slope = (torch.tensor(one, device=self.slope_e.device) for one in (intercept_e, slope_e))
        self.intercept_e.copy_(intercept + slope * self.intercept_e)
        self.slope_e.mul_(slope)


@runtime_checkable
class FitsInputs(Protocol):
    """A network that fits what goes before its first step; one of the user's own may leave it out."""

    def fit_inputs(self, clinical_bf: Tensor, prevalence_e: Tensor) -> None:
        """Fit the standardisation and the first biases to the training patients."""


@runtime_checkable
class Recalibrates(Protocol):
    """A network whose risks are recalibrated on validation patients; one of the user's own may leave it out."""

    def set_recalibration(self, intercept_e: Sequence[float], slope_e: Sequence[float]) -> None:
        """Set intercept and slope of each endpoint's recalibration."""


def masked_cross_entropy(logits_be: Tensor, endpoints_be: Tensor, known_be: Tensor) -> Tensor:
    """Compute binary cross-entropy over known endpoints, unweighted, because class weights destroy calibration."""
    entropy_be = nn.functional.binary_cross_entropy_with_logits(logits_be, endpoints_be, reduction="none")
    return (entropy_be * known_be).sum() / known_be.sum().clamp(min=1)


class OutcomeTask(Task):
    """A training task for an :class:`OutcomeNetwork` with several endpoints; unknown ones do not count."""

    monitor, monitor_mode = (
        "val/loss",
        "min",
    )  # never an AUC: with one class among few patients it is arbitrary

    def __init__(
        self,
        network: nn.Module,
        learning_rate: float,
        weight_decay: float,
        loss: Loss = masked_cross_entropy,
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW,
        schedule: Callable[..., Any] = decayed,
    ) -> None:
        super().__init__(network, learning_rate, weight_decay, loss, optimizer, schedule)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return a logit for each endpoint ``[batch, endpoint]``."""
        return self.network(batch)

    def training_step(self, batch: Mapping[str, Any], _: int) -> Tensor:
        """Return the loss of a training batch."""
        return self._loss(batch, "train/loss")

    def validation_step(self, batch: Mapping[str, Any], _: int) -> None:
        """Log the loss of a validation batch."""
        self._loss(batch, "val/loss")

    def _loss(self, batch: Mapping[str, Any], name: str) -> Tensor:
        logits_be = self(batch).float()
        loss = self.loss(logits_be, batch["endpoints_be"], batch["endpoints_known_be"].float())
        if self.training:
            self.check_loss(loss, batch["case_id"])
        self.log(name, loss, prog_bar=True, batch_size=len(logits_be))
        return loss
