"""Settings of a run folder, parsed and checked once; no setting is resolved, called or trusted without a check."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite, prod
from pathlib import Path
from typing import Any, TypeVar

from kicc_ml.core.errors import UserError
from kicc_ml.core.parts import PACKAGES, TARGET
from kicc_ml.core.received import read_yaml
from kicc_ml.core.regions import CHEST, RegionSet, make_region_set
from kicc_ml.core.task_scores import SEVERITY_ALONE, TaskScores, parse_task_scores
from kicc_ml.data.canonical import CanonicalCT, CanonicalCXR
from kicc_ml.data.own_transforms import OwnTransforms

Kind = TypeVar("Kind", CanonicalCT, CanonicalCXR)
Value = TypeVar("Value")

#: Voxels shorter than this no scanner makes; a chest in them would not fit into any memory.
MIN_SPACING_MM, MAX_SPACING_MM = 0.1, 100.0
#: Voxels or pixels along one axis of what a network is shown, and in one patch of it.
MAX_VOXELS_OF_AXIS = 4096
MAX_PATCH_VOXELS = 2**26
#: What to do with a run folder whose settings cannot be used.
ASK_AGAIN = "ask whoever trained the run for the folder as it was written, or train it again"


def read_settings(path: Path) -> dict[str, Any]:
    """Read the settings in ``config.yaml`` of a fold. Raises UserError if it is not such a file."""
    settings = read_yaml(path, ASK_AGAIN)
    if not isinstance(settings, dict):
        raise UserError(f"{path} cannot be read: it holds no settings; {ASK_AGAIN}")
    return settings


@dataclass(frozen=True)
class RunSettings:
    """The checked settings of a fold. A setting that the file does not state is None.

    Attributes:
        path: the file, for error messages.
        values: all settings as plain values, for digests and for reports.
        cohort: the settings of the cohort. :mod:`kicc_ml.runs.run_cohort` checks those that it uses.
        division: the name of the function that split the cases, for example ``leave_one_site_out``.
        network: the settings of the network. :mod:`kicc_ml.models.networks` checks them.
        canonical: the conversion of images to the input of a network that segments.
        canonical_ct, canonical_cxr: the conversions of images to the input of an outcome network.
        patch_size: the number of voxels (x, y, z) of a patch.
        seed: the seed of the training.
        region_set: the regions of the task, in the order of the network's channels.
        scores: what is computed from masks; own scores are not imported yet.
        volume_transforms: the transforms of volumes of the user's own; none of them is built yet.
        packages: the packages of the parts that this project does not ship. :mod:`kicc_ml.core.parts` checks them.
    """

    path: Path
    values: Mapping[str, Any]
    cohort: Mapping[str, Any] | None = None
    division: str | None = None
    network: Mapping[str, Any] | None = None
    canonical: CanonicalCT | CanonicalCXR | None = None
    canonical_ct: CanonicalCT | None = None
    canonical_cxr: CanonicalCXR | None = None
    patch_size: tuple[int, ...] | None = None
    seed: int | None = None
    region_set: RegionSet = CHEST
    scores: TaskScores = SEVERITY_ALONE
    volume_transforms: OwnTransforms = field(default_factory=lambda: OwnTransforms("volume"))
    packages: Any = None

    def require(self, value: Value | None, key: str) -> Value:
        """Return the ``value`` of a setting. Raises UserError, with its ``key``, if it is not stated."""
        if value is None:
            raise self.not_stated(key)
        return value

    def not_stated(self, key: str) -> UserError:
        """Make the error for a required setting that is not stated."""
        return UserError(f"{self.path} does not state {key}; {ASK_AGAIN}")


def parse_settings(values: Mapping[str, Any], path: Path) -> RunSettings:
    """Check the settings of a fold, after its plan was filled in.

    Args:
        values: plain values, as in the file.
        path: the file, for error messages.

    Raises:
        UserError: a setting is invalid, or so large that no chest would fit into memory.
    """
    data = _mapping(values, "data", path) or {}
    split = _mapping(values, "split", path) or {}
    seed = values.get("seed")
    try:
        canonical_ct, canonical_cxr = data.get("canonical_ct"), data.get("canonical_cxr")
        return RunSettings(
            path,
            values,
            cohort=_mapping(values, "cohort", path),
            division=str(split["_target_"]).rsplit(".", 1)[-1] if "_target_" in split else None,
            network=_mapping(values, "network", path),
            canonical=_canonical(data.get("canonical")),
            canonical_ct=None if canonical_ct is None else _canonical_of(CanonicalCT, canonical_ct),
            canonical_cxr=None if canonical_cxr is None else _canonical_of(CanonicalCXR, canonical_cxr),
            patch_size=_patch_size(data.get("patch_size")),
            seed=seed if type(seed) is int else None,
            region_set=_region_set(_mapping(values, "task", path)),
            scores=_scores(_mapping(values, "task", path)),
            volume_transforms=_volume_transforms(_mapping(values, "transforms", path)),
            packages=values.get(PACKAGES),
        )
    except ValueError as error:
        raise UserError(f"{path}: {error}; {ASK_AGAIN}") from error


def digest_of(value: Any) -> str:
    """Compute the SHA-256 of plain values; the order of names does not matter, nor does storage as YAML or JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _mapping(values: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any] | None:
    """Return a group of settings; None if it is not stated."""
    node = values.get(key)
    if node is not None and not isinstance(node, Mapping):
        raise UserError(f"{path}: {key} holds no settings by name; {ASK_AGAIN}")
    return node


