"""Transforms: of volumes, of batches, and one that nobody can repeat."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable


class Brightened(MapTransform):
    """The image, brighter by a constant: easily seen in what is stored, and in what is predicted from."""

    def __init__(self, keys: KeysCollection, by: float = 0.25, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.by = by

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        return {**data, **{key: data[key] + self.by for key in self.key_iterator(data)}}


class ShiftedBatch(Randomizable):
    """A whole batch at once, each image by an amount of its own."""

    takes_batches = True

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        image_bcxyz = data["image_bcxyz"]
        shift_b = torch.tensor(self.R.uniform(-0.1, 0.1, len(image_bcxyz)), dtype=torch.float32)
        return {**data, "image_bcxyz": image_bcxyz + shift_b.view(-1, 1, 1, 1, 1).to(image_bcxyz.device)}


class Unseeded(MapTransform):
    """Draws from the generator that everybody shares."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        return {**data, **{key: data[key] + float(np.random.random()) for key in self.key_iterator(data)}}


class OwnGenerator(MapTransform):
    """Draws from a generator that nobody can seed."""

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys)
        self.generator = np.random.default_rng(3)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        return {**data, **{key: data[key] + self.generator.random() for key in self.key_iterator(data)}}
