"""Weights as a file: tensors without pickle, and in its header what they are, with a digest of every byte."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import whole_file
from kicc_ml.models.networks import build_network, tensor_shapes

#: The entry of the file's metadata that holds what this project says of the weights.
HEADER = "kicc_ml"


@dataclass(frozen=True)
class Header:
    """What stands before the tensors: ``about`` them, digests of the ``settings`` they were trained with and of the
    ``tensors`` themselves, and the shape of each.
    """

    about: Mapping[str, Any]
    settings: str
    tensors: str
    shapes: Mapping[str, tuple[int, ...]]


def write_weights(path: Path, network: nn.Module, about: Mapping[str, Any], settings: str) -> None:
    """Write the tensors of a network whole or not at all.

    Args:
        path: the file.
        network: whose ``state_dict`` is written.
        about: plain values that say what the weights are; they travel in the header.
        settings: digest of the settings that they were trained with.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    header = {"about": about, "settings": settings, "tensors": digest_of_tensors(tensors)}
    with whole_file(path) as partial:
        # One entry, since safetensors writes several in an order of chance: equal weights are equal files.
        # Bytes, since its own writer says of a full disk only words.
        partial.write_bytes(save(tensors, metadata={HEADER: json.dumps(header)}))


def read_header(path: Path) -> Header:
    """The header alone. Raises whatever a file raises that is none."""
    with safe_open(path, framework="pt") as file:
        header = json.loads((file.metadata() or {}).get(HEADER, "{}"))
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    if lacking := sorted({"about", "settings", "tensors"} - set(header)):
        raise UserError(
            f"its weights state no {' and no '.join(lacking)}: they are of another version or another program"
        )
    return Header(header["about"], header["settings"], header["tensors"], shapes)


def load_network(path: Path, header: Header, settings: Mapping[str, Any], sizes: Mapping[str, int]) -> nn.Module:
    """The network of ``settings`` with the weights of the file, in evaluation mode.

    Nothing larger than the file is allocated.

    Raises:
        UserError: the settings describe another network than the file holds, or a byte of the tensors has changed.
    """
    values = sum(prod(shape) for shape in header.shapes.values())
    if tensor_shapes(settings, sizes, len(header.shapes), values) != header.shapes:
        raise UserError("its settings describe another network than its weights are of")
    tensors = load_file(path)
    if digest_of_tensors(tensors) != header.tensors:
        raise UserError("its weights are damaged: they are not the bytes that were written")
    network = build_network(settings, sizes)
    network.load_state_dict(tensors)
    return network.eval()


def digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
