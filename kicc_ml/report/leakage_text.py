"""Describe leakage as a phrase: whether hospitals can be told, and how many persons share an image."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kicc_ml.evaluation.text import format_estimate, format_number


def describe_leakage(leakage: Mapping[str, Any], format_one: Callable[[int], str] = str) -> str:
    """Describe whether hospitals can be told, and how many persons share an image, each with its base.

    Args:
        leakage: that of ``summary.json``; empty if nothing was examined.
        format_one: how a number is written.

    Returns:
        a phrase; "" if nothing was examined.
    """
    if not leakage:
        return ""
    compared = count_pictures(leakage["pictures"], format_one)
    copies = f"{format_one(len(leakage['duplicates']))} pairs of persons with the same or nearly the same image"
    return f"{_describe_probes(leakage['site_probe'])}; " + (
        f"{copies} (compared were {compared})" if compared else "no images were compared"
    )


def count_pictures(pictures: Mapping[str, int], format_one: Callable[[int], str] = str) -> str:
    """Write how many images of each kind were compared.

    Args:
        pictures: the number of images by kind.
        format_one: how a number is written.

    Returns:
        ``4 CT, 8 radiographs``.
    """
    plurals = {"radiograph": "radiographs"}
    counts = {kind: format_one(count) for kind, count in pictures.items()}
    return ", ".join(f"{count} {kind if count == '1' else plurals.get(kind, kind)}" for kind, count in counts.items())


def _describe_probes(probes: Sequence[Mapping[str, Any]]) -> str:
    tried = [probe for probe in probes if probe["value"] is not None]
    if not tried:
        return "whether the hospital can be predicted was not examined"
    flagged = [
        f"{probe['features']} (balanced accuracy {format_estimate(probe)}, chance {format_number(probe['chance'])})"
        for probe in tried
        if probe["flagged"]
    ]
    if flagged:
        return f"the hospital can be predicted from {', '.join(flagged)}"
    return f"the hospital is not shown to be predictable from {', '.join(probe['features'] for probe in tried)}"
