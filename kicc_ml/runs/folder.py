"""The run folder, which a researcher shares with an evaluator: tensors, plain YAML and CSV, no code."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

import numpy as np
from torch import nn

from kicc_ml.core.errors import UserError, describe_error
from kicc_ml.core.files import write_json
from kicc_ml.core.help_pages import FIRST_RUN
from kicc_ml.core.parts import NotTrusted, refuse_untrusted
from kicc_ml.core.path_names import make_path_name, resolve_subfolder
from kicc_ml.core.received import read_json_object
from kicc_ml.core.regions import RegionSet
from kicc_ml.core.types import Units
from kicc_ml.data.datamodule import PatchDataModule, PatientDataModule
from kicc_ml.data.volume_chain import Preparation, with_own_transforms
from kicc_ml.models.baselines.clinical_model_as_numbers import ClinicalModel
from kicc_ml.models.baselines.radiograph_zones import ZoneRidge
from kicc_ml.models.baselines.tabular import endpoints_be
from kicc_ml.models.networks import NETWORKS
from kicc_ml.models.opacity_share import OpacityShare
from kicc_ml.runs.plan import fill_plan
from kicc_ml.runs.settings import ASK_AGAIN, RunSettings, digest_of, parse_settings, read_settings
from kicc_ml.runs.tried import TRIED
from kicc_ml.runs.weights import load_network, read_header, write_weights

Plain = TypeVar("Plain", ClinicalModel, ZoneRidge, OpacityShare)

CONFIG = "config.yaml"
SPLIT = "split.json"
WEIGHTS = "weights.safetensors"
CLINICAL_MODEL = "clinical.json"  # the baseline that an outcome network has to beat
ZONE_RIDGES = "zones.json"  # scores of radiographs, likewise
OPACITY_SHARE = "opacity_share.json"  # of radiographs, how much of the lung fields is opaque
PREDICTIONS = "predictions.csv"  # written last, so that it marks a fold as finished
QUARANTINE = "quarantine.json"
FLOW = "flow.json"  # beside the folds: what became of rows and images on the way to the cohort
COHORT = "cohort.json"  # beside the folds: digests of the cases, by which a cohort that has changed is told
SEVERITY = "severity"  # beside the folds: a folder per case
MODEL_CARD, DATA_CARD = "model_card", "data_card"  # beside the report: each as .md and .html
PLAN = "plan.yaml"  # what the fold decided itself, of the settings that say ``planned``
#: Names in a run folder that are no folds', whatever a hospital is called.
NOT_FOLDS = {SEVERITY, FLOW, QUARANTINE, COHORT, TRIED, "figures", "summary.json", "index.parquet", "multirun.yaml"}
NOT_FOLDS |= {f"{table}.csv" for table in ("cases", "summary", "checklist", "table_1", "duplicates")}
NOT_FOLDS |= {f"{page}.{kind}" for page in (MODEL_CARD, DATA_CARD, "report", "index") for kind in ("md", "html")}


@dataclass(frozen=True)
class About:
    """A description of the training of the weights, stored in their file.

    Attributes:
        sizes: the parameters of the network that depend on the data.
        sites: the training hospitals.
        regions: the regions that the network learnt to segment.
        features, endpoints: the columns of the outcome network, in order.
        units, spacing_known: units of the images, and whether a voxel size was known, in a segmentation training.
        lesion_threshold: the threshold fitted inside the fold.
        unlearnt: the endpoints without both outcomes among the training cases.
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
    """A finished fold that was loaded: its network in evaluation mode, and its settings with the plan filled in."""

    folder: Path
    network: nn.Module
    about: About
    settings: RunSettings

    @property
    def canonical(self) -> Preparation:
        """The conversion of an image to the input of this fold's network, for a network that segments.

        It includes the user's own transforms of volumes.
        """
        if (canonical := self.settings.canonical) is None:
            raise self.settings.not_stated("data.canonical")
        return with_own_transforms(canonical, self.settings.volume_transforms)

    @property
    def region_set(self) -> RegionSet:
        """The regions of the task, in the order of the network's channels."""
        return self.settings.region_set

    @property
    def patch_size(self) -> Sequence[int]:
        """The number of voxels of a patch along x, y, z."""
        return self.settings.require(self.settings.patch_size, "data.patch_size")


@dataclass(frozen=True)
class PlainFold(Generic[Plain]):
    """The models of a finished fold in plain numbers, by endpoint; one that could not be fitted is absent."""

    folder: Path
    about: About
    models: Mapping[str, Plain]


