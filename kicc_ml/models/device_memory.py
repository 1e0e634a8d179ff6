"""How much a GPU still holds, and how large a pass through a network may be there."""

from collections.abc import Callable
from math import prod

import torch

from kicc_ml.core.shown import say

#: A CPU predicts at most this many voxels in one pass: five slices around the lungs in 1 mm voxels, a hundred MiB in
#: the networks built here.
VOXELS_AT_ONCE = 500_000

#: A GPU is busy only with larger passes. Windows of networks that do not depend on their size grow up to this.
GPU_VOXELS_AT_ONCE = 4_000_000

#: What a voxel of a window takes at most in the networks built here, before a first pass has shown it.
ASSUMED_BYTES_A_VOXEL = 1024

#: The shares of the free memory that passes may take, and that whole volumes (the image, the result) may take. The rest
#: is for what libraries take beside, and for other processes.
PASS_SHARE, VOLUME_SHARE = 0.5, 0.2

#: A training may take this share of a GPU's whole memory; the rest is for CUDA itself and for the screen.
TRAINING_SHARE = 0.9

GIB = 2**30

#: More windows at once gain nothing on the largest cards.
MAX_WINDOWS_AT_ONCE = 32


def free_bytes(device: torch.device) -> int | None:
    """Find what this process can still take on a GPU, its own freed blocks included; None for any other device."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def bound_by_card(memory_gib: float, accelerator: str) -> float:
    """Bound what a training may take by the memory of the GPU that it runs on, in GiB, and say where that is less.

    The whole memory counts, not what is free now, so that a training that is taken up again has the same plan.

    Args:
        memory_gib: what the user allows.
        accelerator: Lightning's word for where the training runs.

    Returns:
        ``memory_gib``, or less on a smaller GPU; unchanged on the processor.
    """
    if accelerator == "cpu" or not torch.cuda.is_available():
        return memory_gib
    _, whole = torch.cuda.mem_get_info()
    allowed_gib = TRAINING_SHARE * whole / GIB
    if allowed_gib < memory_gib:
        say(f"plan.memory_gib={memory_gib}: this GPU allows {allowed_gib:.1f} GiB", to_stderr=True)
    return min(memory_gib, allowed_gib)


def place_of_volume(volume_bytes: int, device: torch.device) -> torch.device:
    """Choose where a whole volume lies: on the device, or on the CPU if it takes too much of a GPU's free memory."""
    free = free_bytes(device)
    return device if free is None or volume_bytes <= VOLUME_SHARE * free else torch.device("cpu")


def voxels_at_once(device: torch.device) -> int:
    """Choose the number of voxels up to which windows grow on a device."""
    free = free_bytes(device)
    if free is None:
        return VOXELS_AT_ONCE
    return max(VOXELS_AT_ONCE, min(GPU_VOXELS_AT_ONCE, int(PASS_SHARE * free) // ASSUMED_BYTES_A_VOXEL))


class PassSize:
    """The number of windows in a pass: on a CPU by ``VOXELS_AT_ONCE``, on a GPU by its free memory.

    What a window takes on a GPU is measured on the first pass, which has one window.
    """

    def __init__(self, window: tuple[int, ...], device: torch.device) -> None:
        self.device = device
        self.measured = free_bytes(device) is None
        self.windows = max(1, VOXELS_AT_ONCE // prod(window)) if self.measured else 1

    def run(self, predict: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Run a pass; the first on a GPU is measured."""
        if self.measured:
            return predict()
        taken, result = taken_bytes(predict, self.device)
        room = int(PASS_SHARE * (free_bytes(self.device) or 0))
        self.windows = min(MAX_WINDOWS_AT_ONCE, max(1, room // max(1, taken)))
        self.measured = True
        return result


def taken_bytes(predict: Callable[[], torch.Tensor], device: torch.device) -> tuple[int, torch.Tensor]:
    """Measure the peak memory of a pass on a GPU, in addition to what was held before; gives its result too."""
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    result = predict()
    return torch.cuda.max_memory_allocated(device) - before, result
