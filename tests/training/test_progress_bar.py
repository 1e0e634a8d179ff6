"""What the bar of a training says of its epochs."""

from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.callbacks import RichProgressBar

from kicc_ml.training.progress_bar import METRICS_EVERY, TrainingProgressBar


@pytest.mark.parametrize(("max_epochs", "said"), [(-1, "Epoch 3"), (None, "Epoch 3"), (5, "Epoch 3/4")])
def test_a_training_by_the_clock_names_no_last_epoch(max_epochs: int | None, said: str):
    bar = TrainingProgressBar()
    bar._trainer = SimpleNamespace(max_epochs=max_epochs)  # type: ignore[assignment]
    assert bar._get_train_description(3).strip() == said


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
