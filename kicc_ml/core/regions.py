"""Regions of the chest: their names, which of them make up another, and what a mirror turns each into.

There is one rule for what makes up a region: its own mask, else both of its parts together. One part alone leaves the
whole unknown, since nobody says that the other part is absent.
"""

from collections.abc import Collection, Mapping

import numpy as np

#: What a mask, a network channel or an output file can stand for, in this order everywhere.
REGIONS = ("lung", "left_lung", "right_lung", "lesion", "consolidation")

#: What a reference mask may be of: ground glass is read as a part of the lesion, but no network learns it alone.
MASK_NAMES = (*REGIONS, "ground_glass")

#: How others call a region, in small letters and with blanks: labels of segments, of structures, of data sets.
OTHER_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("lungs", "both lungs"), "lung"),
    **dict.fromkeys(("lung left", "lung l"), "left_lung"),
    **dict.fromkeys(("lung right", "lung r"), "right_lung"),
    **dict.fromkeys(("lesions", "infection", "infections", "covid 19 infection", "covid 19 lesion"), "lesion"),
    **dict.fromkeys(("ground glass opacity", "ground glass opacities", "ggo"), "ground_glass"),
    "consolidations": "consolidation",
}

#: Regions that two others make up together.
DERIVED_REGIONS: Mapping[str, tuple[str, str]] = {
    "lung": ("left_lung", "right_lung"),
    "lesion": ("ground_glass", "consolidation"),
}

LUNG_SIDES = DERIVED_REGIONS["lung"]

#: Channel of REGIONS in which each of them is found in a mirrored patient.
MIRROR_CHANNELS = [
    REGIONS.index({"left_lung": "right_lung", "right_lung": "left_lung"}.get(region, region)) for region in REGIONS
]


def find_named_region(name: str) -> str:
    """The region that a foreign label names, whatever its case, lines and blanks; "" where it names none."""
    plain = " ".join(name.lower().replace("_", " ").replace("-", " ").split())
    return OTHER_NAMES.get(plain) or (found if (found := plain.replace(" ", "_")) in MASK_NAMES else "")


def with_parts(region: str) -> tuple[str, ...]:
    """Return a region and the regions that are part of it."""
    return (region, *DERIVED_REGIONS.get(region, ()))


def is_known(region: str, names: Collection[str]) -> bool:
    """Whether masks of these names say where a region is: one is its own, or both of its parts are there."""
    parts = DERIVED_REGIONS.get(region)
    return region in names or (parts is not None and all(part in names for part in parts))


def find_region(masks: Mapping[str, np.ndarray], region: str) -> np.ndarray | None:
    """Find the boolean mask of a region: its own, else both of its parts together, else None.

    Args:
        masks: masks of one shape by region.
        region: a name of :data:`MASK_NAMES`.
    """
    if region in masks:
        return np.asarray(masks[region], bool)
    if not is_known(region, masks):
        return None
    one, other = DERIVED_REGIONS[region]
    return np.asarray(masks[one], bool) | np.asarray(masks[other], bool)


def has_sides(masks: Collection[str]) -> bool:
    """Whether right and left lung are told apart."""
    return all(side in masks for side in LUNG_SIDES)


def merge_sides(masks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Merge left and right lung to ``lung``, for a scan whose sides are not known."""
    merged = {region: mask for region, mask in masks.items() if region not in LUNG_SIDES}
    lung = find_region(masks, "lung")
    return merged if lung is None else merged | {"lung": lung}


def without_overlap(masks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same voxels as masks that do not overlap, but for lesions in lungs, as far as parts are known.

    The sides stand for the lung, ground glass (every other lesion) and consolidation for the lesion.
    """
    apart = {region: np.asarray(mask, bool) for region, mask in masks.items()}
    if has_sides(apart):
        apart.pop("lung", None)
    if "consolidation" in apart and "lesion" in apart:
        apart["ground_glass"] = apart.pop("lesion") & ~apart["consolidation"]
    return apart
