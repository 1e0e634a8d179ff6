"""The trained networks of a run, or of a fold in training, as one segmenter."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from kicc_ml.core.errors import UserError
from kicc_ml.core.parts import TARGET
from kicc_ml.core.regions import RegionSet
from kicc_ml.core.task_scores import TaskScores
from kicc_ml.data.datamodule import PatchDataModule
from kicc_ml.data.volume_chain import Preparation
from kicc_ml.models.mirrors import TTA_LEFT_RIGHT, TTA_LEFT_RIGHT_FRONT_BACK, MirrorAxes
from kicc_ml.models.opacity_share import OpacityShare
from kicc_ml.models.precision import on_device
from kicc_ml.models.segmenter import Segmenter
from kicc_ml.runs.folder import OPACITY_SHARE, About, Fold, load_plain, read_fold_settings


def make_segmenter(folds: Sequence[Fold], device: str = "cpu", *, fast: bool = False) -> Segmenter:
    """Make one segmenter from the folds of a run; their probabilities are averaged. ``fast`` omits mirror images.

    Folds whose plans have other voxel sizes, another network or other strides become companions. Raises UserError if
    the run is not a segmentation run, or if the device does not exist.
    """
    first = folds[0]
    if not first.about.regions:
        raise UserError(f"{first.folder} was not trained to segment; give a run of a lesion experiment")
    threshold = float(np.mean([fold.about.lesion_threshold for fold in folds]))
    about = replace(first.about, lesion_threshold=threshold)
    tta_mirrors: Sequence[MirrorAxes] = ((),) if fast else choose_tta(about, first.canonical)
    alike: dict[tuple[Preparation, str], list[Fold]] = {}
    for fold in folds:
        network = fold.settings.network or {}
        alike.setdefault((fold.canonical, str([network.get(TARGET), network.get("strides")])), []).append(fold)
    groups = [
        _segmenter(
            [on_device(fold.network, device) for fold in group],
            canonical,
            group[0].patch_size,
            about,
            tta_mirrors,
            first.region_set,
            first.settings.scores,
            read_opacity_shares([fold.folder for fold in group]),
        )
        for (canonical, _), group in alike.items()
    ]
    return replace(groups[0], companions=groups[1:])


def _segmenter(
    networks: Sequence[nn.Module],
    canonical: Preparation,
    patch_size: Sequence[int],
    about: About,
    tta_mirrors: Sequence[MirrorAxes],
    region_set: RegionSet,
    scores: TaskScores,
    opacity_shares: Sequence[OpacityShare],
) -> Segmenter:
    return Segmenter(
        networks,
        canonical,
        patch_size,
        about.regions,
        about.units,
        about.spacing_known,
        about.lesion_threshold,
        tta_mirrors,
        region_set=region_set,
        scores=scores,
        opacity_shares=opacity_shares,
    )


def read_opacity_shares(folders: Sequence[Path]) -> list[OpacityShare]:
    """Read the models of how much of the lung fields is opaque; a fold may have none.

    Raises:
        UserError: a file is damaged.
    """
    kept = [load_plain(folder, OPACITY_SHARE, OpacityShare) for folder in folders]
    return [one.models["lesion"] for one in kept if one and "lesion" in one.models]


def choose_tta(about: About, canonical: Preparation) -> Sequence[MirrorAxes]:
    """Choose the mirror images that the networks saw in training; also front-back if the geometry of CTs is unknown."""
    return TTA_LEFT_RIGHT if about.spacing_known or canonical.modality == "CXR" else TTA_LEFT_RIGHT_FRONT_BACK


def make_segmenter_in_training(network: nn.Module, about: About, data: PatchDataModule, folder: Path) -> Segmenter:
    """Make the segmenter of a network that was just trained; it predicts as it will after it is loaded.

    Args:
        network: the network.
        about: what the fold's training cases determine.
        data: the data of the fold.
        folder: the folder of the fold, which holds its settings.
    """
    tta_mirrors, scores = choose_tta(about, data.canonical), read_fold_settings(folder).scores
    own = (data.store.regions, scores, read_opacity_shares([folder]))
    return _segmenter([network.eval()], data.canonical, data.patch_size, about, tta_mirrors, *own)
