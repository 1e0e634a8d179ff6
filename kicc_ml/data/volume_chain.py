"""From a volume to what the store keeps and networks see: canonical, then the user's own transforms."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from kicc_ml.core.parts import describe_packages
from kicc_ml.core.types import Modality, Volume
from kicc_ml.data.canonical import Canonical, CanonicalCT, CanonicalCXR
from kicc_ml.data.own_transforms import OwnTransforms, TransformError, allow_missing_keys

Masks = Mapping[str, tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class VolumeChain:
    """``canonical``, and after it transforms of MONAI or of the user's own, the same in training and at prediction."""

    canonical: CanonicalCT | CanonicalCXR
    own: OwnTransforms

    def __reduce__(self) -> Any:
        return VolumeChain, (self.canonical, self.own)

    @property
    def modality(self) -> Modality:
        return self.canonical.modality

    def __call__(self, volume: Volume) -> Canonical:
        """The image as networks see it, without labels."""
        return self.prepare(volume, {})[0]

    def prepare(self, volume: Volume, masks: Masks) -> tuple[Canonical, dict[str, np.ndarray]]:
        """Image and masks (uint8 0/1) by name, each mask given as an array ``[x, y, z]`` with its affine.

        Raises:
            TransformError: a transform fails, or leaves several channels or none, or image and mask in two shapes.
        """
        first, found = prepare(self.canonical, volume, masks)
        data: dict[str, Any] = {"image": MetaTensor(first.image_cxyz, affine=torch.from_numpy(first.affine_ras))}
        if found:
            stacked = torch.from_numpy(np.stack(list(found.values()))).float()
            data["mask"] = MetaTensor(stacked, affine=torch.from_numpy(first.affine_ras))
        image, moved = self._transformed(data)
        affine_ras = np.asarray(image.affine, float) if isinstance(image, MetaTensor) else first.affine_ras
        plain = torch.as_tensor(np.asarray(image)).float().contiguous()
        names = {name: (np.asarray(moved[channel]) > 0.5).astype(np.uint8) for channel, name in enumerate(found)}
        return Canonical(plain, affine_ras), names

    def _transformed(self, data: dict[str, Any]) -> tuple[Any, Any]:
        done = self.own.keeping_meta(data, self._compose("mask" in data))
        image = done["image"]
        if len(image) != 1 or image.ndim != data["image"].ndim:
            raise TransformError(f"transforms.volume leaves an image of {tuple(image.shape)}; networks see one channel")
        moved_without_affine = image.shape != data["image"].shape and not isinstance(image, MetaTensor)
        if moved_without_affine:
            raise TransformError(
                "transforms.volume changes the shape of an image without saying where it lies then; keep MONAI's "
                "MetaTensor, whose affine says it"
            )
        return image, done.get("mask")

    def _compose(self, labelled: bool) -> Compose:
        return self.own.compose if labelled else self._without_labels

    @cached_property
    def _without_labels(self) -> Compose:
        compose = OwnTransforms(self.own.where, self.own.settings).compose
        allow_missing_keys(compose, "volume", ("image", "mask"))
        return compose


Preparation = CanonicalCT | CanonicalCXR | VolumeChain


def with_own_transforms(canonical: CanonicalCT | CanonicalCXR, own: OwnTransforms) -> Preparation:
    """The canonical alone where the user has no transforms of volumes."""
    return VolumeChain(canonical, own) if own else canonical


def prepare(preparation: Preparation, volume: Volume, masks: Masks) -> tuple[Canonical, dict[str, np.ndarray]]:
    """Image and masks of a volume, as they are stored."""
    if isinstance(preparation, VolumeChain):
        return preparation.prepare(volume, masks)
    return preparation(volume), preparation.masks(masks, volume)


def identity_of(preparation: Preparation) -> list[Any]:
    """What decides what :func:`prepare` gives, as plain values; of foreign transforms the package they are from too."""
    if not isinstance(preparation, VolumeChain):
        return [type(preparation).__name__, asdict(preparation)]
    parts = preparation.own.parts
    return [*identity_of(preparation.canonical), parts, describe_packages(parts, ())]


def describe_preparation(preparation: Preparation) -> dict[str, Any]:
    """The same for whoever looks at a stored volume."""
    if not isinstance(preparation, VolumeChain):
        return {"name": type(preparation).__name__, **asdict(preparation)}
    return describe_preparation(preparation.canonical) | {"transforms": json.loads(preparation.own.settings)}
