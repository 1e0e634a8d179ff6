"""What is drawn depends on (seed, epoch, index) alone: not on workers, batches or what was drawn before.

So a training that goes on after an interruption needs no state but its place.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from torch.utils.data import Sampler

Source = TypeVar("Source")


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index), so that a dataset without state can draw for that place in the training.

    The place follows from ``batches_done``, the batches of ``batch_size`` that a process has trained on since the
    very beginning: an interrupted training goes on within its epoch. With several processes each takes every
    ``world``-th index, all equally many, so that none waits for another at the end: ``length`` is rounded up.
    """

    def __init__(
        self,
        length: int,
        batch_size: int = 1,
        rank: int = 0,
        world: int = 1,
        batches_done: Callable[[], int] = lambda: 0,
    ) -> None:
        self.length = -(-length // world)
        self.batch_size = batch_size
        self.rank = rank
        self.world = world
        self.batches_done = batches_done

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        batches_per_epoch = -(-self.length // self.batch_size)
        epoch, batches = divmod(self.batches_done(), batches_per_epoch)
        for place in range(batches * self.batch_size, self.length):
            yield epoch, self.rank + place * self.world


def shuffled(count: int, seed: int, epoch: int, index: int) -> int:
    """The ``index``-th of ``count`` things in an epoch that goes round them in ever new orders."""
    lap, place = divmod(index, count)
    return int(np.random.default_rng([seed, epoch, lap]).permutation(count)[place])


def in_turn(
    others: Sequence[Source], empty: Sequence[Source], empty_share: float | None, seed: int, epoch: int, index: int
) -> Source:
    """The source of the ``index``-th patch of an epoch.

    ``empty_share`` of all places, evenly spread, go round ``empty``; the rest round ``others``. Where it is None or
    one of the two has none, they go round all of them, each equally often.
    """
    if empty_share is None or not others or not empty:
        everything = [*others, *empty]
        return everything[shuffled(len(everything), seed, epoch, index)]
    of_empty = int(index * empty_share)
    if int((index + 1) * empty_share) > of_empty:
        return empty[shuffled(len(empty), seed, epoch, of_empty)]
    return others[shuffled(len(others), seed, epoch, index - of_empty)]


def patch_start(
    shape: tuple[int, ...], size: tuple[int, ...], lesion_index: np.ndarray, rng: np.random.Generator
) -> tuple[int, ...]:
    """First voxel of a patch: about a voxel of ``lesion_index`` if there is any, else anywhere.

    The patch stays inside the volume where the volume is large enough, and is centred on it otherwise.
    """
    room = np.array(shape) - np.array(size)
    share = np.zeros(len(shape))
    share[np.array(shape) > 1] = rng.random(sum(n > 1 for n in shape))  # of a single slice there is nothing to draw
    start = np.floor(share * (np.maximum(room, 0) + 1)).astype(int)
    if len(lesion_index):
        start = lesion_index[rng.integers(len(lesion_index))] - np.array(size) // 2
    return tuple(int(n) for n in np.where(room > 0, np.clip(start, 0, np.maximum(room, 0)), room // 2))
