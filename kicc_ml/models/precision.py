"""Choice of the number format and the device of a network."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from kicc_ml.core.errors import UserError

#: On a CPU without one of these, bf16 is emulated and gains nothing.
CPU_BF16 = ("avx512_bf16", "amx_bf16")

#: NVIDIA's compute capability from which float16 is faster than float32 (Volta). bf16 came with 8.0 (Ampere).
TENSOR_CORES = (7, 0)


def fast_bf16(device_type: str) -> bool:
    """Tell whether convolutions in bf16 are faster than in float32 on this device."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type != "cpu":
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in CPU_BF16)


def fast_autocast(device_type: str) -> AbstractContextManager:
    """Make the autocast context for training: bf16 convolutions if they are faster, else float32.

    Within an autocast that is on already, such as that of ``trainer.precision=16-mixed``, that one stays.
    """
    return make_autocast(device_type, torch.bfloat16 if fast_bf16(device_type) else None)


def inference_autocast(device_type: str) -> AbstractContextManager:
    """Make the autocast context for inference: as in training, and float16 on a GPU that has it and no bf16."""
    if not fast_bf16(device_type) and device_type == "cuda" and torch.cuda.get_device_capability() >= TENSOR_CORES:
        return make_autocast(device_type, torch.float16)
    return fast_autocast(device_type)


def make_autocast(device_type: str, dtype: torch.dtype | None) -> AbstractContextManager:
    """Return the autocast of a device; nothing changes where none is asked for or one is active."""
    if dtype is None or torch.is_autocast_enabled(device_type):
        return nullcontext()
    return torch.autocast(device_type, dtype)


def resolve_device(name: str) -> str:
    """Return ``name``; for ``auto`` return the GPU if there is one, else the CPU."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def device_of(network: nn.Module) -> torch.device:
    """Find the device of a network's parameters; the CPU for a network without parameters."""
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))


def on_device(network: nn.Module, name: str) -> nn.Module:
    """Move a network to a device. Raises UserError for a device that this machine or this build of torch lacks."""
    try:
        return network.to(torch.device(resolve_device(name)))
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"there is no device {name} here ({str(error).splitlines()[0]}); say cpu") from error
