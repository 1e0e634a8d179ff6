"""Choice of the number format and the device of a network."""

import torch
from torch import nn

from kicc_ml.core.errors import UserError

#: On a CPU without one of these, bf16 is emulated and gains nothing.
CPU_BF16 = ("avx512_bf16", "amx_bf16")


def fast_bf16(device_type: str) -> bool:
    """Tell whether convolutions in bf16 are faster than in float32 on this device."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in CPU_BF16)


def fast_autocast(device_type: str) -> torch.autocast:
    """Make the autocast context for training and inference: bf16 convolutions if they are faster, else float32."""
    return torch.autocast(device_type, torch.bfloat16, enabled=fast_bf16(device_type))


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
