"""One line at the start of a command: device, number format, network, patch and time."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from kicc_ml.core.shown import format_count
from kicc_ml.models.precision import device_of, fast_bf16
from kicc_ml.models.schedule import budget_in_words
from kicc_ml.models.segmenter import Segmenter
from kicc_ml.runs.plan import predicted_gib


def describe_run(run_dir: Path, folds: int, budget: object, start: datetime | None) -> str:
    """Describe what a run is about to do: its folder, when its training ends, and how it goes on after Ctrl-C.

    Args:
        run_dir: the run folder.
        folds: the number of folds still to train.
        budget: ``trainer.max_time``; None where steps are counted, or nothing is trained.
        start: the time now, where folds are trained one after the other; None where several are at once.
    """
    words = f"{run_dir}: {format_count(folds, 'fold')} to do"
    if isinstance(budget, str) and (found := re.fullmatch(r"(\d+):(\d+):(\d+):(\d+)", budget)):
        days, hours, minutes, seconds = map(int, found.groups())
        each = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        words += f", {_write_duration(each)} of training each"
        if start is not None:
            end = start + folds * each
            day = "" if end.date() == start.date() else f"{end:%Y-%m-%d} "
            words += f"; training ends at about {day}{end:%H:%M}, then the report is written"
    return f"{words}. Ctrl-C stops it; the same command goes on, and keeps finished folds"


def _write_duration(duration: timedelta) -> str:
    seconds = duration.total_seconds()
    return f"{seconds / 60:.4g} minutes" if seconds >= 60 else f"{seconds:.0f} seconds"


def describe_training(settings: Mapping[str, Any], trainer: pl.Trainer) -> str:
    """Describe how a fold is trained, and for how long.

    Args:
        settings: the settings of the fold, with its plan filled in.
        trainer: the trainer of the fold.
    """
    device = describe_device(trainer.strategy.root_device.type, str(trainer.precision))
    words = f"{describe_network(settings)}, on {device}; the learning rate follows {budget_in_words(trainer)}"
    if "patch_size" in settings["data"]:
        words += f"; training will hold about {predicted_gib(settings):.2f} GiB more than the process does now"
    return words


def describe_prediction(segmenter: Segmenter) -> str:
    """Describe how scans are predicted: the networks, the patch, mirror images and the device."""
    networks = [*segmenter.networks, *(network for other in segmenter.companions for network in other.networks)]
    device = device_of(networks[0]).type
    parts = [format_count(len(networks), type(networks[0]).__name__), _patches(segmenter.patch_size)]
    parts += [format_count(len(segmenter.tta_mirrors) - 1, "mirror image")]
    return f"{', '.join(parts)}, on {describe_device(device)}"


def describe_network(settings: Mapping[str, Any]) -> str:
    """Describe the network, the patch and the batch of a fold, as far as its settings state them."""
    network, data = settings.get("network"), settings.get("data")
    parts = [str(network.get("_target_")).rsplit(".", 1)[-1] if isinstance(network, Mapping) else "no network"]
    if isinstance(data, Mapping) and isinstance(network, Mapping):
        parts += [_patches(patch)] if isinstance(patch := data.get("patch_size"), Sequence) else []
        parts += [f"batches of {batch}"] if (batch := data.get("batch_size")) is not None else []
    return ", ".join(parts)


def describe_device(kind: str, precision: str = "32-true") -> str:
    """Describe a device with the precision of its training, and the format of convolutions if that is another."""
    words = f"{kind} in {precision}"
    return f"{words} (convolutions in bf16)" if fast_bf16(kind) and not precision.startswith("bf16") else words


def _patches(patch_size: Sequence[int]) -> str:
    return f"patches of {' x '.join(map(str, patch_size))} voxels"
