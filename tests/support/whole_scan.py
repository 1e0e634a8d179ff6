"""A whole CT of 300 x 512 x 512, a network that finds lungs and lesions in it, and MONAI's way over it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from kicc_ml.core.regions import REGIONS
from kicc_ml.models.networks import build_network
from kicc_ml.models.precision import fast_autocast
from kicc_ml.models.segmentation import training_loss
from kicc_ml.synthetic.anatomy import draw_physique
from kicc_ml.synthetic.hospital import make_hospitals, scan_ct
from kicc_ml.synthetic.lesions import add_pneumonia
from kicc_ml.synthetic.thorax import make_healthy_thorax

ROOT = Path(__file__).resolve().parents[2]
CORES = 2
SHAPE = (512, 512, 300)
SPACING_MM = (0.7, 0.7, 1.1)
#: The network of ``experiment=lesion_ct``.
NETWORK = {"_target_": "kicc_ml.models.slice_unet.SliceUNet", "channels": [16, 32, 64, 128, 256]}
NETWORK |= {"strides": [2, 2, 2, 2], "num_res_units": 2, "neighbours": 1}
SIZES = {"in_channels": 1, "out_channels": len(REGIONS)}
PATCH = (192, 192, 3)
#: The scan's own voxels, so that both networks are shown all there is to see.
CANONICAL: dict[str, Any] = {"spacing_mm": None, "window_hu": (-1000.0, 300.0)}
#: Enough that the network finds lungs and lesions of a chest it has not seen.
STEPS, BATCH, CHESTS, SLICES = 350, 8, 6, 30
#: What a user would take instead: MONAI's 3-D U-Net in the sizes of ``network=unet_light``, in its windows.
LIGHT = {"spatial_dims": 3, "channels": [16, 32, 64, 128], "strides": [2, 2, 2], "num_res_units": 0}
LIGHT_WINDOW = (96, 96, 96)
#: Runs ways in turn in a process of its own, so that one way alone has memory of its own: by way, the seconds of each
#: run; bytes above the imports. ``ours`` has no mirror images, ``full`` those of scans without a known geometry, and
#: ``whole`` does not look for the lungs first.
PROCESS = """
import json, resource, sys, time
import numpy as np, torch
from monai.inferers import sliding_window_inference
from monai.networks.nets import UNet
from safetensors.torch import load_file
from kicc_ml.data.canonical import CanonicalCT
from kicc_ml.models.mirrors import TTA_LEFT_RIGHT_FRONT_BACK
from kicc_ml.models import segmenter
from kicc_ml.models.segmenter import Segmenter, decide
from kicc_ml.models.networks import build_network
from kicc_ml.core.regions import REGIONS
from kicc_ml.core.types import Volume
from tests.support.peak_memory import read_peak_bytes

ways, folder, runs, settings = sys.argv[1].split(","), sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
torch.set_num_threads(settings["cores"])
network = build_network(settings["network"], settings["sizes"]).eval()
network.load_state_dict(load_file(folder + "/weights.safetensors"))
canonical = CanonicalCT(**settings["canonical"])
before = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
volume = Volume(np.load(folder + "/scan.npy"), np.load(folder + "/affine.npy"), "hu")

@torch.inference_mode()
def with_monai(window, network, overlap):
    seen = canonical(volume)
    logits = sliding_window_inference(seen.image_cxyz[None], window, 2, network, overlap=overlap, mode="gaussian")
    masks = decide(dict(zip(REGIONS, logits[0].sigmoid_().numpy())))
    return {region: masks[region] for region in REGIONS}

def segment(way):
    if way == "light":
        return with_monai(settings["light_window"], light, 0.25)
    if way == "monai":
        return with_monai(settings["patch"], network, 0.5)
    segmenter.LUNGS_FIRST_VOXELS = sys.maxsize if way == "whole" else LUNGS_FIRST_VOXELS
    mirrors = TTA_LEFT_RIGHT_FRONT_BACK if way == "full" else ((),)
    return Segmenter([network], canonical, settings["patch"], REGIONS, "hu", True, 0.5, mirrors).segment(volume)

LUNGS_FIRST_VOXELS = segmenter.LUNGS_FIRST_VOXELS
light = UNet(in_channels=1, out_channels=len(REGIONS), **settings["light"]).eval() if "light" in ways else None
seconds, peak = {way: [] for way in ways}, 0
for _ in range(runs):
    for way in ways:
        masks = None
        started = time.perf_counter()
        masks = segment(way)
        seconds[way].append(time.perf_counter() - started)
        peak = peak or read_peak_bytes() - before
        np.save(folder + f"/{way}.npy", np.stack([masks["lung"], masks["lesion"]]))
print(json.dumps({"seconds": seconds, "bytes": peak}))
"""


def chest(seed: int, matrix: int, slices: int) -> tuple[np.ndarray, np.ndarray]:
    """HU ``[x, y, z]`` along LPS and the masks in the order of REGIONS."""
    person = draw_physique(np.random.default_rng(seed), "MF"[seed % 2], 60)
    hospital = list(make_hospitals(0, ["a", "b", "c", "d"]).values())[seed % 4]
    grid = hospital.make_ct_grid(matrix, slices, person.lung_height_mm)
    thorax = add_pneumonia(make_healthy_thorax(seed, person, grid), seed, 0.2, consolidated_share=0.3)
    masks = [thorax.lung, thorax.left_lung, thorax.right_lung, thorax.lesion, thorax.consolidation]
    return scan_ct(hospital, thorax, seed).astype(np.float32), np.stack(masks)


def enlarged(hu: np.ndarray, shape: tuple[int, ...]) -> torch.Tensor:
    """HU in finer voxels, with noise of their own, as whole numbers."""
    fine = torch.nn.functional.interpolate(torch.from_numpy(hu)[None, None], shape, mode="trilinear")[0, 0]
    return (fine + 12 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).round().to(torch.int16)


def trained_network() -> torch.nn.Module:
    """The light network after a few minutes of training on slices of other chests."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = build_network(NETWORK, SIZES).train()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, STEPS)
    chests = [chest(seed, 256, SLICES) for seed in range(4, 4 + CHESTS)]
    fine = [(enlarged(hu, (512, 512, SLICES)), masks.repeat(2, axis=1).repeat(2, axis=2)) for hu, masks in chests]
    known = torch.ones(BATCH, len(REGIONS), dtype=torch.bool)
    for _ in range(STEPS):
        pairs = [one_slice(*fine[rng.integers(CHESTS)], rng) for _ in range(BATCH)]
        image, mask = (torch.stack(parts) for parts in zip(*pairs, strict=True))
        with fast_autocast("cpu"):
            logits = network(image)
        loss = training_loss(logits, mask, known)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def one_slice(hu: torch.Tensor, masks: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A patch of three slices, now and then in voxels twice as large, since lungs are looked for in these."""
    low, high = CANONICAL["window_hu"]
    step = 2 if rng.random() < 0.25 else 1
    first = [int(rng.integers(size - n + 1)) for size, n in zip(hu.shape, (192 * step, 192 * step, 3), strict=True)]
    part = tuple(
        slice(f, f + n, s) for f, n, s in zip(first, (192 * step, 192 * step, 3), (step, step, 1), strict=True)
    )
    image = ((hu[part].float() - low) / (high - low)).clip(0, 1)[None]
    return image, torch.from_numpy(masks[:, *part].astype(np.float32))
