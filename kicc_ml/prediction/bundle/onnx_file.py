"""The networks of a run in ONNX, each checked against what it gives in PyTorch."""

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kicc_ml.core.errors import UserError, describe_error
from kicc_ml.core.files import whole_file
from kicc_ml.core.shown import format_count
from kicc_ml.runs.folder import Fold

#: The packages of the extra ``onnx``.
NEEDED = ("onnx", "onnxscript", "onnxruntime")
#: Largest difference of a probability: sums in another order, far below what moves a mask.
MAX_DIFFERENCE = 1e-4


def write_onnx(folds: Sequence[Fold], bundle: Path) -> str:
    """Write ``models/network_N.onnx`` of each fold into a bundle, and say what came of it.

    A file has the input ``image`` (batch, 1, x, y, z), patches of a canonical image, and the output ``logits`` (batch,
    region, x, y, z). It is left out if ONNX has no operators for the network, or if it does not give the same.

    Args:
        folds: the folds, whose networks have this order.
        bundle: the folder of the bundle.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        return f"no ONNX: {missing[0]} is not installed; pip install 'kicc_ml[onnx]'"
    torch.manual_seed(0)
    for place, fold in enumerate(folds):
        image_bcxyz = torch.rand(2, fold.about.sizes["in_channels"], *fold.patch_size)
        try:
            with whole_file(bundle / "models" / f"network_{place}.onnx") as partial:
                _export(fold.network, image_bcxyz, partial)
                _require_same(fold.network, image_bcxyz, partial)
        except Exception as error:  # the exporter has one for each operator that ONNX does not have
            return f"no ONNX of network {place}: {describe_error(error).splitlines()[0]}"
    return f"ONNX: {format_count(len(folds), 'network')}, checked against PyTorch"


def _export(network: nn.Module, image_bcxyz: Tensor, path: Path) -> None:
    """Write a network as ONNX with any number of patches in a batch. The exporter's own talk is not shown."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (image_bcxyz,),
            path,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=({0: "batch"},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


@torch.inference_mode()
def _require_same(network: nn.Module, image_bcxyz: Tensor, path: Path) -> None:
    """Raise UserError if a file does not give the probabilities of the network, for the batch and a single patch."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for patch_bcxyz in (image_bcxyz, image_bcxyz[:1]):
        (logits_bcxyz,) = session.run(None, {"image": patch_bcxyz.numpy()})
        found_bcxyz = torch.from_numpy(np.asarray(logits_bcxyz)).sigmoid()
        difference = float((found_bcxyz - network(patch_bcxyz).sigmoid()).abs().max())
        if not difference <= MAX_DIFFERENCE:
            raise UserError(f"its probabilities differ by {difference:.2g} from those of PyTorch")
