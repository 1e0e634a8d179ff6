"""A file of the cases of a cohort, so that other processes need not read the cohort again.

The file holds paths and clinical values. It belongs in the user's own folder, never in a run folder. It holds no dates,
because nothing needs them once the cases are chosen.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from math import isnan, nan
from pathlib import Path
from typing import Any

from kicc_ml.cohort.flow import Cohort, Flow
from kicc_ml.core.files import write_bytes
from kicc_ml.core.types import Case, Series

#: True dates, which are not written.
DATES_OF_SERIES, DATES_OF_CASE = ("acquired",), ("admitted",)
#: The key for the folder of a series; file paths in JSON are relative to it.
FOLDER = "folder"
TUPLES_OF_SERIES, TUPLES_OR_NONE = ("reasons", "frames"), ("spacing_mm", "grey_window_hu")


def write_snapshot(path: Path, cohort: Cohort, read_by: str) -> None:
    """Write the cases of a cohort for :func:`read_snapshot`; only the user may read the file.

    Args:
        path: the file.
        cohort: the cases and their flow.
        read_by: the digest of the settings of the cohort.

    Raises:
        TargetError: the file cannot be written.
    """
    kept = {"read_by": read_by, "flow": cohort.flow.as_json(), "cases": [_case_to_json(case) for case in cohort]}
    write_bytes(path, json.dumps(kept).encode("ascii"), private=True)


def read_snapshot(path: Path, read_by: str) -> Cohort | None:
    """Read the cohort that :func:`write_snapshot` wrote.

    Returns:
        The cohort; None if there is no such file, or if it has other settings or another version.
    """
    try:
        kept = json.loads(path.read_bytes())
        if kept["read_by"] != read_by:
            return None
        counts = {name: Counter(kept["flow"][name]) for name in ("counts", "excluded")}
        return Cohort([_case_from_json(case) for case in kept["cases"]], Flow(**{**kept["flow"], **counts}))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _case_to_json(case: Case) -> dict[str, Any]:
    values = {name: value for name, value in vars(case).items() if name not in DATES_OF_CASE}
    return values | {
        "ct": case.ct and _series_to_json(case.ct),
        "cxr": case.cxr and _series_to_json(case.cxr),
        "further": [_series_to_json(series) for series in case.further],
        "clinical": _numbers_to_json(case.clinical),
        "endpoints": _numbers_to_json(case.endpoints),
        "masks": {region: str(path) for region, path in case.masks.items()},
        "cxr_masks": {region: [str(path) for path in paths] for region, paths in case.cxr_masks.items()},
        "mask_labels": list(case.mask_labels.items()),  # keys of JSON are texts
    }


def _case_from_json(kept: Mapping[str, Any]) -> Case:
    return Case(
        **{
            **kept,
            "ct": kept["ct"] and _series_from_json(kept["ct"]),
            "cxr": kept["cxr"] and _series_from_json(kept["cxr"]),
            "further": tuple(_series_from_json(series) for series in kept["further"]),
            "clinical": _numbers_from_json(kept["clinical"]),
            "endpoints": _numbers_from_json(kept["endpoints"]),
            "masks": {region: Path(path) for region, path in kept["masks"].items()},
            "cxr_masks": {region: tuple(map(Path, paths)) for region, paths in kept["cxr_masks"].items()},
            "mask_labels": dict(kept["mask_labels"]),
            "region_labels": {
                region: {int(value): name for value, name in labels.items()}  # keys of JSON are texts
                for region, labels in kept["region_labels"].items()
            },
        }
    )


def _series_to_json(series: Series) -> dict[str, Any]:
    values = {name: value for name, value in asdict(series).items() if name not in DATES_OF_SERIES}
    folder = os.path.commonpath([file.parent for file in series.files])
    return values | {FOLDER: folder, "files": [str(file.relative_to(folder)) for file in series.files]}


def _series_from_json(kept: Mapping[str, Any]) -> Series:
    values = {name: value for name, value in kept.items() if name != FOLDER}
    values |= {name: tuple(values[name]) for name in TUPLES_OF_SERIES}
    values |= {name: values[name] and tuple(values[name]) for name in TUPLES_OR_NONE}
    return Series(**{**values, "files": tuple(Path(kept[FOLDER], name) for name in kept["files"])})


def _numbers_to_json(values: Mapping[str, float]) -> dict[str, float | None]:
    """Convert numbers by name to JSON; None for unknown values, because JSON has no NaN."""
    return {name: None if isnan(value) else float(value) for name, value in values.items()}


def _numbers_from_json(kept: Mapping[str, float | None]) -> dict[str, float]:
    return {name: nan if value is None else value for name, value in kept.items()}
