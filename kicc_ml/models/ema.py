"""Averaged weights: those a fold is judged by are the mean over its last steps, not the last one."""

from functools import partial

from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor


def averaged_weights(decay: float) -> WeightAveraging:
    """Lightning's callback with an exponential moving average that forgets faster while it is young.

    The n-th step counts ``1 - min(decay, (1 + n) / (10 + n))``, so that a training of few steps is not weighed down by
    the weights it began with (Tarvainen and Valpola, NeurIPS 2017, Mean Teacher). Statistics of batch normalisation are
    averages already and are taken as they are. Average and current weights both lie in the checkpoint: what is resumed
    equals what was not interrupted.
    """
    return WeightAveraging(avg_fn=partial(_mixed, decay))


def _mixed(decay: float, average: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
    """Not within the function above: with several processes it is sent to each of them."""
    kept = min(decay, (1 + int(steps)) / (10 + int(steps)))
    return kept * average + (1 - kept) * current
