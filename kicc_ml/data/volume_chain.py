"""From a scan in the repository to what the store keeps and networks see: one ``Compose`` of MONAI.

Its steps read the scan, read its masks, make both canonical, and apply the user's own transforms. A new scan goes
through the same steps; there it is kept after the first one too, since masks and severity belong on its own grid.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose

from kicc_ml.core.parts import describe_packages
from kicc_ml.core.regions import CHEST, RegionSet
from kicc_ml.core.types import Case, Modality, Series, Volume
from kicc_ml.data.canonical import CPU, Canonical, CanonicalCT, CanonicalCXR, Canonicald
from kicc_ml.data.own_transforms import NO_VOLUME_TRANSFORMS, OwnTransforms
from kicc_ml.data.volume_steps import CanonicalMasksd, OwnStep, ReadMasksd, ReadScand

Masks = Mapping[str, tuple[np.ndarray, np.ndarray]]

#: The first step after the scan is read, and the first after its masks are too.
AFTER_SCAN, AFTER_MASKS = 1, 2


@dataclass(frozen=True)
class Prepared:
    """A canonical image with its masks (uint8 0/1 ``[x, y, z]`` by region), and whether its voxel size is known."""

    image: Canonical
    masks: Mapping[str, np.ndarray]
    spacing_known: bool


@dataclass(frozen=True)
class VolumeChain:
    """The steps of one kind of image, the same in training and at prediction."""

    canonical: CanonicalCT | CanonicalCXR
    own: OwnTransforms = NO_VOLUME_TRANSFORMS

    def __reduce__(self) -> Any:
        return VolumeChain, (self.canonical, self.own)

    @property
    def modality(self) -> Modality:
        """Return the modality that the chain reads."""
        return self.canonical.modality

    def steps(self, regions: RegionSet = CHEST) -> Compose:
        """All steps; ``image`` begins as a :class:`Series`, ``mask``, if there is one, as a :class:`Case`."""
        return Compose(
            [
                ReadScand("image"),
                ReadMasksd("mask", "image", self.canonical, regions, allow_missing_keys=True),
                CanonicalMasksd("mask", "image", self.canonical, allow_missing_keys=True),
                Canonicald("image", self.canonical),
                *([OwnStep(self.own)] if self.own else []),
            ]
        )

    def read(self, series: Series) -> Volume:
        """Read a scan on its own grid. Raises UserError if it was refused, or cannot be read."""
        return _apply(self.steps(), {"image": series}, end=AFTER_SCAN)["image"]

    def __call__(self, volume: Volume, device: torch.device = CPU) -> Canonical:
        """Prepare a scan as networks see it, without labels, on ``device``; all steps run on the CPU."""
        image = _prepared(_apply(self.steps(), {"image": volume}, start=AFTER_SCAN)).image
        return replace(image, image_cxyz=image.image_cxyz.to(device))

    def prepare_case(self, case: Case, regions: RegionSet = CHEST) -> Prepared:
        """Prepare the image of a case and its masks, as they are stored.

        Raises:
            UserError: the scan was refused, or a file cannot be read.
            TransformError: a transform of the user's own fails, and would for each further case.
        """
        return _prepared(_apply(self.steps(regions), {"image": case.image(self.modality), "mask": case}))

    def prepare(self, volume: Volume, masks: Masks) -> Prepared:
        """The same of a volume that was read, and of masks by name, each an array ``[x, y, z]`` with its affine."""
        return _prepared(_apply(self.steps(), {"image": volume, "mask": masks}, start=AFTER_MASKS))


def _apply(steps: Compose, data: Mapping[str, Any], start: int = 0, end: int | None = None) -> dict[str, Any]:
    try:
        return steps(dict(data), start=start, end=end)
    except RuntimeError as error:
        reason = error.__cause__ or error  # MONAI wraps what a step raises
    raise reason  # not within the handler, where the wrapper would become the context of its own cause


def _prepared(done: Mapping[str, Any]) -> Prepared:
    image = Canonical(done["image"], done["image_affine_ras"])
    return Prepared(image, done.get("mask", {}), done["image_spacing_known"])


Preparation = CanonicalCT | CanonicalCXR | VolumeChain


def with_own_transforms(canonical: CanonicalCT | CanonicalCXR, own: OwnTransforms) -> Preparation:
    """Return the canonical alone if the user has no transforms of volumes."""
    return VolumeChain(canonical, own) if own else canonical


def chain_of(preparation: Preparation) -> VolumeChain:
    """Return the steps of a canonical volume, without transforms of the user's own where it has none."""
    return preparation if isinstance(preparation, VolumeChain) else VolumeChain(preparation)


def identity_of(preparation: Preparation) -> list[Any]:
    """State what decides what is stored, as plain values; of foreign transforms also version and package digest."""
    chain = chain_of(preparation)
    canonical = [type(chain.canonical).__name__, asdict(chain.canonical)]
    parts = chain.own.parts
    return [*canonical, parts, describe_packages(parts, ())] if parts else canonical


def describe_preparation(preparation: Preparation) -> dict[str, Any]:
    """Describe the same for whoever looks at a stored volume."""
    chain = chain_of(preparation)
    own = {"transforms": json.loads(chain.own.settings)} if chain.own else {}
    return {"name": type(chain.canonical).__name__, **asdict(chain.canonical)} | own
