"""The trained networks of a run, or of a fold in training, as one segmenter with its lesion threshold."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from kicc_ml.core.errors import UserError
from kicc_ml.core.regions import CHEST, RegionSet
from kicc_ml.data.datamodule import PatchDataModule
from kicc_ml.data.volume_chain import Preparation
from kicc_ml.models.precision import on_device
from kicc_ml.models.segmenter import Segmenter
from kicc_ml.models.sliding_window import (
    TTA_LEFT_RIGHT,
    TTA_LEFT_RIGHT_FRONT_BACK,
    MirrorAxes,
    predict_by_sliding_window,
)
from kicc_ml.runs.folder import About, Fold

LESION_THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)


def make_segmenter(folds: Sequence[Fold], device: str = "cpu", *, fast: bool = False) -> Segmenter:
    """Make one segmenter from the folds of a run; their probabilities are averaged. ``fast`` omits mirror images.

    Folds whose plans have other voxel sizes become companions. Raises UserError if the run is not a segmentation run,
    or if the device does not exist.
    """
    first = folds[0]
    if not first.about.regions:
        raise UserError(f"{first.folder} was not trained to segment; give a run of a lesion experiment")
    threshold = float(np.mean([fold.about.lesion_threshold for fold in folds]))
    about = replace(first.about, lesion_threshold=threshold)
    tta_mirrors: Sequence[MirrorAxes] = ((),) if fast else _choose_tta(about, first.canonical)
    alike: dict[Preparation, list[Fold]] = {}
    for fold in folds:
        alike.setdefault(fold.canonical, []).append(fold)
    groups = [
        _segmenter(
            [on_device(fold.network, device) for fold in group],
            canonical,
            group[0].patch_size,
            about,
            tta_mirrors,
            first.region_set,
        )
        for canonical, group in alike.items()
    ]
    return replace(groups[0], companions=groups[1:])


def _segmenter(
    networks: Sequence[nn.Module],
    canonical: Preparation,
    patch_size: Sequence[int],
    about: About,
    tta_mirrors: Sequence[MirrorAxes],
    region_set: RegionSet,
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
    )


def _choose_tta(about: About, canonical: Preparation) -> Sequence[MirrorAxes]:
    """Choose the mirror images that the networks saw in training; also front-back if the geometry of CTs is unknown."""
    return TTA_LEFT_RIGHT if about.spacing_known or canonical.modality == "CXR" else TTA_LEFT_RIGHT_FRONT_BACK


@torch.inference_mode()
def choose_lesion_threshold(
    network: nn.Module, about: About, data: PatchDataModule, regions: RegionSet = CHEST
) -> About:
    """Set the lesion threshold of ``about`` to the one of ``LESION_THRESHOLDS`` with the highest validation Dice.

    For CT the Dice is the mean over cases with a lesion. For radiographs it is computed over all pixels together, with
    cases without a lesion, because cases are few, and with ill patients only, the lowest threshold would win and mark
    healthy lungs. Without any lesion, or if no region of ``regions`` is its lesion, ``about`` is returned unchanged.

    Args:
        network: the trained network.
        about: what the fold's training cases determine (:func:`kicc_ml.runs.folder.about_data`).
        data: the data of the fold, after ``setup``.
        regions: the regions of the task.

    Returns:
        A copy of ``about``.
    """
    network.eval()
    flat = data.canonical.modality == "CXR"
    if regions.lesion not in regions.names:
        return about
    lesion, tta_mirrors = regions.names.index(regions.lesion), _choose_tta(about, data.canonical)
    overlap, size = [], []
    for batch in data.val_dataloader():
        truth = batch["mask_bcxyz"][0, lesion] > 0.5
        if truth.any() or (flat and batch["mask_known_bc"][0, lesion]):
            image_cxyz = batch["image_bcxyz"][0]
            (probability,) = predict_by_sliding_window(
                [network], image_cxyz, data.patch_size, [lesion], tta_mirrors, regions.mirror_channels
            )
            found = [probability > threshold for threshold in LESION_THRESHOLDS]
            overlap.append([float(2 * (one & truth).sum()) for one in found])
            size.append([float(one.sum() + truth.sum()) for one in found])
    if not np.any(overlap):
        return about
    dice = np.sum(overlap, 0) / np.sum(size, 0) if flat else np.mean(np.divide(overlap, size), 0)
    return replace(about, lesion_threshold=LESION_THRESHOLDS[int(dice.argmax())])


def make_segmenter_in_training(network: nn.Module, about: About, data: PatchDataModule) -> Segmenter:
    """Make the segmenter of a network that was just trained; it predicts as it will after it is loaded."""
    tta_mirrors = _choose_tta(about, data.canonical)
    return _segmenter([network.eval()], data.canonical, data.patch_size, about, tta_mirrors, data.store.regions)
