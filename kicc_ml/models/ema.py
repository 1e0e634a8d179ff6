"""Averaged weights: a fold is tested with the mean weights over its last steps, not with those of the last step."""

from functools import partial

from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor


def averaged_weights(decay: float) -> WeightAveraging:
    """Make Lightning's callback for an exponential moving average of the weights that forgets faster in early steps.

    The weight of step n is ``1 - min(decay, (1 + n) / (10 + n))``, so in a short training the initial weights have
    little influence (Tarvainen and Valpola, NeurIPS 2017, Mean Teacher). Statistics of batch normalisation are averages
    already and are copied. The checkpoint holds both average and current weights, so a resumed training equals an
    uninterrupted one.
    """
    return WeightAveraging(avg_fn=partial(_mixed, decay))


def _mixed(decay: float, average: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
    """Mix one weight into the average. A module function, because with several processes it is pickled."""
    kept = min(decay, (1 + int(steps)) / (10 + int(steps)))
    return kept * average + (1 - kept) * current
