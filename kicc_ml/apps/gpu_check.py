"""``python -m kicc_ml.apps.gpu_check``: what a GPU makes of this project, as a table, in about ten minutes.

``--tiny`` tries the same, with small sizes, also on a CPU; its times say nothing.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from lightning_fabric.utilities import move_data_to_device
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from kicc_ml.apps.configuration import run_with_clear_errors
from kicc_ml.apps.gpu_peer import has_nnunet, make_nnunet_step
from kicc_ml.core.errors import UserError, describe_error
from kicc_ml.core.regions import REGIONS
from kicc_ml.core.shown import say
from kicc_ml.data.augment.transform import AugmentConfig, augment_batch
from kicc_ml.data.batches import Labelled, TrainPatches, loader
from kicc_ml.data.region_bits import unpack
from kicc_ml.data.sampling import EpochSampler
from kicc_ml.data.stored_volume import StoredVolume
from kicc_ml.models.gpu import allow_tensor_cores, arrange_for_gpu
from kicc_ml.models.networks import build_network
from kicc_ml.models.precision import fast_autocast, inference_autocast
from kicc_ml.models.segmentation import one_tensor, training_loss
from kicc_ml.models.sliding_window import predict_by_sliding_window
from kicc_ml.models.training_memory import training_bytes
from kicc_ml.training.compilation import describe_failure

SIZES = {"in_channels": 1, "out_channels": len(REGIONS)}
SLICES = {"_target_": "kicc_ml.models.slice_unet.SliceUNet"}
MIB = 2**20
Batch = Mapping[str, Any]


@dataclass(frozen=True)
class Sizes:
    """What is measured: a training patch and batch, the steps of a training, and a scan."""

    patch: tuple[int, int, int]
    batch: int
    steps: int
    warm_up: int
    scan: tuple[int, int, int]
    window: tuple[int, int, int]
    filters: tuple[int, ...]
    workers: int


#: 250 steps of 128^3 in batches of 2 are an epoch of nnU-Net; the scan is a whole chest of 300 slices.
WHOLE = Sizes((128, 128, 128), 2, 250, 10, (512, 512, 300), (192, 192, 3), (32, 64, 128, 256, 320), 8)
TINY = Sizes((16, 16, 16), 2, 2, 1, (48, 48, 12), (32, 32, 3), (4, 8, 16), 0)


def main() -> None:
    """Print the table, or say in one sentence that there is no GPU."""
    parser = argparse.ArgumentParser(prog="python -m kicc_ml.apps.gpu_check", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="small sizes, also on a CPU")
    tiny = parser.parse_args().tiny
    run_with_clear_errors(lambda: check(tiny))


def check(tiny: bool) -> None:
    """Measure training and inference, and print a row for each figure.

    Raises:
        UserError: there is no GPU, and not ``tiny``.
    """
    if not torch.cuda.is_available() and not tiny:
        raise UserError(
            f"torch {torch.__version__} finds no GPU here, so nothing is measured; --tiny tries the steps on the CPU"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sizes = TINY if tiny else WHOLE
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU (the times say nothing)"
    allow_tensor_cores(device)
    rows = {"device": name, "torch, MONAI": f"{torch.__version__}, {version('monai')}"}
    rows |= measure_training(sizes, device) | measure_scan(sizes, device)
    for row, value in rows.items():
        say(f"{row:<58} {value}")


def measure_training(sizes: Sizes, device: torch.device) -> dict[str, str]:
    """Time steps on one constant batch and on real ones, read, cut and augmented; compare memory with its estimate."""
    network = arrange_for_gpu(make_dynunet(sizes), device).to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, fused=device.type == "cuda")
    predicted = training_bytes(network.cpu(), sizes.batch, sizes.patch)
    network.to(device)
    constant = {
        "image_bcxyz": torch.rand(sizes.batch, 1, *sizes.patch, device=device),
        "mask_bcxyz": torch.zeros(sizes.batch, len(REGIONS), *sizes.patch, device=device),
        "mask_known_bc": torch.ones(sizes.batch, len(REGIONS), dtype=torch.bool, device=device),
    }
    held = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    of_constant = time_steps(lambda: constant, network, optimizer, sizes, device)
    taken = torch.cuda.max_memory_allocated(device) - held if device.type == "cuda" else None
    with TemporaryDirectory() as folder:
        batches = iter(make_real_batches(Path(folder), sizes))
        of_real = time_steps(lambda: prepare_batch(next(batches), device), network, optimizer, sizes, device)
    samples, theirs = sizes.batch / of_real, measure_nnunet(sizes, device)
    size = " x ".join(map(str, sizes.patch))

    def seconds(of_step: float) -> str:
        return f"{of_step * sizes.steps:.1f} s"

    return {
        f"step, {size} in batches of {sizes.batch}, one constant batch": f"{1000 * of_constant:.1f} ms",
        "step, real batches": f"{1000 * of_real:.1f} ms, {of_real / of_constant:.2f} of the constant one's",
        "utilisation: share of the time that the network computes": f"{min(1.0, of_constant / of_real):.0%}",
        "step, one constant batch, by torch.compile": measure_compiled(network, constant, optimizer, sizes, device),
        "samples, voxels a second": f"{samples:.1f}, {samples * prod(sizes.patch):.3g}",
        f"{sizes.steps} steps, real batches and constant ones": f"{seconds(of_real)}, {seconds(of_constant)}",
        "the same by nnU-Net's trainer, constant batches": theirs,
        "memory of training, predicted and taken": f"{predicted / MIB:.0f} MiB, {format_mib(taken)}",
    }


def measure_compiled(
    network: nn.Module, constant: Batch, optimizer: torch.optim.Optimizer, sizes: Sizes, device: torch.device
) -> str:
    """Time steps of the compiled network on one constant batch; where it cannot be compiled, say why."""
    if device.type != "cuda":
        return "not measured on a CPU"
    compiled = torch.compile(lambda image_bcxyz: network(image_bcxyz), dynamic=False)
    try:
        return f"{1000 * time_steps(lambda: constant, compiled, optimizer, sizes, device):.1f} ms"
    except Exception as error:  # compilers fail in many ways
        return describe_failure(error)


def measure_nnunet(sizes: Sizes, device: torch.device) -> str:
    """Time the steps of nnU-Net's trainer on one constant batch of the same size, where it is installed."""
    if not has_nnunet():
        return "not installed (pip install nnunetv2)"
    try:
        with make_nnunet_step(sizes.patch, sizes.batch, sizes.filters, device) as step:
            for _ in range(sizes.warm_up):
                step()
            taken_s = time_runs(lambda: [step() for _ in range(sizes.steps)], device, warm_up=False)
    except Exception as error:  # its versions differ in what they take
        return f"failed ({describe_error(error)})"
    return f"{taken_s:.1f} s (nnunetv2 {version('nnunetv2')})"


