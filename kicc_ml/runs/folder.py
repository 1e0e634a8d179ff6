"""The run folder, the hand-over from researcher to evaluator: tensors, plain YAML and CSV, never code."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import read_table, whole_file, write_json
from kicc_ml.core.path_names import folder_within, make_path_name
from kicc_ml.core.types import REGIONS, Units
from kicc_ml.data.canonical import CanonicalCT, CanonicalCXR
from kicc_ml.data.datamodule import PatchDataModule, PatientDataModule
from kicc_ml.models.baselines.clinical_model import ClinicalModel
from kicc_ml.models.baselines.radiograph_zones import ZoneRidge
from kicc_ml.models.baselines.tabular import endpoints_be
from kicc_ml.models.networks import build_network
from kicc_ml.runs.plan import filled

Kind = TypeVar("Kind", CanonicalCT, CanonicalCXR)
Plain = TypeVar("Plain", ClinicalModel, ZoneRidge)

CONFIG = "config.yaml"
SPLIT = "split.json"
WEIGHTS = "weights.safetensors"
CLINICAL_MODEL = "clinical.json"  # the baseline that an outcome network has to beat
ZONE_RIDGES = "zones.json"  # scores of radiographs, likewise
PREDICTIONS = "predictions.csv"  # written last, so that it marks a fold as finished
QUARANTINE = "quarantine.json"
FLOW = "flow.json"  # beside the folds: what became of rows and images on the way to the cohort
SEVERITY = "severity"  # beside the folds: a folder per case
PLAN = "plan.yaml"  # what the fold decided itself, of the settings that say ``planned``
#: Names in a run folder that are no folds', whatever a hospital is called.
NOT_FOLDS = frozenset({SEVERITY, "figures", FLOW, QUARANTINE, "multirun.yaml", "index.html"})
NOT_FOLDS |= {"report.html", "cases.csv", "summary.json", "summary.csv", "checklist.csv", "table_1.csv"}
NOT_FOLDS |= {"duplicates.csv", "index.parquet"}


@dataclass(frozen=True)
class About:
    """What the weights were trained on, kept inside their file.

    ``sizes`` are the network's parameters that the data decided; ``regions`` those it learnt to segment;
    ``features`` and ``endpoints`` the columns of the outcome network, in order, ``unlearnt`` the endpoints that no
    training case was known of; ``sites`` the training hospitals;
    ``units`` and ``spacing_known`` those of the images it learnt to segment; ``lesion_threshold`` is fitted inside the
    fold.
    """

    sizes: Mapping[str, int]
    sites: Sequence[str]
    regions: Sequence[str] = ()
    features: Sequence[str] = ()
    endpoints: Sequence[str] = ()
    units: Units = "hu"
    spacing_known: bool = True
    lesion_threshold: float = 0.5
    unlearnt: Sequence[str] = ()


@dataclass(frozen=True)
class Fold:
    """A finished fold read back: its network in evaluation mode, its settings as plain values."""

    folder: Path
    network: nn.Module
    about: About
    config: Mapping[str, Any]

    @property
    def canonical(self) -> CanonicalCT | CanonicalCXR:
        """How this fold's network wants to see a CT, or a radiograph if it segments those."""
        settings = self.config["data"]["canonical"]
        flat = settings["_target_"].endswith(CanonicalCXR.__name__)
        return canonical_of(CanonicalCXR, settings) if flat else canonical_of(CanonicalCT, settings)

    @property
    def patch_size(self) -> Sequence[int]:
        return self.config["data"]["patch_size"]


@dataclass(frozen=True)
class PlainFold(Generic[Plain]):
    """The models in plain numbers of a finished fold, by endpoint; one that could not be fitted is absent."""

    folder: Path
    about: About
    models: Mapping[str, Plain]


ClinicalFold = PlainFold[ClinicalModel]
ZoneFold = PlainFold[ZoneRidge]


def canonical_of(kind: type[Kind], settings: Mapping[str, Any]) -> Kind:
    """What a run's settings say of how images are shown to its networks."""
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
    }
    return kind(**{key: value for key, value in values.items() if key != "_target_"})


def fold_folder(run_dir: str | Path, fold: str) -> Path:
    """Where a fold of a run lies; what a file name cannot hold becomes ``-``."""
    return Path(run_dir) / fold_name(fold)


def fold_name(fold: str) -> str:
    """The name of a fold's folder: as it is called, or beside what the run keeps under that name."""
    name = make_path_name(fold)
    return f"fold-{name}" if name.casefold() in NOT_FOLDS else name


