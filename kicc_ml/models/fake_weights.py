"""A network of which only the shapes are left: whatever it is asked costs neither memory nor time."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode


@contextmanager
def leave_shapes_only(network: nn.Module) -> Iterator[tuple[nn.Module, FakeTensorMode]]:
    """Return a copy of a network with weights of a shape and no values, and the mode in which it can be asked."""
    copy = deepcopy(network)
    loud = logging.getLogger("torch._subclasses.fake_tensor")  # it prints a traceback of whatever a network refuses
    was_disabled, loud.disabled = loud.disabled, True
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        for module in copy.modules():
            for name, parameter in module.named_parameters(recurse=False):
                setattr(module, name, nn.Parameter(mode.from_tensor(parameter.detach())))
            for name, buffer in module.named_buffers(recurse=False):
                module.register_buffer(name, mode.from_tensor(buffer))
    try:
        yield copy, mode
    finally:
        loud.disabled = was_disabled
