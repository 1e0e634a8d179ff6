"""Averaged weights: those a fold is judged by are the mean over its last steps, not the last one."""

from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor


def averaged_weights(decay: float) -> WeightAveraging:
    """Lightning's callback with an exponential moving average that forgets faster while it is young.

    The n-th step counts ``1 - min(decay, (1 + n) / (10 + n))``, so that a training of few steps is not weighed down by
    the weights it began with (Tarvainen and Valpola, NeurIPS 2017, Mean Teacher). Average and current weights both lie
    in the checkpoint: what is resumed equals what was not interrupted.
    """

    def mixed(average: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
        kept = min(decay, (1 + int(steps)) / (10 + int(steps)))
        return kept * average + (1 - kept) * current

    return WeightAveraging(avg_fn=mixed)
