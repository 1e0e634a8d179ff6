"""The networks a run folder may name. A configuration handed over is data: it picks from this list, nothing else.

Whoever receives one may trust further packages; whoever types a configuration may name anything.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from monai.networks.nets import DynUNet, SegResNet, UNet
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from kicc_ml.core.errors import UserError
from kicc_ml.core.parts import build_part, refuse_untrusted
from kicc_ml.models.outcome import OutcomeNetwork
from kicc_ml.models.slice_unet import SliceUNet

NETWORKS: Mapping[str, type[nn.Module]] = {
    "monai.networks.nets.UNet": UNet,
    "monai.networks.nets.DynUNet": DynUNet,
    "monai.networks.nets.SegResNet": SegResNet,
    "kicc_ml.models.slice_unet.SliceUNet": SliceUNet,
    "kicc_ml.models.outcome.OutcomeNetwork": OutcomeNetwork,
}


def build_network(
    settings: Mapping[str, Any], sizes: Mapping[str, int], trust: Collection[str] = (), packages: Any = None
) -> nn.Module:
    """Build the network that ``_target_`` names, from its own settings and the sizes that only the data know.

    Args:
        settings: of the network, as a run folder holds them.
        sizes: further parameters.
        trust: packages whose networks may be built too.
        packages: what the run says of the packages it was trained with.

    Raises:
        UserError: a name is neither in ``NETWORKS`` nor of a trusted package, or the package is not the same one.
    """
    refuse_untrusted(settings, NETWORKS, trust, packages)
    return build_own_network(settings, sizes)


def build_own_network(settings: Mapping[str, Any], sizes: Mapping[str, int]) -> nn.Module:
    """Build a network from settings that the user typed, which may name anything that can be imported."""
    network = build_part({key: value for key, value in settings.items() if key != WEIGHTS}, sizes)
    if not isinstance(network, nn.Module):
        raise UserError(f"{settings['_target_']} is no network of torch (torch.nn.Module)")
    return network


def is_listed(settings: Mapping[str, Any]) -> bool:
    """Whether a network is one of ``NETWORKS``."""
    return settings.get("_target_") in NETWORKS


#: Of a network's settings: what its training started from, and no parameter of it.
WEIGHTS = "weights"

#: The number of parts without weights (activations, dropout, containers) that a network may have for each tensor.
PARTS_FOR_A_TENSOR = 50


def tensor_shapes(
    settings: Mapping[str, Any], sizes: Mapping[str, int], max_tensors: int, max_values: int
) -> dict[str, tuple[int, ...]]:
    """Find the shapes of the tensors of ``build_network(settings, sizes)`` by name, without allocating them.

    Args:
        settings: the first argument of :func:`build_network`.
        sizes: its second argument.
        max_tensors: the highest number of tensors.
        max_values: the highest number of values in all tensors.

    Returns:
        The shapes of the tensors in its ``state_dict``.

    Raises:
        UserError: the network would be larger; building stops at that point.
    """
    with torch.device("meta"), _counted(max_tensors, max_values):
        network = build_network(settings, sizes)
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


@contextmanager
def _counted(max_tensors: int, max_values: int) -> Iterator[None]:
    """Raise UserError as soon as modules register more tensors or values than allowed."""
    parts, values = 0, 0

    def count_tensor(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal values
        values += 0 if tensor is None else tensor.numel()
        if values > max_values:
            raise UserError(f"its settings describe a network of more than {max_values} values")

    def count_part(module: nn.Module, name: str, part: nn.Module | None) -> None:
        nonlocal parts
        parts += 1
        if parts > max_tensors * PARTS_FOR_A_TENSOR:
            raise UserError(f"its settings describe a network of more than {max_tensors} tensors")

    handles = [
        hooks.register_module_parameter_registration_hook(count_tensor),
        hooks.register_module_buffer_registration_hook(count_tensor),
        hooks.register_module_module_registration_hook(count_part),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