def _canonical(node: Any) -> CanonicalCT | CanonicalCXR | None:
    """Parse the conversion of images, of CT or of radiographs as the settings name it."""
    if node is None:
        return None
    flat = isinstance(node, Mapping) and str(node.get("_target_")).endswith(CanonicalCXR.__name__)
    return _canonical_of(CanonicalCXR, node) if flat else _canonical_of(CanonicalCT, node)


def _canonical_of(kind: type[Kind], node: Any) -> Kind:
    """Make a conversion of images. Raises ValueError if a setting is invalid or no chest would fit into memory."""
    if not isinstance(node, Mapping):
        raise ValueError(f"{kind.__name__} cannot be made of {node!r}")
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in node.items()}
    try:
        canonical = kind(**{key: value for key, value in values.items() if key != "_target_"})
    except TypeError as error:
        raise ValueError(f"{kind.__name__} cannot be made of the settings: {error}") from error
    if fault := _fault_of_cxr(canonical) if isinstance(canonical, CanonicalCXR) else _fault_of_ct(canonical):
        raise ValueError(f"{kind.__name__}: {fault}")
    return canonical


def _region_set(task: Mapping[str, Any] | None) -> RegionSet:
    """Parse the regions of a task, of the chest if it states none. Raises ValueError if they are invalid."""
    regions = (task or {}).get("regions")
    if regions is None:
        return CHEST
    try:
        return make_region_set(**{key: value for key, value in regions.items() if key != TARGET})
    except (UserError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"task.regions is not understood ({error})") from error


def _scores(task: Mapping[str, Any] | None) -> TaskScores:
    """Parse the scores of a task. Raises ValueError if they are invalid."""
    try:
        return parse_task_scores(task)
    except UserError as error:
        raise ValueError(str(error)) from error


def _volume_transforms(transforms: Mapping[str, Any] | None) -> OwnTransforms:
    """Parse the transforms of volumes; no transform is built. Raises ValueError if they are no plain values."""
    volume = (transforms or {}).get("volume") or {}
    if not isinstance(volume, Mapping | list):
        raise ValueError(f"transforms.volume={volume!r} holds no transforms")
    try:
        return OwnTransforms("volume", json.dumps(volume))
    except TypeError as error:
        raise ValueError(f"transforms.volume is not understood ({error})") from error


def _patch_size(patch: Any) -> tuple[int, ...] | None:
    """Parse a patch size. Raises ValueError if it is invalid or larger than any memory."""
    if patch is None:
        return None
    if not isinstance(patch, list) or len(patch) != 3 or not all(_is_count(size) for size in patch):
        raise ValueError(f"data.patch_size={patch!r} is not three numbers of voxels")
    if prod(patch) > MAX_PATCH_VOXELS:
        raise ValueError(f"a patch of data.patch_size={patch} is larger than this project reads")
    return tuple(patch)


def _fault_of_ct(canonical: CanonicalCT) -> str:
    spacing, window, matrix = canonical.spacing_mm, canonical.window_hu, canonical.matrix
    if spacing is not None and not (
        _is_triple(spacing) and all(_is_number(mm) and MIN_SPACING_MM <= mm <= MAX_SPACING_MM for mm in spacing)
    ):
        return f"spacing_mm={spacing!r} is not three lengths from {MIN_SPACING_MM} to {MAX_SPACING_MM} mm"
    if not isinstance(window, tuple) or len(window) != 2 or not all(map(_is_number, window)) or window[0] >= window[1]:
        return f"window_hu={window!r} is not two numbers, the lower first"
    if matrix is not None and not (_is_triple(matrix) and all(size is None or _is_count(size) for size in matrix)):
        return f"matrix={matrix!r} is not three numbers of voxels"
    return ""


def _fault_of_cxr(canonical: CanonicalCXR) -> str:
    return "" if _is_count(canonical.size) else f"size={canonical.size!r} is not a number of pixels"


def _is_triple(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 3


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_VOXELS_OF_AXIS