def measure_scan(sizes: Sizes, device: torch.device) -> dict[str, str]:
    """Time the windows over a whole scan, ours beside MONAI's with the same network on the same device."""
    torch.manual_seed(0)
    network = arrange_for_gpu(build_network(SLICES, SIZES), device).to(device).eval()
    image_cxyz = torch.rand(1, *sizes.scan)

    @torch.inference_mode()
    def with_monai() -> Tensor:
        with inference_autocast(device.type):
            return sliding_window_inference(
                image_cxyz[None].to(device), sizes.window, 4, network, overlap=0.5, mode="gaussian"
            )

    ours = time_runs(
        lambda: predict_by_sliding_window([network], image_cxyz, sizes.window, range(len(REGIONS))), device, repeats=3
    )
    theirs = time_runs(with_monai, device, repeats=1)
    size = " x ".join(map(str, sizes.scan))
    return {
        f"windows over {size} voxels, ours": f"{ours:.2f} s",
        "the same, MONAI's sliding window (overlap 0.5)": f"{theirs:.2f} s, {theirs / ours:.1f} times as long",
    }


def make_dynunet(sizes: Sizes) -> nn.Module:
    """Make the network of ``experiment=lesion_ct_gpu`` for cubes."""
    levels = len(sizes.filters)
    settings: Mapping[str, Any] = {
        "_target_": "monai.networks.nets.DynUNet",
        "spatial_dims": 3,
        "kernel_size": [3] * levels,
        "strides": [1] + [2] * (levels - 1),
        "upsample_kernel_size": [2] * (levels - 1),
        "filters": list(sizes.filters),
        "res_block": True,
        "deep_supervision": levels > 3,
        "deep_supr_num": 2,
    }
    return build_network(settings, SIZES)


def make_real_batches(folder: Path, sizes: Sizes) -> Any:
    """Lay down a stored volume of noise, twice as large as a patch, and read patches of it as a training does."""
    shape = tuple(2 * size for size in sizes.patch)
    rng = np.random.default_rng(0)
    np.save(folder / "image.npy", rng.random((1, *shape), np.float32).astype(np.float16))
    np.save(folder / "regions.npy", rng.integers(0, 2 ** len(REGIONS), shape, np.uint8))
    np.save(folder / "lesion_index.npy", rng.integers(0, min(shape), (4096, 3), np.int32))
    (folder / "meta.json").write_text(json.dumps({"shape": shape, "regions": list(REGIONS), "spacing_known": True}))
    patches = TrainPatches([Labelled("a", "a", StoredVolume(folder))], [], sizes.patch, 0.5, None, 0)
    length = sizes.batch * (sizes.steps + sizes.warm_up)
    return loader(patches, sizes.batch, sizes.workers, EpochSampler(length, sizes.batch))


def prepare_batch(batch: Batch, device: torch.device) -> dict[str, Any]:
    """Send a batch to the device, augment and unpack it there, as a training does."""
    batch = augment_batch(move_data_to_device(batch, device), ("image_bcxyz", "region_bits_bxyz"), AugmentConfig())
    return {**batch, "image_bcxyz": batch["image_bcxyz"].float(), "mask_bcxyz": unpack(batch["region_bits_bxyz"])}


def time_steps(
    give: Callable[[], Batch],
    network: Callable[[Tensor], Any],
    optimizer: torch.optim.Optimizer,
    sizes: Sizes,
    device: torch.device,
) -> float:
    """Measure the seconds of a training step."""

    def steps(count: int) -> None:
        for _ in range(count):
            batch = give()
            with fast_autocast(device.type):
                logits = one_tensor(network(batch["image_bcxyz"]))
            loss = training_loss(logits, batch["mask_bcxyz"], batch["mask_known_bc"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    steps(sizes.warm_up)
    return time_runs(lambda: steps(sizes.steps), device, warm_up=False) / sizes.steps


def time_runs(work: Callable[[], Any], device: torch.device, repeats: int = 1, warm_up: bool = True) -> float:
    """Measure the least seconds of some runs, after one that does not count."""
    if warm_up:
        work()
    seconds = []
    for _ in range(repeats):
        wait(device)
        started = time.perf_counter()
        work()
        wait(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def wait(device: torch.device) -> None:
    """Wait until the device has finished what it was given; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def format_mib(taken: int | None) -> str:
    """Format bytes of device memory for the table."""
    return "not measured on a CPU" if taken is None else f"{taken / MIB:.0f} MiB"


if __name__ == "__main__":
    main()
