"""Regions of the chest: their names, which of them make up another, and what a mirror turns each into.

There is one rule for what makes up a region: its own mask, else both of its parts together. One part alone leaves the
whole unknown, since nobody says that the other part is absent.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from kicc_ml.core.errors import UserError
from kicc_ml.core.path_names import check_path_name

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

#: A voxel's regions are kept in one byte.
MAX_REGIONS = 8


@dataclass(frozen=True)
class RegionSet:
    """What a task segments.

    Args:
        names: of the regions, in the order of a network's channels; also names of mask files.
        mirrored: pairs of names that change places where left and right do.
        derived: of a region without a mask of its own, the two masks that make it up together.
        lesion: the region that patches lie about, and whose threshold is chosen.

    Raises:
        UserError: more than ``MAX_REGIONS``, one twice, one that is no name of a file, or a pair of others.
    """

    names: tuple[str, ...] = REGIONS
    mirrored: tuple[tuple[str, str], ...] = (("left_lung", "right_lung"),)
    derived: tuple[tuple[str, tuple[str, str]], ...] = tuple(DERIVED_REGIONS.items())
    lesion: str = "lesion"

    def __post_init__(self) -> None:
        if not 1 <= len(set(self.names)) == len(self.names) <= MAX_REGIONS:
            raise UserError(f"task.regions: give from 1 to {MAX_REGIONS} different names, not {list(self.names)}")
        for name in self.mask_names:
            check_path_name(name, "a region of task.regions")
        for one, other in self.mirrored:
            if (one in self.names) != (other in self.names):
                raise UserError(f"task.mirrored: {one} and {other} change places, so both are regions or none")

    @property
    def mirror_channels(self) -> list[int]:
        """Channel in which each region is found in a mirrored patient."""
        partner = {**dict(self.mirrored), **{other: one for one, other in self.mirrored}}
        return [self.names.index(partner.get(name, name)) for name in self.names]

    @property
    def mask_names(self) -> tuple[str, ...]:
        """What masks may be of: the regions, and what makes them up."""
        parts = [part for whole, both in self.derived if whole in self.names for part in both]
        return tuple(dict.fromkeys([*self.names, *parts]))


def make_region_set(
    names: Sequence[str],
    mirrored: Sequence[Sequence[str]] = (),
    derived: Mapping[str, Sequence[str]] = MappingProxyType({}),
    lesion: str = "",
) -> RegionSet:
    """Make a :class:`RegionSet` from lists and mappings, as a configuration holds them.

    Args:
        names: the regions, in the order of the network's channels.
        mirrored: pairs of regions that change places in a mirror image.
        derived: by region, the regions that make it up together.
        lesion: the region whose threshold is fitted.
    """
    pairs = tuple((str(one), str(other)) for one, other in mirrored)
    parts = tuple((str(whole), (str(one), str(other))) for whole, (one, other) in derived.items())
    return RegionSet(tuple(map(str, names)), pairs, parts, str(lesion))


#: The regions of the chest, which are the default.
CHEST = RegionSet()
MIRROR_CHANNELS = CHEST.mirror_channels


def sort_regions(regions: Iterable[str]) -> list[str]:
    """Regions of the chest in their own order, those of other tasks after them."""
    present = set(regions)
    return [region for region in REGIONS if region in present] + sorted(present - set(REGIONS))


def find_named_region(name: str) -> str:
    """Find the region that a foreign label names, whatever its case, lines and blanks; "" if it names none."""
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
    """Return the same voxels as masks that do not overlap, but for lesions in lungs, as far as parts are known.

    The sides stand for the lung, ground glass (every other lesion) and consolidation for the lesion.
    """
    apart = {region: np.asarray(mask, bool) for region, mask in masks.items()}
    if has_sides(apart):
        apart.pop("lung", None)
    if "consolidation" in apart and "lesion" in apart:
        apart["ground_glass"] = apart.pop("lesion") & ~apart["consolidation"]
    return apart
