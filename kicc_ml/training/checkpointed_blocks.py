"""Blocks of a network that are computed twice while it is trained, where ``plan.checkpointing`` says so."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import nn

from kicc_ml.core.errors import UserError
from kicc_ml.models.checkpointing import compute_once, compute_twice, find_blocks
from kicc_ml.models.segmentation import SegmentationTask
from kicc_ml.runs.plan import PLANNED


class CheckpointedBlocks(Callback):
    """A callback that lets the blocks of a segmentation network be computed twice, from the start of a fit to its end.

    Not before: the network is copied when callbacks are set up, and sent to other processes.

    Args:
        plan: the settings ``plan``, with their plan filled in; without ``checkpointing`` nothing is computed twice.

    Raises:
        UserError: ``checkpointing`` is no such value.
    """

    def __init__(self, plan: Mapping[str, Any]) -> None:
        super().__init__()
        if (wanted := plan.get("checkpointing", False)) not in (True, False, PLANNED):
            raise UserError(f"plan.checkpointing={wanted} is none of true, false and {PLANNED}")
        self.wanted = wanted is True
        self.blocks: list[nn.Module] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let the blocks be computed twice."""
        if self.wanted and isinstance(pl_module, SegmentationTask):
            self.blocks = find_blocks(pl_module.network)
            compute_twice(self.blocks)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let them be computed as before."""
        compute_once(self.blocks)
        self.blocks = []
