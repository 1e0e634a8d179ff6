"""Which number format a device multiplies fastest in."""

from typing import Literal

import torch

#: Without one of these, bf16 is emulated on a CPU and gains nothing (measured: facts in ``tests/benchmarks``).
CPU_BF16 = ("avx512_bf16", "amx_bf16")


def fast_bf16(device_type: str) -> bool:
    """Whether convolutions in bf16 are faster than in float32 on this device."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in CPU_BF16)


def fast_precision() -> Literal["bf16-mixed", "32-true"]:
    """The trainer's ``precision`` on this CPU."""
    return "bf16-mixed" if fast_bf16("cpu") else "32-true"
