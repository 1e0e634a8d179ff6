"""Describe how images and values of the table were prepared, with what the cohort converted or set to unknown."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

#: Counts of a participant flow that tell of values that are not as the table has them.
CONVERTED = re.compile(r"values of (?P<what>.+ taken as .+)")
REMOVED = re.compile(r"values of (?P<what>.+), now unknown")


def describe_preparation(part: Mapping[str, Any], flows: Iterable[Mapping[str, Any]]) -> str:
    """Describe the preparation of a part's images and values.

    Args:
        part: the settings of a part of a run.
        flows: the participant flows of the run.

    Returns:
        a phrase.
    """
    data = part.get("data") or {}
    ct, cxr = data.get("canonical") or data.get("canonical_ct"), data.get("canonical_cxr")
    steps = []
    if ct:
        steps.append(f"CT within {ct.get('window_hu')} HU at {ct.get('spacing_mm') or 'its own'} mm")
    if cxr:
        steps.append(f"radiographs to {cxr.get('size')} pixels")
    images = [" and ".join(steps)] if steps else []
    values = [_describe_values(flows)] if "features" in data or not steps else []
    return ", and ".join(images + values)


def _describe_values(flows: Iterable[Mapping[str, Any]]) -> str:
    counted = [what for flow in flows for what, count in flow.get("counts", {}).items() if count]
    converted, removed = (
        list(dict.fromkeys(found["what"] for found in map(kind.fullmatch, counted) if found))
        for kind in (CONVERTED, REMOVED)
    )
    told = [
        *([f"converted from another unit: {', '.join(converted)}"] if converted else []),
        *([f"set to unknown: {', '.join(removed)}"] if removed else []),
        "imputation and scaling: fitted inside the fold",
    ]
    return f"values of the table in the units of their columns ({'; '.join(told)})"
