"""The probability above which a voxel belongs to the lesion, chosen on the validation cases of a fold."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from kicc_ml.core.regions import CHEST, RegionSet
from kicc_ml.data.datamodule import PatchDataModule
from kicc_ml.models.sliding_window import predict_by_sliding_window
from kicc_ml.prediction.segmenters import choose_tta
from kicc_ml.runs.folder import About

LESION_THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)


@torch.inference_mode()
def choose_lesion_threshold(
    network: nn.Module, about: About, data: PatchDataModule, regions: RegionSet = CHEST
) -> About:
    """Set the lesion threshold of ``about`` to the one of ``LESION_THRESHOLDS`` with the highest validation Dice.

    For CT the Dice is the mean over cases with a lesion. For radiographs it is computed over all pixels together, with
    cases without a lesion, because cases are few, and with ill patients only, the lowest threshold would win and mark
    healthy lungs. Without any lesion, or if no region of ``regions`` is its lesion, ``about`` is returned unchanged.

    Args:
        network: the trained network, on the device where it predicts.
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
    lesion, tta_mirrors = regions.names.index(regions.lesion), choose_tta(about, data.canonical)
    overlap, size = [], []
    for batch in data.val_dataloader():
        truth_xyz = batch["mask_bcxyz"][0, lesion] > 0.5
        if truth_xyz.any() or (flat and batch["mask_known_bc"][0, lesion]):
            image_cxyz = batch["image_bcxyz"][0]
            (probability_xyz,) = predict_by_sliding_window(
                [network], image_cxyz, data.patch_size, [lesion], tta_mirrors, regions.mirror_channels
            )
            counted = _count_by_threshold(probability_xyz, truth_xyz)
            overlap.append(counted[0])
            size.append(counted[1])
    if not np.any(overlap):
        return about
    dice = np.sum(overlap, 0) / np.sum(size, 0) if flat else np.mean(np.divide(overlap, size), 0)
    return replace(about, lesion_threshold=LESION_THRESHOLDS[int(dice.argmax())])


def _count_by_threshold(probability_xyz: Tensor, truth_xyz: Tensor) -> np.ndarray:
    """Count, for each of ``LESION_THRESHOLDS``, twice the common voxels and those of both masks: ``[2, threshold]``.

    Counted where the probability lies; only the counts leave a GPU.
    """
    truth_xyz = truth_xyz.to(probability_xyz.device)
    found = [probability_xyz > threshold for threshold in LESION_THRESHOLDS]
    overlap = torch.stack([2 * (one & truth_xyz).sum() for one in found])
    size = torch.stack([one.sum() + truth_xyz.sum() for one in found])
    return torch.stack([overlap, size]).cpu().double().numpy()
