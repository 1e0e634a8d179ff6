"""Random sampling that depends only on (seed, epoch, index), not on workers, batches or earlier draws.

Therefore an interrupted training can continue with its position as the only state.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from torch.utils.data import Sampler

Source = TypeVar("Source")


class EpochSampler(Sampler[tuple[int, int]]):
    """A sampler that yields (epoch, index), so that a stateless dataset can draw for this position in the training.

    The position follows from ``batches_done``, the number of batches of ``batch_size`` that a process has trained on
    since the very beginning, so an interrupted training continues within its epoch. With several processes, each takes
    every ``world``-th index. All take the same number, so that none waits for another at the end: ``length`` is rounded
    up.
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


def epoch_sampler(trainer: Any, length: int, batch_size: int) -> EpochSampler:
    """Make the sampler of this process, which follows Lightning's count of batches; a checkpoint brings that back.

    Not its count of epochs: a checkpoint written at the end of one counts it twice when ``max_steps`` is set.
    """
    if trainer is None:
        return EpochSampler(length, batch_size)
    total = trainer.fit_loop.epoch_loop.batch_progress.total
    return EpochSampler(length, batch_size, trainer.global_rank, trainer.world_size, lambda: total.processed)


def shuffled(count: int, seed: int, epoch: int, index: int) -> int:
    """Return the item at position ``index`` if ``count`` items are repeated in rounds, each shuffled anew.

    Args:
        count: the number of items.
        seed: the seed of the training.
        epoch: the epoch, from 0.
        index: the position in the epoch, from 0.
    """
    lap, place = divmod(index, count)
    return int(np.random.default_rng([seed, epoch, lap]).permutation(count)[place])


def choose_patch_source(
    others: Sequence[Source], empty: Sequence[Source], empty_share: float | None, seed: int, epoch: int, index: int
) -> Source:
    """Choose the source of the patch at position ``index`` of an epoch.

    ``empty_share`` of all positions, evenly spread, take the sources of ``empty`` in turn; the others take those of
    ``others`` in turn. If it is None or one of the two is empty, all sources are taken in turn, each equally often. The
    order is shuffled in each round.

    Args:
        others: the sources with a lesion, or of which that is unknown.
        empty: the sources known to have no lesion.
        empty_share: the share of patches from ``empty``; None for equal turns.
        seed: the seed of the training.
        epoch: the epoch, from 0.
        index: the position in the epoch, from 0.
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
    """Draw the first voxel of a patch: around a voxel of ``lesion_index`` if there is any, else anywhere.

    The patch stays inside the volume if the volume is large enough; else it is centred on the volume.

    Args:
        shape: voxels of the volume along each axis.
        size: voxels of the patch along each axis.
        lesion_index: indices of lesion voxels, one row each.
        rng: the random generator.
    """
    room = np.array(shape) - np.array(size)
    share = np.zeros(len(shape))
    share[np.array(shape) > 1] = rng.random(sum(n > 1 for n in shape))  # a single slice leaves no choice
    start = np.floor(share * (np.maximum(room, 0) + 1)).astype(int)
    if len(lesion_index):
        start = lesion_index[rng.integers(len(lesion_index))] - np.array(size) // 2
    return tuple(int(n) for n in np.where(room > 0, np.clip(start, 0, np.maximum(room, 0)), room // 2))
