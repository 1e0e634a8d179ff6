"""The share of the lung fields that is opaque, learnt on a fold's own radiographs after its network."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kicc_ml.core.types import Case
from kicc_ml.data.datamodule import PatchDataModule
from kicc_ml.data.stored_volume import StoredVolume
from kicc_ml.models.baselines.opacity_share_fit import fit_opacity_share
from kicc_ml.models.opacity_share import measure_lung_fields
from kicc_ml.models.segmenter import THRESHOLD
from kicc_ml.prediction.segmenters import make_segmenter_in_training
from kicc_ml.runs.folder import OPACITY_SHARE, About, save_plain
from kicc_ml.severity.plain_values import REFERENCE

#: The column of the reference of the share of lung involved.
PERCENT_REFERENCE = f"percent_involved{REFERENCE}"


@torch.inference_mode()
def learn_opacity_share(network: nn.Module, about: About, data: PatchDataModule, folder: Path) -> None:
    """Learn how much of the lung fields is opaque, and write it as ``opacity_share.json`` of the fold.

    It is learnt from the training and validation radiographs of which a reader's score or a mask states it, with the
    lungs that the network finds. Nothing is written for CT, for a task without lungs or lesion, and if too few
    radiographs state it.

    Args:
        network: the trained network.
        about: what the fold's training cases determine.
        data: the data of the fold, after ``setup``.
        folder: the folder of the fold.
    """
    (folder / OPACITY_SHARE).unlink(missing_ok=True)
    if data.canonical.modality != "CXR" or not {"lung", "lesion"} <= set(about.regions):
        return
    segmenter = replace(make_segmenter_in_training(network, about, data, folder), tta_mirrors=((),))
    lung_channel = list(about.regions).index("lung")
    rows, shares, hospitals = [], [], []
    for case in _fitting_cases(data):
        volume = data.volumes[case.case_id]
        if not is_share_known(case, volume):
            continue
        image_cxyz = torch.from_numpy(np.array(volume.image_cxyz))
        lung_xy = (segmenter.probabilities(image_cxyz)[lung_channel, ..., 0] > THRESHOLD).cpu().numpy()
        row = measure_lung_fields(image_cxyz[0, ..., 0].float().numpy(), lung_xy)
        if row is not None:
            rows.append(row)
            shares.append(compute_known_share(case, volume, lung_xy))
            hospitals.append(case.site)
    model = fit_opacity_share(np.array(rows), np.array(shares), np.array(hospitals))
    if model is not None:
        save_plain(folder, OPACITY_SHARE, about, {"lesion": model})


def _fitting_cases(data: PatchDataModule) -> list[Case]:
    """List the cases of the fold that it may learn from: validation cases select nothing here."""
    ids = {*data.split.train, *data.split.val}
    return [case for case in data.cases if case.case_id in ids and case.case_id in data.volumes]


def is_share_known(case: Case, volume: StoredVolume) -> bool:
    """Tell whether a reader's score or a mask states how much of the lung fields is opaque."""
    return volume.lesion_known or case.opacity_share is not None


def compute_known_share(case: Case, volume: StoredVolume, lung_xy: np.ndarray) -> float:
    """Compute what is known: nothing for an empty mask, else what readers say, else the share of the mask."""
    lesion_xy = _lesion(volume) if volume.lesion_known else None
    if lesion_xy is not None and not lesion_xy.any():
        return 0.0
    if case.opacity_share is not None:
        return case.opacity_share
    assert lesion_xy is not None
    return float((lesion_xy & lung_xy).sum() / lung_xy.sum())


def add_readers_share(row: dict[Any, Any], case: Case) -> dict[Any, Any]:
    """Add what readers say as the reference of the share of lung involved, where no masks of lungs and lesion say it.

    Args:
        row: the columns of a case; a missing reference is None or absent.
        case: the case.
    """
    if case.opacity_share is None or row.get(PERCENT_REFERENCE) is not None:
        return row
    return row | {PERCENT_REFERENCE: 100 * case.opacity_share}


def _lesion(volume: StoredVolume) -> np.ndarray:
    masks: Mapping[str, np.ndarray] = dict(zip(volume.region_names, volume.mask_cxyz, strict=True))
    return masks["lesion"][..., 0] > 0
