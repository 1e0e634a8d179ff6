"""The steps from a scan in the repository to what the store keeps, each a dictionary transform of MONAI."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform, Transform

from kicc_ml.core.regions import RegionSet
from kicc_ml.data.canonical import CanonicalCT, CanonicalCXR
from kicc_ml.data.masks import read_masks
from kicc_ml.data.own_transforms import OwnTransforms, TransformError, allow_missing_keys
from kicc_ml.dicom.volume.read import RepositoryReader


class ReadScand(MapTransform):
    """A :class:`Series` becomes its :class:`Volume`, read by :class:`RepositoryReader`.

    It stands where MONAI's ``LoadImaged`` would. That one copies the voxels into another order, which takes longer than
    to read them, and of the reason why a scan was refused it makes the text of a traceback.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.reader = RepositoryReader()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each series or file by the volume read from it."""
        return {**data, **{key: self.reader.read(data[key]) for key in self.key_iterator(data)}}


class ReadMasksd(MapTransform):
    """A :class:`Case` becomes its masks by region, each where its file places it beside the volume ``image_key``."""

    def __init__(
        self,
        keys: KeysCollection,
        image_key: str,
        canonical: CanonicalCT | CanonicalCXR,
        regions: RegionSet,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key, self.modality, self.regions = image_key, canonical.modality, regions

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each mask folder by its masks on the volume's grid."""
        volume = data[self.image_key]
        read = {key: read_masks(data[key], volume, self.modality, self.regions) for key in self.key_iterator(data)}
        return {**data, **read}


class CanonicalMasksd(MapTransform):
    """Masks by region become uint8 0/1 on the canonical grid of the volume ``image_key``, which is still its own."""

    def __init__(
        self,
        keys: KeysCollection,
        image_key: str,
        canonical: CanonicalCT | CanonicalCXR,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key, self.canonical = image_key, canonical

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Bring the masks of each key onto the canonical grid."""
        volume = data[self.image_key]
        return {**data, **{key: self.canonical.masks(data[key], volume) for key in self.key_iterator(data)}}


class OwnStep(Transform):
    """The user's own transforms of ``image`` and, where there are labels, ``mask``; a MetaTensor only among them."""

    def __init__(self, own: OwnTransforms) -> None:
        self.own = own
        self.without_labels = OwnTransforms(own.where, own.settings).compose
        allow_missing_keys(self.without_labels, "volume", ("image", "mask"))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Apply them.

        Raises:
            TransformError: a transform fails, or leaves several channels or none, or image and mask in two shapes.
        """
        affine_ras, masks = data["image_affine_ras"], data.get("mask", {})
        given: dict[str, Any] = {"image": MetaTensor(data["image"], affine=torch.from_numpy(affine_ras))}
        if masks:
            stacked = torch.from_numpy(np.stack(list(masks.values()))).float()
            given["mask"] = MetaTensor(stacked, affine=torch.from_numpy(affine_ras))
        image, moved = self._transformed(given)
        if isinstance(image, MetaTensor):
            affine_ras = np.asarray(image.affine, float)
        names = {name: (np.asarray(moved[channel]) > 0.5).astype(np.uint8) for channel, name in enumerate(masks)}
        plain = torch.as_tensor(np.asarray(image)).float().contiguous()
        return {**data, "image": plain, "image_affine_ras": affine_ras, "mask": names}

    def _transformed(self, data: dict[str, Any]) -> tuple[Any, Any]:
        compose: Compose = self.own.compose if "mask" in data else self.without_labels
        done = self.own.keeping_meta(data, compose)
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
