"""Compilation of the network for training steps by ``torch.compile``; where it fails, the reason is said."""

import os
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn
from torch._inductor.runtime.cache_dir_utils import default_cache_dir

from kicc_ml.core.errors import UserError, describe_error
from kicc_ml.core.shown import say
from kicc_ml.core.user_folders import get_cache_folder
from kicc_ml.models.precision import fast_autocast
from kicc_ml.models.segmentation import SegmentationTask, one_tensor

#: Compiled code is kept between trainings; torch's own default is a folder in /tmp that other users can see.
CACHE_VARIABLE, CACHE = "TORCHINDUCTOR_CACHE_DIR", "compiled_networks"

AUTO = "auto"


class CompiledSteps(Callback):
    """A callback that compiles the network of a segmentation for its training steps, whose patches have one size.

    Everything else, such as validation in windows of other sizes, runs the network as it is, so that nothing is
    compiled a second time. The network stays the same object: the names of its weights do not change, and a checkpoint
    of a training without compilation is taken up by one with it, and the other way round. It is tried, forward and
    backward, before the clock of ``trainer.max_time`` starts.

    Args:
        wanted: true, false, or ``auto``: on a GPU, unless the training is deterministic.
        backend: torch's name of the compiler, or a function.

    Raises:
        UserError: ``wanted`` is another value.
    """

    def __init__(self, wanted: bool | str, backend: str | Callable[..., Any] = "inductor") -> None:
        super().__init__()
        if wanted not in (True, False, AUTO):
            raise UserError(f"compile={wanted} is none of auto, true and false")
        self.wanted = wanted
        self.backend = backend

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compile the network, or say why it is not compiled."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        device = trainer.strategy.root_device
        if not isinstance(pl_module, SegmentationTask) or not self.is_wanted(device):
            return
        set_cache_folder()
        torch.compiler.reset()  # else a ninth fold in this process would be one too many for torch
        network = pl_module.network
        # A function, since a compiled module would be a second part of the task, with weights by other names.
        compiled = torch.compile(lambda image_bcxyz: network(image_bcxyz), backend=self.backend, dynamic=False)
        try:
            with trainer.precision_plugin.train_step_context():
                try_step(network, compiled, torch.zeros(data.batch_size, 1, *data.patch_size, device=device))
        except Exception as error:  # compilers fail in many ways, and none of them ends a training
            if trainer.is_global_zero:
                say(f"the network is trained without torch.compile: {describe_failure(error)}", to_stderr=True)
        else:
            pl_module.compiled = compiled

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let go of the compiled steps: what follows the training predicts other sizes."""
        if isinstance(pl_module, SegmentationTask):
            pl_module.compiled = None

    def is_wanted(self, device: torch.device) -> bool:
        """Tell whether a training on this device is to be compiled."""
        if self.wanted != AUTO:
            return bool(self.wanted)
        return device.type == "cuda" and not torch.are_deterministic_algorithms_enabled()


def try_step(network: nn.Module, compiled: Callable[[Tensor], Any], image_bcxyz: Tensor) -> None:
    """Run the compiled network forward and backward once; weights, statistics and random numbers stay as they were.

    Args:
        network: the network, on the device of the training.
        compiled: its compiled form.
        image_bcxyz: a batch of the shape of the training.

    Raises:
        Exception: what the compiler or the network raises.
    """
    kept = [(buffer, buffer.clone()) for buffer in network.buffers()]
    was_training = network.training
    devices = [image_bcxyz.device] if image_bcxyz.device.type == "cuda" else []
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    try:
        network.train()
        with torch.random.fork_rng(devices), fast_autocast(image_bcxyz.device.type):
            answer = one_tensor(compiled(image_bcxyz)).float().sum()
        torch.autograd.grad(answer, trained, allow_unused=True)
    finally:
        network.train(was_training)
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)


def set_cache_folder() -> None:
    """Let compiled code lie in the user's cache, unless the user has named another folder."""
    if os.environ.get(CACHE_VARIABLE) in (None, default_cache_dir()):  # torch sets its own default when it is imported
        os.environ[CACHE_VARIABLE] = str(get_cache_folder() / CACHE)


def describe_failure(error: Exception) -> str:
    """Describe in one sentence why a network could not be compiled."""
    cause = getattr(error, "inner_exception", error)  # of a compiler, torch's own error says only which one it was
    said = describe_error(cause).strip().splitlines()[0].rstrip(".:")
    if "compiler" in type(cause).__name__.lower():
        return f"there is no working C++ compiler here ({said}); install g++, or say compile=false"
    if "triton" in f"{type(cause).__name__} {said}".lower():
        return (
            f"Triton, which writes code for the GPU, does not work here ({said}); compile=false trains without trying"
        )
    return f"{said}; compile=false trains without trying"
