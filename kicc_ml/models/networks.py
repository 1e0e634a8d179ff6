"""The networks a run folder may name. A configuration handed over is data: it picks from this list, nothing else."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from monai.networks.nets import DynUNet, SegResNet, UNet
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from kicc_ml.core.errors import UserError
from kicc_ml.models.outcome import OutcomeNetwork
from kicc_ml.models.slice_unet import SliceUNet

NETWORKS: Mapping[str, type[nn.Module]] = {
    "monai.networks.nets.UNet": UNet,
    "monai.networks.nets.DynUNet": DynUNet,
    "monai.networks.nets.SegResNet": SegResNet,
    "kicc_ml.models.slice_unet.SliceUNet": SliceUNet,
    "kicc_ml.models.outcome.OutcomeNetwork": OutcomeNetwork,
}


def build_network(settings: Mapping[str, Any], sizes: Mapping[str, int]) -> nn.Module:
    """The network that ``_target_`` names, from its own settings and the sizes that only the data know.

    Raises UserError for a name that is not in ``NETWORKS``.
    """
    name = settings["_target_"]
    if name not in NETWORKS:
        raise UserError(f"network {name} is not one of those this project builds: {', '.join(NETWORKS)}")
    parameters = {key: value for key, value in settings.items() if key != "_target_"}
    return NETWORKS[name](**parameters, **sizes)


#: The number of parts without weights (activations, dropout, containers) that a network may have for each tensor.
PARTS_FOR_A_TENSOR = 50


def tensor_shapes(
    settings: Mapping[str, Any], sizes: Mapping[str, int], max_tensors: int, max_values: int
) -> dict[str, tuple[int, ...]]:
    """Find the shapes of the tensors of ``build_network(settings, sizes)`` by name, without allocating them.

    Args:
        settings, sizes: the arguments of :func:`build_network`.
        max_tensors, max_values: the highest number of tensors, and of values in all of them.

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
