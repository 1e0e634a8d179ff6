"""Checkpoints of one fold: complete files that record their fold, so that no other fold can load them."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from kicc_ml.core.errors import UserError, describe_error
from kicc_ml.core.files import whole_file

#: The key under which a checkpoint stores its mark.
MARK = "kicc_ml_fold"
#: This text replaces the path of the checkpoint folder, which Lightning would store.
HERE = "<checkpoints>"


@dataclass(frozen=True)
class Mark:
    """The identity of a checkpoint.

    Attributes:
        fold: the name of the fold.
        settings: the digest of the settings.
        split: the digest of the cases that are trained on, validated on and tested on.
    """

    fold: str
    settings: str
    split: str


class FoldCheckpoints(TorchCheckpointIO):
    """A plugin that writes and reads all checkpoints of a training, Lightning's own included, for one fold only.

    Args:
        folder: the folder of the checkpoints; stored paths are relative to it, because its path is valid on this
            machine only.
        mark: the identity of the fold that is trained.
    """

    def __init__(self, folder: Path, mark: Mark) -> None:
        super().__init__()
        self.folder = folder
        self.mark = mark

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; the file is complete or absent."""
        marked = _with_texts(checkpoint, lambda text: text.replace(str(self.folder), HERE)) | {MARK: asdict(self.mark)}
        with whole_file(Path(path)) as partial, partial.open("wb") as stream:
            torch.save(marked, stream)  # given a path, torch raises no OSError for a full disk

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a checkpoint of this fold; only tensors and plain values are loaded.

        Raises:
            UserError: the checkpoint is damaged, or belongs to another fold, other settings or another program.
        """
        checkpoint = read_checkpoint(Path(path))
        refuse_foreign(checkpoint.pop(MARK, None), self.mark, Path(path))
        beside = str(Path(path).resolve().parent)
        return _with_texts(checkpoint, lambda text: text.replace(HERE, beside))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read the contents of a checkpoint. Raises UserError, with the remedy, if it is not one."""
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
        if not isinstance(checkpoint, dict):
            raise UserError("it holds no training")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; leave ckpt_path out to begin the fold anew") from None
    except Exception as error:  # a truncated file fails in many ways
        reason = describe_error(error).splitlines()[0]
        raise UserError(
            f"{path} cannot be read as a checkpoint, it may be cut off ({reason}); go on from another with "
            "ckpt_path=FILE, or remove it and begin the fold anew"
        ) from error
    return checkpoint


def refuse_foreign(kept: Any, mark: Mark, path: Path) -> None:
    """Raise UserError unless a checkpoint has the fold, the cases and the settings of ``mark``."""
    anew = "leave ckpt_path out to begin the fold anew"
    if not isinstance(kept, Mapping) or set(kept) != set(asdict(mark)):
        raise UserError(f"{path} does not say of which fold it is, so it is not taken up; {anew}")
    if kept["fold"] != mark.fold:
        raise UserError(
            f"{path} is a checkpoint of fold {kept['fold']}, which may have seen the cases that fold {mark.fold} is "
            f"tested on; give one of this fold, or {anew}"
        )
    if kept["split"] != mark.split:
        raise UserError(f"{path} was trained on other cases than fold {mark.fold} is now; {anew}")
    if kept["settings"] != mark.settings:
        raise UserError(f"{path} was trained with other settings than are given now; give the same, or {anew}")


def load_best(task: pl.LightningModule, trainer: pl.Trainer, checkpoints: FoldCheckpoints) -> None:
    """Take the weights of the best checkpoint; the last ones stay where nobody was held back to select on."""
    callback = trainer.checkpoint_callback
    if isinstance(callback, ModelCheckpoint) and callback.monitor and (path := callback.best_model_path):
        task.load_state_dict(checkpoints.load_checkpoint(path)["state_dict"])


def _with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Apply a change to every text in plain containers; tensors stay as they are."""
    if isinstance(value, str):
        return change(value)
    if type(value) is dict:
        return {_with_texts(key, change): _with_texts(one, change) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_with_texts(one, change) for one in value)
    return value
