"""A plan for each fold, from its training cases: voxel size, window, depth, patch and batch for a given memory.

A setting with the value ``planned`` is determined here; any other value is kept. The rules follow nnU-Net (Isensee et
al., Nat Methods 2021), except that a plan uses only the training cases of the fold.
"""

import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from math import prod
from typing import Any

import numpy as np
import torch
from torch import nn

from kicc_ml.core.errors import UserError
from kicc_ml.core.parts import find_part
from kicc_ml.core.regions import REGIONS
from kicc_ml.data.fingerprint import Fingerprint
from kicc_ml.models.losses import build_own_loss
from kicc_ml.models.network_facts import patch_multiples, planned_strides, slices_of_patch
from kicc_ml.models.networks import build_own_network
from kicc_ml.models.task import Loss
from kicc_ml.models.training_memory import training_bytes

PLANNED = "planned"

#: What can be planned, in this order, and where it stands among the settings.
FIELDS: Mapping[str, str] = {
    "spacing_mm": "data.canonical.spacing_mm",
    "window_hu": "data.canonical.window_hu",
    "strides": "network.strides",
    "upsample_kernel_size": "network.upsample_kernel_size",
    "kernel_size": "network.kernel_size",
    "channels": "network.channels",
    "filters": "network.filters",
    "patch_size": "data.patch_size",
    "batch_size": "data.batch_size",
    "checkpointing": "plan.checkpointing",
}

GIB = 2**30

#: Voxel sizes are rounded to this, so that the folds of a cohort share their prepared volumes.
SPACING_STEP_MM = 0.25

#: Voxel size where no file states one: the voxels stay as they are, and rotations need proportions.
UNKNOWN_SPACING_MM = [2.0, 2.0, 4.0]

#: A patch should see at least this share of a scan, else voxels are made larger: a lung in a patch of it.
LEAST_SEEN = 0.125

#: A window, in HU, holds air and soft tissue whatever the masks cover; it is widened in steps.
LEAST_WINDOW_HU = (-1000.0, 100.0)
WINDOW_STEP_HU = 100.0

#: nnU-Net's rules: an axis is halved while 4 voxels are left and its voxels are no longer than twice the shortest.
LEAST_BOTTOM_VOXELS = 4
MOST_ANISOTROPY = 2.0
MOST_HALVINGS = 4

#: Channels of the first level, doubled from level to level up to the most.
FIRST_CHANNELS, MOST_CHANNELS = 32, 256

#: Samples in a batch: fewer make noisy gradients, more are better spent on larger patches.
LEAST_BATCH, MOST_BATCH = 2, 16

#: Patches of a network that goes slice by slice hold one slice with its neighbours: slices side by side are alike, and
#: eight from eight places taught lesions in fewer minutes than sixteen from two. About the body is only air.
PLANE_IN_PATCH = 0.75

#: Patches (voxels) on which the memory of a network is rehearsed to find what each voxel takes; made larger where a
#: network takes no such patch.
REHEARSED = ((64, 64, 16), (64, 64, 64))


def planned_fields(settings: Mapping[str, Any]) -> list[str]:
    """List the fields with the value ``planned``. Without patches there is nothing to compute twice."""
    planned = [name for name, key in FIELDS.items() if _at(settings, key) == PLANNED]
    return planned if _at(settings, FIELDS["patch_size"]) else [name for name in planned if name != "checkpointing"]


def make_plan(found: Fingerprint, settings: Mapping[str, Any], memory_gib: float) -> dict[str, Any]:
    """Plan the fields of ``settings`` that are ``planned``: plain lists and numbers, by name of the field.

    Args:
        found: statistics of the training cases.
        settings: the settings of the fold.
        memory_gib: the memory for a training step.

    Raises:
        UserError: even the smallest patch does not fit into ``memory_gib``.
    """
    wanted = planned_fields(settings)
    plan: dict[str, Any] = {}
    if "spacing_mm" in wanted:
        plan["spacing_mm"] = _spacing_mm(
            found, _voxels(fill_plan(settings, _depth(settings, (1, 1, 1), (128,) * 3)), memory_gib)
        )
    if "window_hu" in wanted:
        plan["window_hu"] = _window_hu(found)
    spacing_mm, shape = _target_grid(found, fill_plan(settings, plan)["data"]["canonical"]["spacing_mm"])
    plan |= _depth(settings, spacing_mm, shape)
    if {"patch_size", "batch_size", "checkpointing"} & set(wanted):
        plan |= _patches(fill_plan(settings, plan), wanted, shape, memory_gib)
    return plan


