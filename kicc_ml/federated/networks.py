"""Networks of a federated training, and which of their tensors travel."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets import UNet
from safetensors.numpy import save_file
from torch import nn

from kicc_ml.core.files import whole_file
from kicc_ml.core.regions import REGIONS
from kicc_ml.federated.messages import WEIGHTS_DTYPE, HospitalRefuses
from kicc_ml.federated.plan import Norm, Plan
from kicc_ml.models.outcome import OutcomeNetwork

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def build_network(plan: Plan, sizes: Mapping[str, int]) -> nn.Module:
    """Build the network of a plan; its weights depend on the plan's seed alone.

    Args:
        plan: the training.
        sizes: the numbers of ``features`` and ``endpoints`` of an outcome network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        if plan.task == "outcome":
            return OutcomeNetwork(sizes["features"], sizes["endpoints"], ct=False, cxr=False, width=plan.width)
        return UNet(
            spatial_dims=3,
            in_channels=1,
            out_channels=len(REGIONS),
            channels=list(plan.channels),
            strides=[2] * (len(plan.channels) - 1),
            num_res_units=0,
            norm="instance" if plan.norm == "instance" else "batch",
        )


def get_weights(network: nn.Module, norm: Norm = "instance") -> dict[str, np.ndarray]:
    """Return the tensors of a network that travel: its floating-point ones, without those that stay local.

    Args:
        network: the network.
        norm: with ``local_batch``, the statistics of batch normalisation stay.
    """
    local = _list_statistics(network) if norm == "local_batch" else set()
    return {
        name: tensor.detach().cpu().numpy().astype(WEIGHTS_DTYPE)
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and name not in local
    }


def set_weights(network: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Set the tensors of a network that are given; the others keep their values.

    Raises HospitalRefuses for an array that the network does not have, of another shape, or with values that are no
    numbers.
    """
    own = network.state_dict()
    for name, array in arrays.items():
        if name not in own or tuple(own[name].shape) != array.shape or not np.isfinite(array).all():
            raise HospitalRefuses("the weights that came do not fit the network of the plan")
        own[name] = torch.from_numpy(np.array(array))
    network.load_state_dict(own)


def _list_statistics(network: nn.Module) -> set[str]:
    return {
        f"{path}.{name}"
        for path, module in network.named_modules()
        if isinstance(module, BATCH_NORMS)
        for name, _ in module.named_buffers()
    }


def average(weights: Mapping[str, Mapping[str, np.ndarray]], patients: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Average the weights of hospitals, each by its number of patients; hospitals in the order of their names.

    Args:
        weights: for each hospital, its tensors by name.
        patients: for each hospital, how many patients it trained on.
    """
    sites = sorted(weights)
    share_s = np.array([patients[site] for site in sites]) / sum(patients[site] for site in sites)
    return {
        name: np.einsum("s,s...->...", share_s, np.stack([weights[site][name] for site in sites])).astype(WEIGHTS_DTYPE)
        for name in weights[sites[0]]
    }


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as safetensors, completely or not at all.

    Args:
        path: the file.
        arrays: the arrays by name.
    """
    with whole_file(path) as partial:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, partial)
