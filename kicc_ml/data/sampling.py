"""What is drawn depends on (seed, epoch, index) alone: not on workers, batches or what was drawn before."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index), so that a dataset without state can draw for that place in the training.

    Lightning calls ``set_epoch``. With several processes each takes every ``world``-th index.
    """

    def __init__(self, length: int, rank: int = 0, world: int = 1) -> None:
        self.length = length
        self.rank = rank
        self.world = world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(range(self.rank, self.length, self.world))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.epoch, index) for index in range(self.rank, self.length, self.world))


def shuffled(count: int, seed: int, epoch: int, index: int) -> int:
    """The ``index``-th of ``count`` things in an epoch that goes round them in ever new orders."""
    lap, place = divmod(index, count)
    return int(np.random.default_rng([seed, epoch, lap]).permutation(count)[place])


def patch_start(
    shape: tuple[int, ...], size: tuple[int, ...], lesion_index: np.ndarray, rng: np.random.Generator
) -> tuple[int, ...]:
    """First voxel of a patch: about a voxel of ``lesion_index`` if there is any, else anywhere.

    The patch stays inside the volume where the volume is large enough, and is centred on it otherwise.
    """
    room = np.array(shape) - np.array(size)
    start = np.floor(rng.random(len(shape)) * (np.maximum(room, 0) + 1)).astype(int)
    if len(lesion_index):
        start = lesion_index[rng.integers(len(lesion_index))] - np.array(size) // 2
    return tuple(int(n) for n in np.where(room > 0, np.clip(start, 0, np.maximum(room, 0)), room // 2))
