"""What the bar of a training says of its epochs."""

from types import SimpleNamespace

import pytest

from kicc_ml.training.progress_bar import TrainingProgressBar


@pytest.mark.parametrize(("max_epochs", "said"), [(-1, "Epoch 3"), (None, "Epoch 3"), (5, "Epoch 3/4")])
def test_a_training_by_the_clock_names_no_last_epoch(max_epochs: int | None, said: str):
    bar = TrainingProgressBar()
    bar._trainer = SimpleNamespace(max_epochs=max_epochs)  # type: ignore[assignment]
    assert bar._get_train_description(3).strip() == said