def case_folder(run_dir: str | Path, case_id: str) -> Path:
    """Where the masks and the severity of a case lie within a run.

    Raises UserError where that would be elsewhere: the id is no name, or a link leads out of the run.
    """
    severity = folder_within(Path(run_dir), SEVERITY, "the folder of results")
    return folder_within(severity, case_id, "the case id")


def finished_folds(run: Path) -> list[Path]:
    """Folders of the folds that are finished: the run folder itself, or those beneath it."""
    return [path.parent for path in sorted(run.rglob(PREDICTIONS)) if (path.parent / CONFIG).is_file()]


def fold_folders(run: str | Path) -> list[Path]:
    """The finished folds of a run. Raises UserError, with what is missing, where there is none."""
    if not (found := finished_folds(Path(run))):
        raise UserError(f"{run} holds no finished run (no {PREDICTIONS} beside a {CONFIG}); train one: python train.py")
    return found


def held_out_tables(run: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Outcome predictions of a run's folds, and its ``cases.csv``; an empty table for what it has not.

    Raises UserError where there is no finished run.
    """
    tables = [read_table(folder / PREDICTIONS) for folder in fold_folders(run)]
    outcomes = [table for table in tables if "probability" in table]
    cases = run / "cases.csv"
    return (
        pd.concat(outcomes, ignore_index=True) if outcomes else pd.DataFrame(),
        read_table(cases) if cases.is_file() else pd.DataFrame(),
    )


def about_data(data: PatchDataModule | PatientDataModule) -> About:
    """What a fold's training cases decide: the network's sizes, and the meaning of what goes in and comes out."""
    sites = sorted({case.site for case in data.train_cases})
    if isinstance(data, PatchDataModule):
        known_c = np.any([data.volumes[case.case_id].mask_known_c for case in data.train_cases], axis=0)
        regions = [region for region, known in zip(REGIONS, known_c, strict=True) if known]
        images = [image for case in data.train_cases if (image := case.image(data.canonical.modality)) is not None]
        return About(
            {"in_channels": 1, "out_channels": len(REGIONS)},
            sites,
            regions,
            units="hu" if any(image.units == "hu" for image in images) else "arbitrary",
            spacing_known=any(image.spacing_mm is not None for image in images),
        )
    features, endpoints = list(data.features or ()), list(data.endpoints)
    sizes = {"features": len(features), "endpoints": len(endpoints)}
    known_be = endpoints_be(data.train_cases, endpoints)
    unlearnt = [name for name, known_b in zip(endpoints, known_be.T, strict=True) if np.isnan(known_b).all()]
    return About(sites=sites, sizes=sizes, features=features, endpoints=endpoints, unlearnt=unlearnt)


def save_network(folder: Path, network: nn.Module, about: About) -> None:
    """Write ``weights.safetensors`` whole or not at all; ``about`` travels in its header."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with whole_file(folder / WEIGHTS) as partial:
        save_file(tensors, partial, metadata={"about": json.dumps(vars(about))})


def load_fold(folder: Path) -> Fold:
    """Read a fold back: settings as plain values, tensors without pickle, a network from the known list."""
    try:
        config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            about = About(**json.loads(file.metadata()["about"]))
        if (folder / PLAN).is_file():
            config = filled(config, yaml.safe_load((folder / PLAN).read_text(encoding="utf-8"))["fields"])
        network = build_network(config["network"], about.sizes)
        network.load_state_dict(load_file(folder / WEIGHTS))
    except FileNotFoundError as error:
        raise UserError(f"{error.filename or folder / WEIGHTS} is missing; {folder} is no finished fold") from error
    except (SafetensorError, yaml.YAMLError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{folder} cannot be read as a trained fold: {error}") from error
    return Fold(folder, network.eval(), about, config)


def load_folds(run: Path) -> list[Fold]:
    """The finished folds of a run. Raises UserError where there is none, or one cannot be read."""
    return [load_fold(folder) for folder in fold_folders(run)]


def save_plain(folder: Path, name: str, about: About, models: Mapping[str, Plain]) -> None:
    """Write the file ``name`` (``clinical.json``, ``zones.json``): numbers and names, the models by endpoint."""
    by_endpoint = {endpoint: asdict(model) for endpoint, model in models.items()}
    write_json(folder / name, {"about": vars(about), "models": by_endpoint})


def load_plain(folder: Path, name: str, kind: type[Plain]) -> PlainFold[Plain] | None:
    """Read them back; None where a fold has none: nothing to fit one on, or saved before they were kept.

    Raises UserError for a file that is no such thing.
    """
    path = folder / name
    if not path.is_file():
        return None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        models = {endpoint: kind(**model) for endpoint, model in kept["models"].items()}
        return PlainFold(folder, About(**kept["about"]), models)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} cannot be read as a model in plain numbers: {error}; train the fold again") from error
