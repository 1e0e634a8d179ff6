"""What a fold's ``config.yaml`` holds, and whose checkpoints it may take up."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kicc_ml.apps.configuration import CALLABLE, convert_to_plain
from kicc_ml.core.errors import UserError
from kicc_ml.core.parts import PACKAGES, describe_packages
from kicc_ml.core.types import Split
from kicc_ml.models.fold_checkpoint import Mark
from kicc_ml.models.outcome import OutcomeNetwork
from kicc_ml.models.pretrained import digest_of_file, find_weights
from kicc_ml.runs.cohort_readers import make_key_setting, remove_places
from kicc_ml.runs.settings import digest_of

#: Settings that say where a run lies and how it goes on, not what it is: they may change when it is taken up again.
NOT_SETTINGS = frozenset(
    {"ckpt_path", "run_dir", "store_dir", "dask", "compile", "parts", "logger", "hparams_search", "nested"}
)
#: Settings that may change when a checkpoint is taken up: for how long and on what is trained, what becomes of it.
MAY_CHANGE = frozenset({"name", "trainer", "predict", "plan"})


def make_fold_settings(cfg: DictConfig, fold: str) -> dict[str, Any]:
    """Collect what a fold's ``config.yaml`` holds: all that makes it what it is, and no place on this machine."""
    settings = {key: value for key, value in convert_to_plain(cfg).items() if key not in NOT_SETTINGS}
    settings["cohort"] = remove_places(settings["cohort"]) | make_key_setting(settings["cohort"])
    settings["features_from"] = Path(cfg.features_from).name if cfg.features_from else None
    settings = replace_weights_by_digest(settings)
    return settings | describe_packages_of(settings) | {"split": settings["split"] | {"fold": fold}}


def refuse_absent_images(settings: Mapping[str, Any]) -> None:
    """Refuse a network of outcomes that takes images which the settings of the data leave out.

    Args:
        settings: the settings of a training.

    Raises:
        UserError: the network takes a kind of image for which there is no conversion.
    """
    network, data = settings.get("network") or {}, settings.get("data") or {}
    if not str(network.get("_target_", "")).endswith(f".{OutcomeNetwork.__name__}"):
        return
    for kind, words in (("ct", "CT"), ("cxr", "radiographs")):
        if network.get(kind, True) and data.get(f"canonical_{kind}") is None:
            raise UserError(
                f"data.canonical_{kind}=null leaves out the {words}, but network.{kind}=true takes them; "
                f"say network.{kind}=false too"
            )


def make_mark(settings: Mapping[str, Any], split: Split) -> Mark:
    """Make the mark of a fold's checkpoints: its cases, and what its weights depend on."""
    weighty = {key: value for key, value in settings.items() if key not in MAY_CHANGE}
    return Mark(split.fold, digest_of(weighty), digest_of(asdict(split)))


def replace_weights_by_digest(settings: dict[str, Any]) -> dict[str, Any]:
    """Replace the path of the weights that a fold starts from by their digest, in its settings."""
    network = settings.get("network") or {}
    if not network.get("weights"):
        return settings
    path = find_weights(Path(network["weights"]))
    return settings | {"network": network | {"weights": {"file": path.name, "sha256": digest_of_file(path)}}}


def describe_packages_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the packages of a run's parts from elsewhere, as a setting; none if it has no such parts."""
    packages = describe_packages(settings, CALLABLE)
    return {PACKAGES: packages} if packages else {}
