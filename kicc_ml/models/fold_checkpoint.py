"""Checkpoints of one fold: whole files that say whose they are, and that no other fold takes up."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from kicc_ml.core.errors import UserError, describe_error
from kicc_ml.core.files import whole_file

#: Under which name a checkpoint keeps whose it is.
MARK = "kicc_ml_fold"
#: In place of the folder of the checkpoints, where Lightning would write its whole path.
HERE = "<checkpoints>"


@dataclass(frozen=True)
class Mark:
    """Whose a checkpoint is: the ``fold`` by name, digests of its ``settings`` and of its ``split`` (who is trained on,
    selected on, tested).
    """

    fold: str
    settings: str
    split: str


class FoldCheckpoints(TorchCheckpointIO):
    """Writes and reads the checkpoints of a training, Lightning's own included, in the name of one fold.

    Args:
        folder: where they lie; paths within it are kept without what lies above, which is of this machine alone.
        mark: of the fold that is trained.
    """

    def __init__(self, folder: Path, mark: Mark) -> None:
        super().__init__()
        self.folder = folder
        self.mark = mark

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint whole or not at all."""
        marked = _with_texts(checkpoint, lambda text: text.replace(str(self.folder), HERE)) | {MARK: asdict(self.mark)}
        with whole_file(Path(path)) as partial, partial.open("wb") as stream:
            torch.save(marked, stream)  # given a path, it says of a full disk only words

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a checkpoint of this fold, tensors and plain values alone.

        Raises:
            UserError: it is damaged, of another fold, of other settings, or of another program.
        """
        checkpoint = read_checkpoint(Path(path))
        refuse_foreign(checkpoint.pop(MARK, None), self.mark, Path(path))
        beside = str(Path(path).resolve().parent)
        return _with_texts(checkpoint, lambda text: text.replace(HERE, beside))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint holds. Raises UserError, with how to go on, where it is none."""
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
        if not isinstance(checkpoint, dict):
            raise UserError("it holds no training")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; leave ckpt_path out to begin the fold anew") from None
    except Exception as error:  # what was cut off fails in many ways
        reason = describe_error(error).splitlines()[0]
        raise UserError(
            f"{path} cannot be read as a checkpoint, it may be cut off ({reason}); go on from another with "
            "ckpt_path=FILE, or remove it and begin the fold anew"
        ) from error
    return checkpoint


def refuse_foreign(kept: Any, mark: Mark, path: Path) -> None:
    """Raises UserError unless a checkpoint is of the fold, the cases and the settings of ``mark``."""
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


def _with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Plain containers with every text in them changed; tensors are left as they are."""
    if isinstance(value, str):
        return change(value)
    if type(value) is dict:
        return {_with_texts(key, change): _with_texts(one, change) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_with_texts(one, change) for one in value)
    return value
