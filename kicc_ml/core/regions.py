"""Which regions make up another."""

from collections.abc import Mapping

#: Regions that two others make up together.
DERIVED_REGIONS: Mapping[str, tuple[str, str]] = {
    "lung": ("left_lung", "right_lung"),
    "lesion": ("ground_glass", "consolidation"),
}


def with_parts(region: str) -> tuple[str, ...]:
    """A region, and the regions that are part of it."""
    return (region, *DERIVED_REGIONS.get(region, ()))
