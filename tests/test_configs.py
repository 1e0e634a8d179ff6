"""A file in a configuration group is one call, bound here to the real signature."""

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import yaml
from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import OmegaConf

from kicc_ml.apps.configuration import CALLABLE, CONFIGS, compose_configuration
from kicc_ml.models.networks import NETWORKS

#: Given in Python when a partial call is made, or only known from the data.
LIVE = {
    "split": {"cases"},
    "data": {"cases", "split", "store", "seed"},
    "model": {"network"},
    "predict": {"network", "about", "data", "run_dir"},
    "trainer": {"logger", "callbacks"},
    "network": {"in_channels", "out_channels", "features", "endpoints"},
    "optimizer": {"params"},
    "schedule": {"optimizer", "task"},
    "logger": {"save_dir"},
}
#: Groups of which a file holds parts by name, each a call of its own.
BY_NAME = {"callbacks", "logger", "task"}
#: Files that bring in what others made: a run says which package it came from.
OF_OTHERS = {"loss/monai", "optimizer/sgd", "schedule/cosine", "callbacks/early_stopping"}
FILES = sorted(path for path in CONFIGS.glob("*/*.yaml") if path.parent.name != "experiment")
EXPERIMENTS = sorted(path.stem for path in (CONFIGS / "experiment").glob("*.yaml"))


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def calls(node: Any) -> Iterator[Mapping[str, Any]]:
    """Every mapping with a ``_target_``, the outermost first."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield node
        for value in node.values():
            yield from calls(value)


def signature_of(target_name: str) -> tuple[set[str], set[str], bool]:
    """Names a call may be given, those it must be given, and whether further ones are handed on to another."""
    target = get_object(target_name)
    parameters = dict(inspect.signature(target.__init__ if inspect.isclass(target) else target).parameters)
    parameters.pop("self", None)
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    plain = {name: one for name, one in parameters.items() if one.kind not in several}
    required = {name for name, one in plain.items() if one.default is inspect.Parameter.empty}
    hands_on = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    return set(plain), required, hands_on and target.__module__.startswith("kicc_ml.cohort")


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_file_gives_exactly_parameters_of_what_it_calls(path: Path):
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    live = LIVE.get(path.parent.name, set())
    for depth, call in enumerate(calls(settings)):
        known, required, hands_on = signature_of(call["_target_"])
        if hands_on:  # the embedded cohort reads its repository like anybody's
            known |= signature_of("kicc_ml.cohort.repository.repository")[0]
        given = {key for key in call if key not in ("_target_", "_partial_", "defaults", "weights")}
        assert given <= known
        assert required - given <= (live if depth == 0 else set())


@pytest.mark.parametrize("path", FILES, ids=named)
def test_only_what_needs_live_objects_is_partial(path: Path):
    outermost = next(calls(yaml.safe_load(path.read_text(encoding="utf-8"))))
    group = path.parent.name
    assert bool(outermost.get("_partial_")) == (group in LIVE and group != "network")


def test_a_group_of_parts_by_name_is_one_that_takes_several():
    assert all("_target_" not in yaml.safe_load(path.read_text()) for path in FILES if path.parent.name in BY_NAME)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_file_calls_what_this_project_lists_and_nothing_else(path: Path):
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    listed = NETWORKS if path.parent.name == "network" else CALLABLE
    targets = [call["_target_"] for call in calls(settings)]
    assert targets
    assert set(targets) <= set(listed) or named(path) in OF_OTHERS


@pytest.mark.parametrize("target", sorted({*CALLABLE, *NETWORKS}))
def test_everything_listed_exists_under_its_name(target: str):
    assert callable(get_object(target))


def test_every_listed_cohort_split_and_task_has_a_file():
    files = {call["_target_"] for path in FILES for call in calls(yaml.safe_load(path.read_text(encoding="utf-8")))}
    assert set(CALLABLE) <= files


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("trainer", ["cpu", "gpu", "ddp"])
def test_every_experiment_composes_without_an_open_end(experiment: str, trainer: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("KICC_DATA", raising=False)
    cfg = compose_configuration("train", [f"experiment={experiment}", f"trainer={trainer}"])
    assert OmegaConf.missing_keys(cfg) == set()
    assert OmegaConf.to_container(cfg, resolve=True)["name"] == experiment


@pytest.mark.parametrize("cohort", sorted(path.stem for path in (CONFIGS / "cohort").glob("*.yaml")))
@pytest.mark.parametrize("split", sorted(path.stem for path in (CONFIGS / "split").glob("*.yaml")))
def test_every_cohort_goes_with_every_split(cohort: str, split: str):
    cfg = compose_configuration("train", ["experiment=lesion_ct", f"cohort={cohort}", f"split={split}"])
    assert OmegaConf.missing_keys(cfg) <= {"cohort.root"}


def test_a_mistyped_experiment_is_told_what_exists():
    with pytest.raises(HydraException) as caught:
        compose_configuration("train", ["experiment=lesoin_ct"])
    assert all(name in str(caught.value) for name in ("lesoin_ct", *EXPERIMENTS))


def test_a_lightning_trainer_accepts_every_trainer_setting():
    settings = yaml.safe_load((CONFIGS / "trainer" / "cpu.yaml").read_text(encoding="utf-8"))
    given = {key: value for key, value in settings.items() if not key.startswith("_")}
    assert pl.Trainer(**given, logger=False, enable_checkpointing=False).max_epochs == -1
