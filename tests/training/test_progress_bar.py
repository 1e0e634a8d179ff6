"""What the bar of a training says of its epochs."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import RichProgressBar
from torch import nn
from torch.utils.data import DataLoader

from kicc_ml.training.progress_bar import METRICS_EVERY, TrainingProgressBar


@pytest.mark.parametrize(("max_epochs", "said"), [(-1, "Epoch 3"), (None, "Epoch 3"), (5, "Epoch 3/4")])
def test_a_training_by_the_clock_names_no_last_epoch(max_epochs: int | None, said: str):
    bar = TrainingProgressBar()
    bar._trainer = SimpleNamespace(max_epochs=max_epochs)  # type: ignore[assignment]
    assert bar._get_train_description(3).strip() == said


class Line(pl.LightningModule):
    """The smallest training there is."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: torch.Tensor, _: int) -> torch.Tensor:
        return self.layer(batch).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on workers
def test_the_bar_leaves_standard_output_to_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = pl.Trainer(max_steps=2, callbacks=[TrainingProgressBar()], default_root_dir=tmp_path, **quiet)
    trainer.fit(Line(), DataLoader(torch.ones(4, 1)))
    said = capsys.readouterr()
    assert "Epoch 0" in said.err
    assert "Epoch" not in said.out


@pytest.mark.parametrize(("device", "read"), [("cpu", 2 * METRICS_EVERY), ("cuda", 2)])
def test_on_a_gpu_the_bar_reads_the_loss_now_and_then_only(device: str, read: int, monkeypatch: pytest.MonkeyPatch):
    steps: list[int] = []
    monkeypatch.setattr(
        RichProgressBar, "_update_metrics", lambda bar, trainer, module: steps.append(trainer.global_step)
    )
    module = SimpleNamespace(device=torch.device(device))
    for step in range(2 * METRICS_EVERY):
        TrainingProgressBar()._update_metrics(SimpleNamespace(global_step=step), module)  # type: ignore[arg-type]
    assert len(steps) == read
