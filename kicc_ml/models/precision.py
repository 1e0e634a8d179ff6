"""Which number format a device multiplies fastest in."""

import torch
from torch import nn

from kicc_ml.core.errors import UserError

#: Without one of these, bf16 is emulated on a CPU and gains nothing.
CPU_BF16 = ("avx512_bf16", "amx_bf16")


def fast_bf16(device_type: str) -> bool:
    """Whether convolutions in bf16 are faster than in float32 on this device."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in CPU_BF16)


def fast_autocast(device_type: str) -> torch.autocast:
    """Training and inference alike: convolutions in bf16 where that is faster, everything in float32 elsewhere."""
    return torch.autocast(device_type, torch.bfloat16, enabled=fast_bf16(device_type))


def resolve_device(name: str) -> str:
    """``name``, or for ``auto`` the GPU where there is one, else the processor."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def device_of(network: nn.Module) -> torch.device:
    """Where a network lies: the device of its parameters, the processor for one that has none."""
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))


def on_device(network: nn.Module, name: str) -> nn.Module:
    """The network, moved. Raises UserError for a device that this machine or this build of torch does not have."""
    try:
        return network.to(torch.device(resolve_device(name)))
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"there is no device {name} here ({str(error).splitlines()[0]}); say cpu") from error
