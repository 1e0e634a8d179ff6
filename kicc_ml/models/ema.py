"""Averaged weights: a fold is tested with the mean weights over its last steps, not with those of the last step."""

import itertools

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class MovingAverage(AveragedModel):
    """An exponential moving average of weights that forgets faster in early steps, computed where the weights lie.

    The weight of step n is ``1 - min(decay, (1 + n) / (10 + n))``, so in a short training the initial weights have
    little influence (Tarvainen and Valpola, NeurIPS 2017, Mean Teacher). The number of steps stays on the CPU, so that
    no step waits for a GPU to tell it.

    Args:
        model: the weights are those of a copy of it.
        decay: the largest share of the average that a step keeps.
        device: where the average is computed.
    """

    def __init__(self, model: nn.Module, decay: float, device: torch.device) -> None:
        super().__init__(model, use_buffers=True)
        self.decay = decay
        self.module.to(device)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Mix the present weights of ``model`` into the average; the first become the average."""
        steps = int(self.n_averaged)
        kept = min(self.decay, (1 + steps) / (10 + steps)) if steps else 0.0
        pairs = list(zip(_tensors(self.module), _tensors(model), strict=True))
        mixed = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([average for average, _ in mixed], [current for _, current in mixed], 1 - kept)
        for average, current in pairs:
            if not average.is_floating_point():
                average.copy_(current)
        self.n_averaged += 1


class AveragedWeights(WeightAveraging):
    """Lightning's callback with a :class:`MovingAverage` on the device of the training.

    Lightning would leave the average on the CPU, where the network still lies when callbacks are set up, and every step
    on a GPU would copy all weights there. The checkpoint holds both average and current weights, so a resumed training
    equals an uninterrupted one.
    """

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Start the average on the training device."""
        if stage == "fit":
            self._average_model = MovingAverage(pl_module, self.decay, trainer.strategy.root_device)


def _tensors(model: nn.Module) -> "itertools.chain[Tensor]":
    return itertools.chain(model.parameters(), model.buffers())
