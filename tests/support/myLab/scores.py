"""A score of a scan: how much of a region is darker than others would have it."""

from collections.abc import Mapping

import numpy as np

from kicc_ml.core.types import Volume


def darkness(
    masks: Mapping[str, np.ndarray], volume: Volume, at_most_hu: float, region: str = "lesion"
) -> float | None:
    """The share of a region at or below a value; None where nothing of it is marked."""
    values = volume.array[masks[region]]
    return float((values <= at_most_hu).mean()) if values.size else None
