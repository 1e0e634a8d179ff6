"""Helpers of test_datamodule and test_patient_datamodule."""

from pathlib import Path

import pytorch_lightning as pl
import torch


class Recorder(pl.LightningModule):
    """Keeps the batches that reach it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.train_batches: list[dict] = []
        self.val_batches: list[dict] = []

    def training_step(self, batch: dict, index: int) -> torch.Tensor:
        self.train_batches.append(batch)
        return self.weight.sum()

    def validation_step(self, batch: dict, index: int) -> None:
        self.val_batches.append(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(module: pl.LightningDataModule, folder: Path, epochs: int = 2) -> Recorder:
    recorder = Recorder()
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(recorder, datamodule=module)
    return recorder
