"""The run folder, the hand-over from researcher to evaluator: tensors, plain YAML and CSV, never code."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from kicc_ml.data.transforms import CanonicalCT, CanonicalCXR
from kicc_ml.models.networks import build_network
from kicc_ml.records import UserError

WEIGHTS = "weights.safetensors"
PREDICTIONS = "predictions.csv"
CONFIG = "config.yaml"


@dataclass(frozen=True)
class About:
    """What the weights were trained on, kept inside their file.

    ``sizes`` are the network's parameters that the data decided; ``regions`` those it learnt to segment;
    ``features`` and ``endpoints`` the columns of the outcome network, in order; ``sites`` the training hospitals.
    """

    sizes: Mapping[str, int]
    sites: Sequence[str]
    regions: Sequence[str] = ()
    features: Sequence[str] = ()
    endpoints: Sequence[str] = ()


@dataclass(frozen=True)
class Fold:
    """A finished fold read back: its network in evaluation mode, its settings as plain values."""

    folder: Path
    network: nn.Module
    about: About
    config: Mapping[str, Any]

    @property
    def canonical(self) -> CanonicalCT:
        """How this fold's network wants to see a CT."""
        settings = self.config["data"]["canonical"]
        return CanonicalCT(**{key: value for key, value in settings.items() if key != "_target_"})

    @property
    def patch(self) -> tuple[int, int, int]:
        x, y, z = self.config["data"]["patch"]
        return x, y, z


def fold_folder(run_dir: str | Path, fold: str) -> Path:
    """Where a fold of a run lies; what a file name cannot hold becomes ``-``."""
    return Path(run_dir) / re.sub(r"[^\w.-]+", "-", fold)


def fold_folders(run: str | Path) -> list[Path]:
    """The finished folds of a run: the folder itself, or those beneath it.

    Raises UserError, with what is missing, where there is none.
    """
    run = Path(run)
    found = [path.parent for path in sorted(run.rglob(PREDICTIONS)) if (path.parent / CONFIG).is_file()]
    if not found:
        raise UserError(f"{run} holds no finished run (no {PREDICTIONS} beside a {CONFIG}); train one: python train.py")
    return found


def save_network(folder: Path, network: nn.Module, about: About) -> None:
    """Write ``weights.safetensors`` whole or not at all; ``about`` travels in its header."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    partial = folder / f"{WEIGHTS}.partial"
    save_file(tensors, partial, metadata={"about": json.dumps(vars(about))})
    os.replace(partial, folder / WEIGHTS)


def load_fold(folder: Path) -> Fold:
    """Read a fold back: settings as plain values, tensors without pickle, a network from the known list."""
    try:
        config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            about = About(**json.loads(file.metadata()["about"]))
        network = build_network(config["network"], about.sizes)
        network.load_state_dict(load_file(folder / WEIGHTS))
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing; {folder} is no finished fold") from error
    except (SafetensorError, yaml.YAMLError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{folder} cannot be read as a trained fold: {error}") from error
    return Fold(folder, network.eval(), about, config)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """A CSV, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    table.to_csv(partial, index=False)
    os.replace(partial, path)


def write_json(path: Path, content: Any) -> None:
    """A JSON file, whole or not at all; refuses NaN."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
