"""The progress bar of a training in the terminal."""

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar

#: On a GPU the values beside the bar change every so many steps: to show one, the process waits for the GPU.
METRICS_EVERY = 20


class TrainingProgressBar(RichProgressBar):
    """Lightning's progress bar, without ``3/-2`` in a training without a last epoch (``max_epochs: -1``).

    It is on standard error: standard output is for results.
    """

    def __init__(self) -> None:
        super().__init__(console_kwargs={"stderr": True})

    def _get_train_description(self, current_epoch: int) -> str:
        if (self.trainer.max_epochs or -1) > 0:
            return super()._get_train_description(current_epoch)
        # as wide as the validation bar, so that neither moves when they alternate
        return f"Epoch {current_epoch}".ljust(len(self.validation_description))

    def _update_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if pl_module.device.type == "cpu" or trainer.global_step % METRICS_EVERY == 0:
            super()._update_metrics(trainer, pl_module)
