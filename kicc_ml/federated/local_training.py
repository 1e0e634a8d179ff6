"""What a hospital trains on, and one round of training at home."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.environments import LightningEnvironment
from torch import Tensor, nn

from kicc_ml.core.errors import NothingToLearn
from kicc_ml.core.regions import CHEST, REGIONS
from kicc_ml.core.types import Case, Split
from kicc_ml.data.augment.transform import AugmentConfig
from kicc_ml.data.canonical import CanonicalCT
from kicc_ml.data.datamodule import PatchDataModule, PatientDataModule
from kicc_ml.data.store import VolumeStore
from kicc_ml.federated.messages import HospitalRefuses
from kicc_ml.federated.plan import Plan
from kicc_ml.federated.sums import LEAST
from kicc_ml.models.outcome import OutcomeTask
from kicc_ml.models.segmentation import SegmentationTask
from kicc_ml.models.task import Task

#: Window of the images, as in ``configs/data/ct_patches.yaml``.
WINDOW_HU = (-1000.0, 300.0)

WEIGHT_DECAY = {"outcome": 1e-2, "lesion_ct": 1e-4}

Optimizer = Callable[..., torch.optim.Optimizer]


@dataclass(frozen=True)
class Agreed:
    """What hospitals have in common in a training: columns of the clinical table, in order."""

    features: Sequence[str] = ()
    endpoints: Sequence[str] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes of an outcome network."""
        return {"features": len(self.features), "endpoints": len(self.endpoints)}


def make_data(
    plan: Plan, agreed: Agreed, cases: Sequence[Case], store: Path, round_number: int = 0
) -> PatientDataModule | PatchDataModule:
    """Make the data module of a hospital's own patients, ready for use; all are on the training side.

    Args:
        plan: the training.
        agreed: the columns that hospitals have in common.
        cases: the patients.
        store: the folder of prepared volumes.
        round_number: patients and patches come in another order in each round.

    Raises:
        HospitalRefuses: the hospital has no patient, or too few, to train on.
    """
    ids = tuple(case.case_id for case in cases)
    split = Split("at home", ids, (), (), {case.case_id: case.person for case in cases})
    volumes, seed = VolumeStore(store, CHEST), plan.seed + round_number
    data: PatientDataModule | PatchDataModule
    if plan.task == "outcome":
        features = list(agreed.features)
        data = PatientDataModule(cases, split, volumes, features=features, batch_size=plan.batch_size, seed=seed)
        data.endpoints = tuple(agreed.endpoints)  # also one that this hospital's table does not have
    else:
        canonical = CanonicalCT(spacing_mm=plan.spacing_mm, window_hu=WINDOW_HU, matrix=None)
        options: dict[str, Any] = {"patch_size": plan.patch_size, "batch_size": plan.batch_size, "seed": seed}
        augment = AugmentConfig(spacing_mm=plan.spacing_mm)
        patches = plan.patches
        data = PatchDataModule(cases, split, volumes, canonical, patches_per_epoch=patches, augment=augment, **options)
    return _set_up(data)


def _set_up(data: PatientDataModule | PatchDataModule) -> PatientDataModule | PatchDataModule:
    data.prepare_data()
    try:
        data.setup()
    except NothingToLearn as error:
        raise HospitalRefuses("this hospital has no patient whom the task can learn from") from error
    if len(data.train_cases) < LEAST:
        raise HospitalRefuses(f"this hospital has fewer than {LEAST} patients whom the task can learn from")
    return data


class Proximal(Callback):
    """The proximal term of FedProx: its gradient, ``mu`` times the distance from the weights of the server."""

    def __init__(self, mu: float):
        self.mu = mu
        self.start: Mapping[str, Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the weights that the round begins with."""
        self.start = {name: weight.detach().clone() for name, weight in pl_module.named_parameters()}

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Add the gradient of ``mu / 2`` times the squared distance."""
        for name, weight in pl_module.named_parameters():
            if weight.grad is not None:
                weight.grad.add_(weight.detach() - self.start[name], alpha=self.mu)


class MeanLoss(Callback):
    """The mean loss of the steps of a round."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the loss of a step."""
        self.losses.append(float(outputs["loss"]))

    @property
    def mean(self) -> float:
        """The mean over steps."""
        return sum(self.losses) / max(len(self.losses), 1)


def keep_rate(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    """Keep the learning rate as it is: rounds are short, and each begins a new optimizer."""
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def train_round(
    plan: Plan,
    network: nn.Module,
    data: PatientDataModule | PatchDataModule,
    optimizer: Optimizer = torch.optim.AdamW,
) -> float:
    """Train a network at home for one round; it is changed in place.

    Args:
        plan: the training.
        network: the network with the weights of the server.
        data: the hospital's data (:func:`make_data`).
        optimizer: called with the parameters.

    Returns:
        the mean loss of the steps.
    """
    loss = MeanLoss()
    trainer = pl.Trainer(
        max_epochs=plan.epochs,
        accelerator="auto",
        devices=1,
        plugins=[LightningEnvironment()],
        callbacks=[loss, *([Proximal(plan.proximal)] if plan.proximal else [])],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    torch.manual_seed(data.seed)
    network.train()
    trainer.fit(_make_task(plan, network, optimizer), data)
    network.cpu()
    return loss.mean


def _make_task(plan: Plan, network: nn.Module, optimizer: Optimizer) -> Task:
    rates: dict[str, Any] = {"learning_rate": plan.learning_rate, "weight_decay": WEIGHT_DECAY[plan.task]}
    if plan.task == "outcome":
        return OutcomeTask(network, optimizer=optimizer, schedule=keep_rate, **rates)
    return SegmentationTask(network, plan.patch_size, optimizer=optimizer, schedule=keep_rate, regions=REGIONS, **rates)
