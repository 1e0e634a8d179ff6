"""The generators of ``random``, numpy and torch, from which everybody may draw."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, Randomizable, RandomizableTrait


def shared_states() -> tuple[Any, ...]:
    """Return the states of the generators."""
    state = np.random.get_state(legacy=False)["state"]
    return random.getstate(), state["key"].tobytes(), state["pos"], torch.get_rng_state().numpy().tobytes()


class SeededHere(Randomizable):
    """A transform that says it is random and draws from the shared generators, as MONAI's adapter of torchio does.

    The generators are seeded for it alone and set back afterwards.
    """

    def __init__(self, transform: Callable[[Any], Any]) -> None:
        self.transform = transform
        self.takes_batches = bool(getattr(transform, "takes_batches", False))

    def __call__(self, data: Mapping[str, Any]) -> Any:
        """Apply the transform with the shared generators seeded, then restore their states."""
        seed = int(self.R.randint(2**32, dtype=np.uint64))
        gpus = sorted({one.device.index for one in data.values() if isinstance(one, torch.Tensor) and one.is_cuda})
        plain, of_numpy = random.getstate(), np.random.get_state()
        try:
            with torch.random.fork_rng(gpus):
                random.seed(seed), np.random.seed(seed), torch.default_generator.manual_seed(seed)
                for gpu in gpus:
                    torch.cuda.default_generators[gpu].manual_seed(seed)
                return self.transform(data)
        finally:
            random.setstate(plain), np.random.set_state(of_numpy)


def seeded_here(transform: Any) -> Any:
    """Return a transform that can be seeded: itself if it is so already, else within :class:`SeededHere`."""
    if isinstance(transform, Compose):
        transform.transforms = tuple(map(seeded_here, transform.transforms))
        return transform
    is_random = isinstance(transform, RandomizableTrait) and not isinstance(transform, Randomizable)
    return SeededHere(transform) if is_random else transform
