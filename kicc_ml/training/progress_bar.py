"""The progress bar of a training in the terminal."""

from pytorch_lightning.callbacks import RichProgressBar


class TrainingProgressBar(RichProgressBar):
    """Lightning's progress bar, without ``3/-2`` in a training without a last epoch (``max_epochs: -1``)."""

    def _get_train_description(self, current_epoch: int) -> str:
        if (self.trainer.max_epochs or -1) > 0:
            return super()._get_train_description(current_epoch)
        # as wide as the validation bar, so that neither moves when they alternate
        return f"Epoch {current_epoch}".ljust(len(self.validation_description))
