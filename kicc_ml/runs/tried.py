"""How many settings were tried beside those of a run: the best of several looks better than it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import write_json
from kicc_ml.core.received import read_json_object

#: Beside the folds, or beside the parts of an experiment.
TRIED = "settings_tried.json"
REMOVE = "remove it, and the report is written without it"

#: What the results of several settings are compared by: figures of the report; validation patients of all folds (a
#: search); or, of each fold, its own validation patients alone (nested).
ComparedBy = Literal["reported", "validation", "inner"]


def note_tried(run: Path, count: int, compared_by: ComparedBy) -> None:
    """Write into a run folder how many settings are tried, its own included.

    Args:
        run: the run folder, which may not be there yet.
        count: of all runs of the sweep or search.
        compared_by: what they are compared by.
    """
    write_json(run / TRIED, {"count": count, "compared_by": compared_by})


def read_tried(runs: Sequence[Path]) -> dict[str, Any]:
    """Read how many settings were tried beside those of a report's runs.

    Args:
        runs: the run folders; a part of an experiment has the file in the folder above.

    Returns:
        ``count`` and ``compared_by``; both are None, with a ``reason``, for runs of no sweep and no search.

    Raises:
        UserError: a file is not as it was written.
    """
    files = [file for run in runs for file in (run / TRIED, run.parent / TRIED) if file.is_file()]
    found = [_read(file) for file in dict.fromkeys(files)]
    if not found:
        reason = "it is not one of a sweep or search; what was tried in other runs is not known"
        return {"count": None, "compared_by": None, "reason": reason}
    return max(found, key=lambda one: one["count"])


def _read(file: Path) -> dict[str, Any]:
    found = read_json_object(file, REMOVE)
    count, compared_by = found.get("count"), found.get("compared_by")
    if type(count) is not int or count < 1 or compared_by not in get_args(ComparedBy):
        raise UserError(f"{file} does not say how many settings were tried; {REMOVE}")
    return {"count": count, "compared_by": compared_by, "reason": None}