ClinicalFold = PlainFold[ClinicalModel]
ZoneFold = PlainFold[ZoneRidge]


def find_model_card(run: Path) -> Path | None:
    """Find the model card of a run by its folder or that of one of its folds; None if the run was not evaluated."""
    folder = run.absolute().parent if (run / PREDICTIONS).is_file() else run
    return card if (card := folder / f"{MODEL_CARD}.html").is_file() else None


def fold_folder(run_dir: str | Path, fold: str) -> Path:
    """Return the folder of a fold in a run; characters that a file name cannot hold become ``-``."""
    return Path(run_dir) / fold_name(fold)


def fold_name(fold: str) -> str:
    """Return the name of a fold's folder: the fold's name, with a prefix if the run needs that name itself."""
    name = make_path_name(fold)
    return f"fold-{name}" if name.casefold() in NOT_FOLDS else name


def case_folder(run_dir: str | Path, case_id: str) -> Path:
    """Return the folder of the masks and the severity of a case in a run.

    Raises:
        UserError: it would be outside the run: the id is not a name, or a link leads out of the run.
    """
    severity = resolve_subfolder(Path(run_dir), SEVERITY, "the folder of results")
    return resolve_subfolder(severity, case_id, "the case id")


def finished_folds(run: Path) -> list[Path]:
    """List the folders of the finished folds: the run folder itself, or those below it."""
    return [path.parent for path in sorted(run.rglob(PREDICTIONS)) if (path.parent / CONFIG).is_file()]


def fold_folders(run: str | Path) -> list[Path]:
    """List the folders of the finished folds. Raises UserError, with what is missing, if there is none."""
    if found := finished_folds(Path(run)):
        return found
    why = f"{run} holds no finished run (no {PREDICTIONS} beside a {CONFIG}); train one: python train.py"
    raise UserError(why, page=FIRST_RUN)


def about_data(data: PatchDataModule | PatientDataModule) -> About:
    """Describe what a fold's training cases determine: the network's sizes, and the meaning of inputs and outputs."""
    sites = sorted({case.site for case in data.train_cases})
    if isinstance(data, PatchDataModule):
        known_c = np.any([data.volumes[case.case_id].mask_known_c for case in data.train_cases], axis=0)
        regions = [region for region, known in zip(data.store.regions.names, known_c, strict=True) if known]
        images = [image for case in data.train_cases if (image := case.image(data.canonical.modality)) is not None]
        return About(
            {"in_channels": 1, "out_channels": len(data.store.regions.names)},
            sites,
            regions,
            units="hu" if any(image.units == "hu" for image in images) else "arbitrary",
            spacing_known=any(image.spacing_mm is not None for image in images),
        )
    features, endpoints = list(data.features or ()), list(data.endpoints)
    sizes = {"features": len(features), "endpoints": len(endpoints)}
    known_be = endpoints_be(data.train_cases, endpoints)
    unlearnt = [
        name for name, known_b in zip(endpoints, known_be.T, strict=True) if len(set(known_b[~np.isnan(known_b)])) < 2
    ]
    return About(sites=sites, sizes=sizes, features=features, endpoints=endpoints, unlearnt=unlearnt)


def save_network(folder: Path, network: nn.Module, about: About, settings: Mapping[str, Any]) -> None:
    """Write ``weights.safetensors``, complete or not at all; its header holds ``about``.

    Args:
        folder: the folder of the fold.
        network: the trained network.
        about: what its training cases determine.
        settings: the settings of the fold, with its plan filled in; the header holds their digest.
    """
    write_weights(folder / WEIGHTS, network, vars(about), digest_of(settings))


