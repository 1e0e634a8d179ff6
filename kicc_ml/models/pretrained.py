"""Start from weights that were trained elsewhere: which fit is said name by name, and too few are refused."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from kicc_ml.core.errors import UserError, describe_error
from kicc_ml.core.help_pages import WEIGHTS_TO_START_FROM

#: Of a run: the file of each fold.
WEIGHTS = "weights.safetensors"
#: Under which names programs keep the tensors of a network within a file of more.
WITHIN = ("state_dict", "model", "model_state_dict", "network")
#: Names that are listed; a network may lack hundreds.
SHOWN = 5


@dataclass(frozen=True)
class LoadedWeights:
    """What became of each tensor.

    ``loaded`` and ``missing`` (not in the file, or of another shape) hold names of the network; ``unexpected`` holds
    names of the file.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]

    @property
    def share(self) -> float:
        """Share of the network's tensors that were loaded."""
        return len(self.loaded) / max(1, len(self.loaded) + len(self.missing))

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} of {len(self.loaded) + len(self.missing)} tensors loaded"]
        parts += [f"{name}: {_listed(names)}" for name, names in self._rest.items() if names]
        return "; ".join(parts)

    @property
    def _rest(self) -> Mapping[str, tuple[str, ...]]:
        return {"missing or of another shape": self.missing, "unexpected": self.unexpected}


def find_weights(place: Path) -> Path:
    """Find the file of weights at a place: itself, or that of a run folder of one fold.

    Raises:
        UserError: there is none, or a run has several folds.
    """
    if not place.is_dir():
        if not place.is_file():
            raise UserError(f"network.weights={place}: there is no such file or run folder", page=WEIGHTS_TO_START_FROM)
        return place
    found = sorted([*place.glob(WEIGHTS), *place.glob(f"*/{WEIGHTS}")])
    if len(found) != 1:
        names = ", ".join(str(path.parent) for path in found[:SHOWN]) or "none"
        raise UserError(f"network.weights={place} holds the weights of {len(found)} folds ({names}); name one of them")
    return found[0]


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file of safetensors, or of one that torch wrote, without executing anything.

    Raises:
        UserError: it is no such file, or holds more than tensors and plain values.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        kept: Any = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # files of strangers fail in many ways
        reason = describe_error(error).splitlines()[0]
        raise UserError(
            f"network.weights={path} cannot be read as weights: {reason}", page=WEIGHTS_TO_START_FROM
        ) from error
    for name in WITHIN:
        if isinstance(kept, Mapping) and isinstance(kept.get(name), Mapping):
            kept = kept[name]
    if not isinstance(kept, Mapping):
        raise UserError(f"network.weights={path} holds no tensors by name")
    return {str(name): tensor for name, tensor in kept.items() if isinstance(tensor, Tensor)}


def load_into(
    network: nn.Module, tensors: Mapping[str, Tensor], rename: Mapping[str, str], min_share: float
) -> LoadedWeights:
    """Load what fits by name and shape, and leave the rest of the network as it is.

    Args:
        network: whose weights are replaced.
        tensors: by the names of the file.
        rename: beginnings of names in the file, and what they are in the network; the first that fits counts.
        min_share: share of the network's tensors that has to be loaded.

    Raises:
        UserError: fewer are; nothing was loaded then.
    """
    own = network.state_dict()
    found = {_renamed(name, rename): (name, tensor) for name, tensor in tensors.items()}
    fitting = {name: found[name][1] for name in own if name in found and found[name][1].shape == own[name].shape}
    unexpected = [name for renamed, (name, _) in found.items() if renamed not in own]
    result = LoadedWeights(tuple(fitting), tuple(name for name in own if name not in fitting), tuple(unexpected))
    if result.share < min_share:
        raise UserError(
            f"the weights are of another network: {result}; map names with weights.rename={{theirs: ours}}, or lower "
            f"weights.min_share ({min_share:g})",
            page=WEIGHTS_TO_START_FROM,
        )
    network.load_state_dict(fitting, strict=False)
    return result


def _renamed(name: str, rename: Mapping[str, str]) -> str:
    for theirs, ours in rename.items():
        if name.startswith(theirs):
            return ours + name[len(theirs) :]
    return name


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


class FreezeLoaded(pl.Callback):
    """Keeps parameters that were loaded as they are for the first epochs.

    Args:
        loaded: names of the network's parameters.
        epochs: how many.
    """

    def __init__(self, loaded: Collection[str], epochs: int) -> None:
        self.loaded = frozenset(loaded)
        self.epochs = epochs

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Freeze the loaded weights for the first epochs, then let them train."""
        network = pl_module.network
        assert isinstance(network, nn.Module)
        for name, parameter in network.named_parameters():
            if name in self.loaded:
                parameter.requires_grad = trainer.current_epoch >= self.epochs
