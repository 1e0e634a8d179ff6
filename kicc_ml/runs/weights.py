"""Weights as a file: tensors without pickle, with a header that describes them and holds a digest of every byte."""

import hashlib
import json
from collections.abc import Collection, Mapping
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
from kicc_ml.models.networks import build_network, is_listed, tensor_shapes

#: The entry of the file's metadata that holds what this project says of the weights.
HEADER = "kicc_ml"


@dataclass(frozen=True)
class Header:
    """The header of a weights file.

    Attributes:
        about: a description of the weights.
        settings: the digest of the settings of the training.
        tensors: the digest of the tensors.
        shapes: the shape of each tensor, by name.
    """

    about: Mapping[str, Any]
    settings: str
    tensors: str
    shapes: Mapping[str, tuple[int, ...]]


def write_weights(path: Path, network: nn.Module, about: Mapping[str, Any], settings: str) -> None:
    """Write the tensors of a network; the file is complete or absent.

    Args:
        path: the file.
        network: the network whose ``state_dict`` is written.
        about: plain values that describe the weights; the header holds them.
        settings: the digest of the settings of the training.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    header = {"about": about, "settings": settings, "tensors": digest_of_tensors(tensors)}
    with whole_file(path) as partial:
        # One entry, since safetensors writes several in an order of chance: equal weights are equal files.
        # Bytes, since its own writer says of a full disk only words.
        partial.write_bytes(save(tensors, metadata={HEADER: json.dumps(header)}))


def read_header(path: Path) -> Header:
    """Read the header only. Raises the error of the reader for a file that is not one."""
    with safe_open(path, framework="pt") as file:
        header = json.loads((file.metadata() or {}).get(HEADER, "{}"))
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    if lacking := sorted({"about", "settings", "tensors"} - set(header)):
        raise UserError(
            f"its weights state no {' and no '.join(lacking)}: they are of another version or another program"
        )
    return Header(header["about"], header["settings"], header["tensors"], shapes)


def load_network(
    path: Path,
    header: Header,
    settings: Mapping[str, Any],
    sizes: Mapping[str, int],
    trust: Collection[str] = (),
    packages: Any = None,
) -> nn.Module:
    """Load the network of ``settings`` with the weights of the file, in evaluation mode.

    Nothing larger than the file is allocated, unless a trusted package does.

    Args:
        path: the weights file.
        header: its header (:func:`read_header`).
        settings: the settings of the network.
        sizes: the numbers of channels, features and endpoints.
        trust: packages whose networks may be built too.
        packages: what the run says of the packages of its parts.

    Raises:
        UserError: the settings describe another network than the file holds, or one that is not trusted; or a byte of
            the tensors has changed.
    """
    another = "its settings describe another network than its weights are of"
    values = sum(prod(shape) for shape in header.shapes.values())
    if is_listed(settings) and tensor_shapes(settings, sizes, len(header.shapes), values) != header.shapes:
        raise UserError(another)
    network = build_network(settings, sizes, trust, packages)
    if {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} != header.shapes:
        raise UserError(another)
    tensors = load_file(path)
    if digest_of_tensors(tensors) != header.tensors:
        raise UserError("its weights are damaged: they are not the bytes that were written")
    network.load_state_dict(tensors)
    return network.eval()


def digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Compute the SHA-256 over names, types, shapes and values of tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