def load_fold(folder: Path, trust: Collection[str] = ()) -> Fold:
    """Read a fold back: settings as plain values, tensors without pickle, a network from the known list.

    Args:
        folder: the folder of the fold.
        trust: the packages whose parts may be built although this project does not ship them.

    Raises:
        UserError: something is missing, damaged, larger than its file, or not of the same training; or the fold names
            a part of a package that is not trusted, or that is installed here in another version.
    """
    settings = read_fold_settings(folder)
    if not (path := folder / WEIGHTS).is_file():
        raise UserError(f"{path} is missing; {folder} is no finished fold with a network", page=FIRST_RUN)
    try:
        refuse_untrusted_parts(settings, trust)
        header = read_header(path)
        about = about_of(header.about)
        if header.settings != digest_of(settings.values):
            raise UserError(f"its weights were trained with other settings than {CONFIG} and {PLAN} state")
        own = settings.require(settings.network, "network")
        network = load_network(path, header, own, about.sizes, trust, settings.packages)
        fold = Fold(folder, network, about, settings)
        if about.regions:  # what a segmentation cannot do without
            _ = fold.canonical, fold.patch_size
            if strange := sorted(set(about.regions) - set(fold.region_set.names)):
                raise UserError(f"it learnt {strange[0]}, which is no region of its task")
    except Exception as error:  # settings and files of strangers fail in many ways
        reason = describe_error(error).splitlines()[0]
        remedy = "" if isinstance(error, NotTrusted) else "; train it again"
        raise UserError(f"{folder} cannot be read as a trained fold: {reason}{remedy}") from error
    return fold


def read_fold_settings(folder: Path) -> RunSettings:
    """Read and check the settings of a fold, with its plan filled in. Raises UserError if they cannot be read."""
    values = read_settings(folder / CONFIG)
    if (folder / PLAN).is_file():
        plan = read_settings(folder / PLAN)
        try:
            values = fill_plan(values, plan["fields"])
        except (AttributeError, KeyError, TypeError) as error:
            raise UserError(f"{folder / PLAN} does not fit {CONFIG} beside it; {ASK_AGAIN}") from error
    return parse_settings(values, folder / CONFIG)


def refuse_untrusted_run(run: Path, trust: Collection[str]) -> None:
    """Raise UserError, before any work, if a segmentation run names a part that :func:`load_fold` would refuse.

    Of outcome runs, only tables are read for an evaluation, so they are not checked.
    """
    segmented = [one for one in fold_folders(run) if (one / WEIGHTS).is_file() and (one.parent / SEVERITY).is_dir()]
    for folder in segmented:
        try:
            refuse_untrusted_parts(read_fold_settings(folder), trust)
        except NotTrusted as error:
            raise UserError(f"{folder} cannot be read as a trained fold: {error}") from error


def refuse_untrusted_parts(settings: RunSettings, trust: Collection[str]) -> None:
    """Raise NotTrusted for a network, transform of volumes or score that is neither shipped nor trusted."""
    refuse_untrusted(settings.network, NETWORKS, trust, settings.packages)
    refuse_untrusted([settings.volume_transforms.parts, settings.scores.parts], (), trust, settings.packages)


def about_of(kept: Any) -> About:
    """Parse the description in a weights file. Raises UserError if it is invalid."""
    try:
        about = About(**kept)
        names = (about.sites, about.regions, about.features, about.endpoints, about.unlearnt)
        fits = all(isinstance(name, str) for group in names for name in group)
        fits &= all(isinstance(size, int) and size >= 0 for size in about.sizes.values())
        fits &= about.units in get_args(Units)
        fits &= isinstance(about.spacing_known, bool) and 0 <= about.lesion_threshold <= 1
    except (TypeError, AttributeError) as error:
        raise UserError(f"what it says of itself is not understood ({error})") from error
    if not fits:
        raise UserError("what it says of itself is not understood")
    return about


def load_folds(run: Path, trust: Collection[str] = ()) -> list[Fold]:
    """Load the finished folds of a run. Raises UserError if there is none, or if :func:`load_fold` refuses one."""
    return [load_fold(folder, trust) for folder in fold_folders(run)]


def save_plain(folder: Path, name: str, about: About, models: Mapping[str, Plain]) -> None:
    """Write the models by endpoint as numbers and names to the file ``name`` (``clinical.json``, ``zones.json``)."""
    write_json(folder / name, {"about": vars(about), "models": {key: asdict(one) for key, one in models.items()}})


def load_plain(folder: Path, name: str, kind: type[Plain]) -> PlainFold[Plain] | None:
    """Load what :func:`save_plain` wrote; None if the fold has none. Raises UserError if the file is invalid."""
    if not (path := folder / name).is_file():
        return None
    kept = read_json_object(path, "train the fold again")
    try:
        models = {endpoint: kind(**model) for endpoint, model in kept["models"].items()}
        for model in models.values():
            model(np.zeros((1, model.inputs)))  # numbers that do not fit together are found here
        return PlainFold(folder, about_of(kept["about"]), models)
    except Exception as error:  # files of strangers fail in many ways
        reason = describe_error(error).splitlines()[0]
        raise UserError(f"{path} cannot be read as a model in plain numbers: {reason}; train the fold again") from error
