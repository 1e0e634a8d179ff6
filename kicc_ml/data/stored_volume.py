"""A prepared image on disk, of which only the requested part is read."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from kicc_ml.core.regions import CHEST, REGIONS
from kicc_ml.data.region_bits import unpack_array


@dataclass(frozen=True)
class Patch:
    """A box of a stored volume: float16 image and uint8 region bits; 0 beyond the volume."""

    image_cxyz: np.ndarray
    bits_xyz: np.ndarray


@dataclass(frozen=True)
class StoredVolume:
    """A prepared image. Arrays are memory maps: only the indexed part is read."""

    folder: Path

    @cached_property
    def meta(self) -> dict:
        """The contents of ``meta.json``."""
        return json.loads((self.folder / "meta.json").read_text())

    @property
    def affine_ras(self) -> np.ndarray:
        """The affine (4 x 4) of index ``[x, y, z]``."""
        return np.array(self.meta["affine_ras"])

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of voxels along x, y, z."""
        return tuple(self.meta["shape"])

    @property
    def spacing_known(self) -> bool:
        """Whether the file of the image states its voxel size."""
        return bool(self.meta["spacing_known"])

    @property
    def region_names(self) -> tuple[str, ...]:
        """The regions that the task has, in the order of its channels."""
        return tuple(self.meta.get("channels", REGIONS))

    @property
    def lesion_known(self) -> bool:
        """Whether the region is labelled that patches lie about."""
        return self.meta.get("lesion", CHEST.lesion) in self.meta["regions"]

    @property
    def mask_known_c(self) -> np.ndarray:
        """Which regions are labelled: bool ``[region]``."""
        return np.array([region in self.meta["regions"] for region in self.region_names])

    @property
    def image_cxyz(self) -> np.ndarray:
        """The image as float16 ``[c, x, y, z]`` from 0 to 1."""
        return np.load(self.folder / "image.npy", mmap_mode="r")

    @property
    def bits_xyz(self) -> np.ndarray:
        """uint8 ``[x, y, z]``: region bits of each voxel (:mod:`kicc_ml.data.region_bits`); 0 if none is known."""
        if not self.meta["regions"]:
            return np.broadcast_to(np.uint8(0), self.shape)
        return np.load(self.folder / "regions.npy", mmap_mode="r")

    @property
    def mask_cxyz(self) -> np.ndarray:
        """uint8 0/1 in the order of the regions, in memory; 0 where a region is not known."""
        return unpack_array(np.asarray(self.bits_xyz), len(self.region_names))

    @property
    def lesion_index(self) -> np.ndarray:
        """int32 [n, 3]: voxels on which patches are centred; n = 0 if there is no lesion or none is known."""
        return np.load(self.folder / "lesion_index.npy", mmap_mode="r")

    def patch(self, start_xyz: Sequence[int], size_xyz: Sequence[int]) -> Patch:
        """Read the box of ``size_xyz`` voxels from ``start_xyz``; voxels outside the volume are 0."""
        return Patch(
            _cut(self.image_cxyz, start_xyz, size_xyz),
            _cut(self.bits_xyz[None], start_xyz, size_xyz)[0],
        )


def _cut(array_cxyz: np.ndarray, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
    result = np.zeros((array_cxyz.shape[0], *size), array_cxyz.dtype)
    source, target = [slice(None)], [slice(None)]
    for first, count, length in zip(start, size, array_cxyz.shape[1:], strict=True):
        low, high = min(max(first, 0), length), min(max(first + count, 0), length)
        source.append(slice(low, high))
        target.append(slice(low - first, high - first) if high > low else slice(0, 0))
    result[tuple(target)] = array_cxyz[tuple(source)]
    return result
