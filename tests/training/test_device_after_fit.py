"""A network stays where it was trained: what follows the training runs there, and not on the processor."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import nn

from kicc_ml.apps import train as script
from kicc_ml.apps.configuration import compose_configuration
from kicc_ml.core.regions import REGIONS
from kicc_ml.core.types import Case, Split
from kicc_ml.data.canonical import CanonicalCT
from kicc_ml.data.datamodule import PatientDataModule
from kicc_ml.data.store import VolumeStore
from kicc_ml.models.outcome import OutcomeNetwork
from kicc_ml.models.segmenter import Segmenter
from kicc_ml.prediction.lesion_threshold import LESION_THRESHOLDS, choose_lesion_threshold
from kicc_ml.prediction.outcome import outcome_probabilities
from kicc_ml.runs.folder import About
from kicc_ml.synthetic.repository import synthesize
from tests.support.fake_gpu import FakeGpu

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on checkpoints and workers

FOLD = "busan-1"
SMALL = (
    *("experiment=outcome", "cohort=repository", "data.canonical_ct=null", "data.canonical_cxr=null"),
    *("network.ct=false", "network.cxr=false", "network.width=8", "trainer=cpu", "trainer.max_time=null"),
    *("trainer.max_steps=2", "trainer.log_every_n_steps=1", f"split.fold={FOLD}"),
)


class Reached(Exception):
    """Ends a fold, or a prediction, where the test has seen what it wants to see."""


def device_of(network: nn.Module) -> str:
    return next(network.parameters()).device.type


def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings end as on a GPU: Lightning takes the network to the processor, and the device was another one.

    The device is torch's ``meta``, whose tensors have no values, since this machine has no other.
    """
    teardown = SingleDeviceStrategy.teardown

    def then_elsewhere(strategy: SingleDeviceStrategy) -> None:
        teardown(strategy)
        strategy._root_device = torch.device("meta")

    monkeypatch.setattr(SingleDeviceStrategy, "teardown", then_elsewhere)


def test_what_follows_a_training_gets_the_network_on_the_device_it_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    root = tmp_path / "repository"
    synthesize(root, "demo", 3, tables_only=True, patients=24, sites=3)
    with (root / "clinical.csv").open(encoding="utf-8") as table:
        for row in csv.DictReader(table):
            (root / row["site"]).mkdir(exist_ok=True)
    where = (f"cohort.root={root}", f"run_dir={tmp_path / 'run'}", f"store_dir={tmp_path / 'store'}")
    cfg = compose_configuration("train", [*SMALL, *where])
    seen: list[str] = []

    def recalibrate(network: nn.Module, data: Any) -> None:
        seen.append(device_of(network))
        raise Reached

    elsewhere(monkeypatch)
    monkeypatch.setattr(script, "recalibrate", recalibrate)
    script.prepare(cfg)
    with pytest.raises(Reached):
        script.train(cfg)
    assert seen == ["meta"]


def reached_with(network: nn.Module) -> list[str]:
    """The devices of the tensors that a network is given, filled when it is called; the call ends with Reached."""
    devices: list[str] = []

    def look(_: nn.Module, given: tuple[Any, ...]) -> None:
        tensors = given[0].values() if isinstance(given[0], dict) else given
        devices.extend(tensor.device.type for tensor in tensors if isinstance(tensor, torch.Tensor))
        raise Reached

    network.register_forward_pre_hook(look)
    return devices


def test_patients_are_predicted_where_the_network_lies(tmp_path: Path):
    cases = [
        Case(f"seoul_{n}", "seoul", str(n), clinical={"age_years": 50.0 + n}, endpoints={"icu": n % 2})
        for n in range(4)
    ]
    split = Split("seoul", tuple(case.case_id for case in cases), (), (), {case.case_id: case.person for case in cases})
    data = PatientDataModule(cases, split, VolumeStore(tmp_path), endpoints=("icu",))
    data.setup()
    network = OutcomeNetwork(1, 1, ct=False, cxr=False, width=8).to("meta")
    devices = reached_with(network)
    with pytest.raises(Reached):
        outcome_probabilities(network, data, cases)
    assert set(devices) == {"meta"}


def test_a_recalibration_is_kept_where_the_network_lies():
    network = OutcomeNetwork(1, 2, ct=False, cxr=False, width=8).to("meta")
    network.set_recalibration([0.1, 0.2], [1.0, 2.0])
    assert network.intercept_e.device.type == network.slope_e.device.type == "meta"


def test_scans_are_segmented_where_the_network_lies():
    network = nn.Conv3d(1, 5, 1).to("meta")
    devices = reached_with(network)
    segmenter = Segmenter([network], CanonicalCT(), (8, 8, 8), ("lesion",), "hu", True, 0.5)
    with pytest.raises(Reached):
        segmenter.probabilities(torch.zeros(1, 8, 8, 8))
    assert devices == ["meta"]


def test_the_lesion_threshold_is_counted_where_the_network_lies():
    mask_bcxyz = torch.ones(1, len(REGIONS), 8, 8, 8)
    batch = {"image_bcxyz": torch.rand(1, 1, 8, 8, 8), "mask_bcxyz": mask_bcxyz}
    data = SimpleNamespace(canonical=CanonicalCT(), patch_size=(8, 8, 8), val_dataloader=lambda: [batch])
    network = nn.Conv3d(1, len(REGIONS), 1).to("meta")
    with FakeGpu() as gpu:
        choose_lesion_threshold(network, About(sizes={}, sites=()), data)  # type: ignore[arg-type]
    assert gpu.left == [8 * 2 * len(LESION_THRESHOLDS)]  # the counts alone


@pytest.mark.parametrize(("precision", "dtype"), [("bf16-mixed", torch.bfloat16), ("32-true", torch.float32)])
def test_patients_are_predicted_in_the_precision_of_the_training(precision: str, dtype: torch.dtype, tmp_path: Path):
    cases = [Case(f"seoul_{n}", "seoul", str(n), clinical={"age_years": 50.0 + n}) for n in range(4)]
    data = PatientDataModule(cases, Split("seoul", (), (), (), {}), VolumeStore(tmp_path), endpoints=("icu",))
    data.features = ("age_years",)
    data.trainer = pl.Trainer(accelerator="cpu", precision=precision, logger=False, enable_checkpointing=False)
    network = OutcomeNetwork(1, 1, ct=False, cxr=False, width=8)
    seen: list[torch.dtype] = []
    network.clinical.body[0].register_forward_hook(lambda *given: seen.append(given[-1].dtype))
    outcome_probabilities(network, data, cases)
    assert set(seen) == {dtype}