def _patches(
    settings: Mapping[str, Any], wanted: Sequence[str], shape: Sequence[float], memory_gib: float
) -> dict[str, Any]:
    """Plan patch and batch, and whether blocks are computed twice: where one patch would be smaller otherwise."""
    plan: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):  # the weights of the training are drawn after it
        network = _network(settings)
    seen = _of_slices(shape, slices) if (slices := slices_of_patch(network)) else shape
    steps = patch_multiples(network)
    if "checkpointing" in wanted:
        whole = _patch_size(seen, steps, sys.maxsize) if "patch_size" in wanted else settings["data"]["patch_size"]
        plain, _ = _fitting_voxels(fill_plan(settings, {"checkpointing": False}), memory_gib)
        plan["checkpointing"] = plain < LEAST_BATCH * prod(whole)
    voxels = _voxels(fill_plan(settings, plan), memory_gib)
    if "patch_size" in wanted:
        plan["patch_size"] = _patch_size(seen, steps, voxels // LEAST_BATCH)
    if "batch_size" in wanted:
        patch = fill_plan(settings, plan)["data"]["patch_size"]
        plan["batch_size"] = int(np.clip(voxels // prod(patch), LEAST_BATCH, MOST_BATCH))
    return plan


def fill_plan(settings: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[str, Any]:
    """Fill the values of a plan into a copy of ``settings``."""
    result = deepcopy(dict(settings))
    for name, value in plan.items():
        *path, last = FIELDS[name].split(".")
        node = result
        for step in path:
            node = node[step]
        node[last] = value
    return result


def predicted_gib(settings: Mapping[str, Any]) -> float:
    """Estimate the peak memory in GiB of a training on a CPU, in addition to what the process holds before."""
    data, twice = settings["data"], _at(settings, FIELDS["checkpointing"]) is True
    sizes = data["batch_size"], data["patch_size"]
    return training_bytes(_network(settings), *sizes, _loss(settings), _channels(settings), twice) / GIB


def _network(settings: Mapping[str, Any]) -> nn.Module:
    return build_own_network(settings["network"], {"in_channels": 1, "out_channels": _channels(settings)})


def _channels(settings: Mapping[str, Any]) -> int:
    task = settings.get("task")
    return len(task["regions"]["names"]) if task else len(REGIONS)


def _loss(settings: Mapping[str, Any]) -> Loss | None:
    return build_own_loss(loss) if (loss := settings.get("loss")) else None


def _at(settings: Mapping[str, Any], key: str) -> Any:
    node: Any = settings
    for step in key.split("."):
        node = node.get(step) if isinstance(node, Mapping) else None
    return node


def _voxels(settings: Mapping[str, Any], memory_gib: float) -> int:
    """Compute the number of voxels of a whole batch that fits into memory. Raises UserError if a batch needs more."""
    voxels, fewest = _fitting_voxels(settings, memory_gib)
    if voxels < LEAST_BATCH * fewest:
        raise UserError(
            f"plan.memory_gib={memory_gib} holds no training of this network; give it more, or a smaller one"
        )
    return voxels


def _fitting_voxels(settings: Mapping[str, Any], memory_gib: float) -> tuple[int, int]:
    """Compute the voxels that fit into memory, which grows linearly with them, and those of the least patch tried."""
    network, loss = _network(settings), _loss(settings)
    patches = _rehearsed_patches(patch_multiples(network))
    twice = _at(settings, FIELDS["checkpointing"]) in (True, PLANNED)
    few, many = (training_bytes(network, 1, patch, loss, _channels(settings), twice) for patch in patches)
    fewest, most = map(prod, patches)
    each = (many - few) / (most - fewest)
    return int((memory_gib * GIB - few) / each + fewest), fewest


def _rehearsed_patches(steps: Sequence[int]) -> list[list[int]]:
    """Enlarge the patches of ``REHEARSED`` to multiples of ``steps``; the second stays the larger one."""
    few, many = ([-(-size // step) * step for size, step in zip(patch, steps, strict=True)] for patch in REHEARSED)
    return [few, many if prod(many) > prod(few) else [*many[:2], 2 * many[2]]]


def _spacing_mm(found: Fingerprint, voxels: int) -> list[float]:
    """Take the median voxel size; its shortest side grows until a patch covers ``LEAST_SEEN`` of a scan."""
    if found.spacing_mm is None:
        return UNKNOWN_SPACING_MM
    step = SPACING_STEP_MM
    spacing = np.maximum(np.rint(np.array(found.spacing_mm) / step), 1) * step
    extent_mm = np.array(found.shape) * found.spacing_mm
    while np.prod(extent_mm / spacing) * LEAST_SEEN > voxels / LEAST_BATCH:
        spacing = np.where(spacing == spacing.min(), spacing + step, spacing)
    return spacing.tolist()


def _window_hu(found: Fingerprint) -> list[float]:
    """Choose the range of the grey values in masks, rounded to whole steps and at least ``LEAST_WINDOW_HU``."""
    low, high = LEAST_WINDOW_HU
    if found.foreground_hu is not None:
        low = min(low, np.floor(found.foreground_hu[0] / WINDOW_STEP_HU) * WINDOW_STEP_HU)
        high = max(high, np.ceil(found.foreground_hu[-1] / WINDOW_STEP_HU) * WINDOW_STEP_HU)
    return [max(float(low), -1024.0), float(high)]


def _target_grid(found: Fingerprint, spacing_mm: Sequence[float] | None) -> tuple[Sequence[float], list[float]]:
    """Compute voxel size and median shape of the canonical volumes; unknown voxel sizes count as cubes."""
    if found.spacing_mm is None or spacing_mm is None:
        return found.spacing_mm or (1.0, 1.0, 1.0), list(found.shape)
    sizes = zip(found.shape, found.spacing_mm, spacing_mm, strict=True)
    return spacing_mm, [count * own / mm for count, own, mm in sizes]


def _depth(settings: Mapping[str, Any], spacing_mm: Sequence[float], shape: Sequence[float]) -> dict[str, Any]:
    """Plan strides, kernels and channels, level by level; return those that are ``planned``."""
    strides: list[list[int]] = []
    kernels: list[list[int]] = []
    spacing, left = np.array(spacing_mm, float), np.array(shape, float)
    while True:
        near = spacing < MOST_ANISOTROPY * spacing[:2].min()
        kernels.append([3 if axis else 1 for axis in near.tolist()])
        halved = near & (left >= 2 * LEAST_BOTTOM_VOXELS)
        if len(strides) == MOST_HALVINGS or not halved[:2].all():
            break
        strides.append([2 if axis else 1 for axis in halved.tolist()])
        spacing, left = np.where(halved, spacing * 2, spacing), np.where(halved, left / 2, left)
    channels = [min(FIRST_CHANNELS * 2**level, MOST_CHANNELS) for level in range(len(strides) + 1)]
    values = {
        "strides": planned_strides(find_part(settings["network"]["_target_"]), strides),
        "upsample_kernel_size": strides,
        "kernel_size": kernels,
        "channels": channels,
        "filters": channels,
    }
    return {name: values[name] for name in planned_fields(settings) if name in values}


def _of_slices(shape: Sequence[float], slices: int) -> list[float]:
    """Compute the part of a scan that a network sees at once if it works slice by slice."""
    return [shape[0] * PLANE_IN_PATCH, shape[1] * PLANE_IN_PATCH, slices]


def _patch_size(shape: Sequence[float], steps: Sequence[int], voxels: int) -> list[int]:
    """Choose the largest patch within ``voxels``: the whole scan, shortened step by step along its longest axis."""
    count = [max(1, round(size / step)) for size, step in zip(shape, steps, strict=True)]
    while prod(n * step for n, step in zip(count, steps, strict=True)) > voxels and max(count) > 1:
        longest = max((axis for axis in range(3) if count[axis] > 1), key=lambda axis: count[axis] * steps[axis])
        count[longest] -= 1
    return [n * step for n, step in zip(count, steps, strict=True)]
