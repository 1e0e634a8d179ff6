"""Two trainings alike: what Lightning's ``+trainer.deterministic=true`` leaves to say.

Lightning chooses deterministic kernels, sets CUBLAS_WORKSPACE_CONFIG and turns off cuDNN's choice by timing, when the
trainer is built and before anything runs on a GPU.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
import torch

from kicc_ml.core.errors import UserError
from kicc_ml.core.shown import say
from kicc_ml.models.schedule import is_limited_by_time

#: How torch's error begins where an operation has no deterministic kernel.
WITHOUT_KERNEL = re.compile(r"(\S+) does not have a deterministic implementation")


@contextmanager
def naming_what_is_not_deterministic() -> Iterator[None]:
    """Name an operation that a deterministic training cannot use.

    Raises:
        UserError: the operation, in place of torch's error.
    """
    try:
        yield
    except RuntimeError as error:
        if (found := WITHOUT_KERNEL.search(str(error))) is None:
            raise
        raise UserError(
            f"{found[1]} has no deterministic kernel on this device; choose a network or loss without it, or say "
            "+trainer.deterministic=warn, which uses it and warns, or leave +trainer.deterministic out"
        ) from error


def say_what_differs(trainer: pl.Trainer) -> None:
    """Say that a deterministic training ends at another step each time where its end follows the clock."""
    if torch.are_deterministic_algorithms_enabled() and is_limited_by_time(trainer) and trainer.is_global_zero:
        say(
            "trainer.deterministic: two trainings are alike only with trainer.max_time=null and a trainer.max_steps, "
            "since the learning rate and the end follow the clock",
            to_stderr=True,
        )
