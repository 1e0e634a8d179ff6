"""Write in plain sentences how well masks agree with the reference, for the first screen of a report."""

from collections.abc import Mapping
from typing import Any

from kicc_ml.evaluation.multisite import collect_site_figures
from kicc_ml.evaluation.text import QUESTION_NAMES, capitalize, format_bounds, format_estimate, format_number

#: Region that the sentences speak of: what a run segments beside the lungs.
REGION = "lesion"


def write_segmentation_verdict(summary: Mapping[str, Any]) -> list[str]:
    """Write what was shown of the lesion, sentence by sentence; nothing if no case has a reference."""
    dice = summary["segmentation"][REGION]["dice"]
    if dice["mean"] is None:
        return []
    where = "hospitals_like_these" if dice["hospitals_like_these"]["low"] is not None else "these_hospitals"
    sentences = [
        f"{capitalize(QUESTION_NAMES[where])} the predicted and the reference {REGION} overlap by a mean Dice of "
        f"{format_estimate(dice[where])}, 95 % interval in brackets. Dice is 1 if two masks are the same, and 0 if "
        "they have no voxel in common."
    ]
    means = sorted(
        (site["mean"], name)
        for name, site in collect_site_figures(summary, "segmentation", REGION, "dice").items()
        if site["mean"] is not None
    )
    if len(means) > 1:
        (worst, there), (best, here) = means[0], means[-1]
        sentences.append(
            f"By hospital the mean Dice goes from {format_number(worst)} ({there}) to {format_number(best)} ({here})."
        )
    if dice["new_hospital"]["low"] is not None:
        sentences.append(
            f"At a single new hospital the mean may lie anywhere from {format_bounds(dice['new_hospital'])}."
        )
    return sentences + _describe_extent(summary["severity"]["percent_involved"].get("bland_altman", {}))


def _describe_extent(limits: Mapping[str, Any]) -> list[str]:
    if "bias" not in limits:
        return []
    bias, low, high = (limits[name]["value"] for name in ("bias", "lower", "upper"))
    return [
        f"The predicted share of lung involved differs from the reference by {bias:+.1f} percentage points on average; "
        f"in 95 of 100 cases by {low:+.1f} to {high:+.1f} points."
    ]
