"""A GPU for machines without one: torch's ``meta`` device, whose tensors have shapes and no values."""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

GPU = torch.device("meta")


class FakeGpu(TorchFunctionMode):
    """While it is on, what leaves the ``meta`` device arrives as zeros, and its bytes are noted in ``left``.

    Without it, reading a value of a ``meta`` tensor fails, and so does mixing it with tensors of the CPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left: list[int] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.copy_ and args[1].is_meta and not args[0].is_meta:
            self.left.append(args[1].nbytes)
            return args[0].zero_()
        if func in (Tensor.cpu, Tensor.to) and args[0].is_meta and _is_cpu(func, args[1:], kwargs):
            self.left.append(args[0].nbytes)
            return torch.zeros(args[0].shape, dtype=args[0].dtype)
        return func(*args, **kwargs)


def _is_cpu(func: Any, args: Any, kwargs: Any) -> bool:
    named = [*args, kwargs.get("device")]
    return func is Tensor.cpu or any(one == "cpu" or one == torch.device("cpu") for one in named)
