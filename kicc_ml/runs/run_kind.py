"""The kind of each run in a folder, told by its settings before any network is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kicc_ml.core.errors import UserError
from kicc_ml.core.parts import TARGET
from kicc_ml.data.canonical import CanonicalCXR
from kicc_ml.runs.folder import CLINICAL_MODEL, CONFIG, ZONE_RIDGES, finished_folds
from kicc_ml.runs.settings import read_settings

MASKS, OUTCOMES, SCORES = "--run", "--outcome-run", "--score-run"
#: What the run of each option predicts.
PREDICTED = {MASKS: "masks", OUTCOMES: "outcomes", SCORES: "a radiologist's scores of radiographs"}


@dataclass(frozen=True)
class RunKind:
    """What a run is for.

    Attributes:
        option: the option of ``kicc-ml predict`` that names such a run.
        image: the kind of image that a run of masks is for; "" for another run.
    """

    option: str
    image: str = ""


def refuse_other_kinds(run: Path, option: str) -> None:
    """Raise UserError, with the folders and options that fit, if a folder holds no run of a kind, or several kinds.

    A folder without a finished fold, or with settings that are not understood, is left to those who load it.

    Args:
        run: the folder that the user named: a run, one of its folds, or a folder of runs.
        option: the option by which it was named.
    """
    kinds = _find_kinds(run)
    if not kinds or (len(set(kinds.values())) == 1 and next(iter(kinds.values())).option == option):
        return
    if len(kinds) == 1:
        (kind,) = kinds.values()
        remedy = f"name it with {kind.option}" + (f", beside a run of masks with {MASKS}" if option == MASKS else "")
        raise UserError(f"{run} predicts {PREDICTED[kind.option]}, not {PREDICTED[option]}; {remedy}")
    held = ", ".join(_describe(folder, kind) for folder, kind in kinds.items())
    named = " or ".join(f"{option} {folder}" for folder, kind in kinds.items() if kind.option == option)
    beside = " and ".join(f"{kind.option} {folder}" for folder, kind in kinds.items() if kind.option != option)
    remedy = f"name one: {named}" if named else f"none predicts {PREDICTED[option]}"
    remedy += f"; beside it you may name {beside}" if named and beside and option == MASKS else ""
    raise UserError(f"{run} holds several runs ({held}); {remedy}")


def _find_kinds(run: Path) -> dict[Path, RunKind]:
    """Find the runs in a folder by their first fold; runs of no known kind are left out."""
    first: dict[Path, Path] = {}
    for fold in finished_folds(run):
        first.setdefault(fold if fold == run else fold.parent, fold)
    return {folder: kind for folder, fold in first.items() if (kind := _tell_kind(fold))}


def _tell_kind(fold: Path) -> RunKind | None:
    try:
        data = read_settings(fold / CONFIG).get("data")
    except UserError:  # said by what loads the fold
        return None
    data = data if isinstance(data, Mapping) else {}
    if (canonical := data.get("canonical")) is not None:
        return RunKind(MASKS, _tell_image(canonical))
    if (fold / ZONE_RIDGES).is_file():
        return RunKind(SCORES)
    if (fold / CLINICAL_MODEL).is_file() or {"canonical_ct", "canonical_cxr"} & data.keys():
        return RunKind(OUTCOMES)
    return None


def _tell_image(canonical: Any) -> str:
    flat = isinstance(canonical, Mapping) and str(canonical.get(TARGET)).endswith(CanonicalCXR.__name__)
    return "radiographs" if flat else "CT"


def _describe(folder: Path, kind: RunKind) -> str:
    return f"{folder.name}: {PREDICTED[kind.option]}{' of ' * bool(kind.image)}{kind.image}"
