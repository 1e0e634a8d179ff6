"""Finds operations for which a process would wait for its GPU. The ``meta`` device stands for it."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

#: Operations whose result, or whose shape, depends on values.
READS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "equal", "bincount")


class Waits(AssertionError):
    """An operation makes the process wait for the device."""


def iterate_tensors(value: Any) -> Iterator[Tensor]:
    """Iterate over the tensors in lists and tuples."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from iterate_tensors(one)


class NoWaiting(TorchDispatchMode):
    """While it is on, an operation on the ``meta`` device that reads values, or a copy that blocks, raises Waits."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        tensors = list(iterate_tensors([args, list(kwargs.values())]))
        there = [one.is_meta for one in tensors]
        if any(there) and name in READS:
            raise Waits(name)
        if name in ("index", "index_put", "index_put_") and there[0]:
            for index in tensors[1:]:
                if (not index.is_meta and index.ndim) or index.dtype == torch.bool:
                    raise Waits(f"{name} by {index.dtype} of {index.device}")
        to_device = torch.device(kwargs.get("device") or "cpu").type == "meta"
        if name == "_to_copy" and to_device and not all(there) and not kwargs.get("non_blocking"):
            raise Waits("copy that blocks")
        if name == "copy_" and there[0] != there[1] and not (args[2:] or kwargs.get("non_blocking")):
            raise Waits("copy that blocks")
        return func(*args, **kwargs)


class NoLists(TorchFunctionMode):
    """While it is on, a list that would be copied to the ``meta`` device, as a tensor or as an index, raises Waits."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.tensor and torch.device(kwargs.get("device") or "cpu").type == "meta":
            raise Waits("tensor from a list")
        if func in (Tensor.__getitem__, Tensor.__setitem__) and args[0].is_meta:
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(one, list | tuple | range) for one in index):
                raise Waits("index by a list")
        return func(*args, **kwargs)
