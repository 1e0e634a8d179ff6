"""Settings of a run folder as plain values: nothing in them is resolved, called or believed beyond its bounds."""

import hashlib
import json
from collections.abc import Mapping
from math import isfinite, prod
from pathlib import Path
from typing import Any, TypeVar

from kicc_ml.core.errors import UserError
from kicc_ml.core.received import read_yaml
from kicc_ml.data.canonical import CanonicalCT, CanonicalCXR

Kind = TypeVar("Kind", CanonicalCT, CanonicalCXR)

#: Voxels shorter than this no scanner makes; a chest in them would not fit into any memory.
MIN_SPACING_MM, MAX_SPACING_MM = 0.1, 100.0
#: Voxels or pixels along one axis of what a network is shown, and in one patch of it.
MAX_VOXELS_OF_AXIS = 4096
MAX_PATCH_VOXELS = 2**26
#: What to do with a run folder whose settings cannot be used.
ASK_AGAIN = "ask whoever trained the run for the folder as it was written, or train it again"


def read_settings(path: Path) -> dict[str, Any]:
    """The settings in ``config.yaml`` of a fold. Raises UserError where it is no such file."""
    settings = read_yaml(path, ASK_AGAIN)
    if not isinstance(settings, dict):
        raise UserError(f"{path} cannot be read: it holds no settings; {ASK_AGAIN}")
    return settings


def value_at(settings: Mapping[str, Any], key: str, path: Path) -> Any:
    """The setting at a dotted key, for example ``data.patch_size``. Raises UserError where there is none."""
    node: Any = settings
    for step in key.split("."):
        if not isinstance(node, Mapping) or step not in node:
            raise UserError(f"{path} does not state {key}; {ASK_AGAIN}")
        node = node[step]
    return node


def canonical_of(kind: type[Kind], settings: Any) -> Kind:
    """What a run's settings say of how images are shown to its networks.

    Raises:
        UserError: it is no such setting, or one that no chest fits into any memory by.
    """
    if not isinstance(settings, Mapping):
        raise UserError(f"{kind.__name__} cannot be made of {settings!r}")
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()
    }
    try:
        canonical = kind(**{key: value for key, value in values.items() if key != "_target_"})
    except TypeError as error:
        raise UserError(f"{kind.__name__} cannot be made of the settings: {error}") from error
    if fault := _fault_of_cxr(canonical) if isinstance(canonical, CanonicalCXR) else _fault_of_ct(canonical):
        raise UserError(f"{kind.__name__}: {fault}")
    return canonical


def canonical_at(settings: Mapping[str, Any], key: str, path: Path) -> CanonicalCT | CanonicalCXR:
    """The same for the setting at a dotted key, whichever of the two it names."""
    node = value_at(settings, key, path)
    target = value_at(settings, f"{key}._target_", path)
    flat = str(target).endswith(CanonicalCXR.__name__)
    return canonical_of(CanonicalCXR, node) if flat else canonical_of(CanonicalCT, node)


def patch_size_of(settings: Mapping[str, Any], path: Path) -> list[int]:
    """Voxels (x, y, z) of a patch. Raises UserError where the setting is none, or larger than any memory."""
    patch = value_at(settings, "data.patch_size", path)
    if not isinstance(patch, list) or len(patch) != 3 or not all(_is_count(size) for size in patch):
        raise UserError(f"{path}: data.patch_size={patch!r} is not three numbers of voxels; {ASK_AGAIN}")
    if prod(patch) > MAX_PATCH_VOXELS:
        raise UserError(f"{path}: a patch of data.patch_size={patch} is larger than this project reads; {ASK_AGAIN}")
    return patch


def digest_of(value: Any) -> str:
    """SHA-256 of plain values, whatever the order of their names; the same after a way through YAML or JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


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
