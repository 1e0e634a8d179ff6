"""Patches from the store to a training batch, half of them about a lesion, volumes of 512 x 512 x 300 voxels.

Beside MONAI's ways, each side with the same volumes, patch size and batch size, in the process itself, in turn,
page cache warm: ``PersistentDataset`` (volumes on disk), and ``CacheDataset`` with the indices of lesion and
background computed beforehand (volumes in memory), both cut by ``RandCropByPosNegLabeld``.
"""

import gc
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from monai.data import CacheDataset, PersistentDataset
from monai.networks.nets import UNet
from monai.transforms import Compose, FgBgToIndicesd, Lambdad, RandCropByPosNegLabeld
from torch.utils.data import DataLoader

from kicc_ml.core.regions import REGIONS
from kicc_ml.core.types import Case, Split
from kicc_ml.data.augment.transform import AugmentConfig
from kicc_ml.data.batches import Labelled, TrainPatches, loader
from kicc_ml.data.canonical import CanonicalCT
from kicc_ml.data.datamodule import PatchDataModule
from kicc_ml.data.sampling import EpochSampler
from kicc_ml.data.store import VolumeStore
from kicc_ml.data.stored_volume import StoredVolume
from kicc_ml.models.segmentation import SegmentationTask

RUNS = 5
VOLUMES = 2
SHAPE = (512, 512, 300)
SMALL = (128, 128, 100)
PATCH = (96, 96, 96)
BATCH = 2
BATCHES = 8


def write_volume(folder: Path, shape: tuple[int, int, int], seed: int) -> Labelled:
    """A volume as the store writes it: lungs on both sides, a lesion in one of them."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    plane = rng.random(shape[1:], np.float32).astype(np.float16)
    image = np.lib.format.open_memmap(folder / "image.npy", "w+", np.float16, (1, *shape))
    image[0] = plane
    bits = np.zeros(shape, np.uint8)
    x, y, z = (size // 8 for size in shape)
    bits[x : 3 * x, 2 * y : 6 * y, z:-z] = 1 << REGIONS.index("lung")
    bits[5 * x : 7 * x, 2 * y : 6 * y, z:-z] = 1 << REGIONS.index("lung")
    bits[2 * x : 2 * x + 20, 3 * y : 3 * y + 20, 3 * z : 3 * z + 20] |= 1 << REGIONS.index("lesion")
    np.save(folder / "regions.npy", bits)
    lesion = np.argwhere(bits >> REGIONS.index("lesion") & 1).astype(np.int32)
    np.save(folder / "lesion_index.npy", rng.permutation(lesion)[:4096])
    meta = {"affine_ras": np.eye(4).tolist(), "shape": shape, "spacing_known": True, "regions": ["lung", "lesion"]}
    (folder / "meta.json").write_text(json.dumps(meta))
    return Labelled(folder.name, "a", StoredVolume(folder))


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> list[Labelled]:
    root = tmp_path_factory.mktemp("store")
    return [write_volume(root / f"v{seed}", SHAPE, seed) for seed in range(VOLUMES)]


def patch_loader(volumes: list[Labelled], workers: int = 0) -> DataLoader:
    patches = TrainPatches(volumes, [], PATCH, 0.5, None, 0)
    return loader(patches, BATCH, workers, EpochSampler(10_000, BATCH))


def from_store(volumes: list[Labelled]) -> Iterator[dict]:
    """Batches with a float32 image, as MONAI gives them; masks have one channel on all sides."""
    for batch in patch_loader(volumes):
        yield batch | {"image_bcxyz": batch["image_bcxyz"].float()}


def read_whole(name: str, volume: StoredVolume) -> np.ndarray:
    if name == "image":
        return np.asarray(volume.image_cxyz, np.float32)
    return np.asarray(volume.bits_xyz)[None]


def lesion_of(bits: Any) -> Any:
    return (bits >> REGIONS.index("lesion")) & 1


def reading(*more: Any) -> list[Any]:
    """Image and region bits of a volume as MONAI's transforms want them: read whole, float32."""
    read = [Lambdad(name, lambda volume, name=name: read_whole(name, volume)) for name in ("image", "bits")]
    return [*read, Lambdad("lesion", lesion_of), *more]


def cropping(**indices: str) -> RandCropByPosNegLabeld:
    return RandCropByPosNegLabeld(["image", "bits"], "lesion", PATCH, pos=1, neg=1, num_samples=1, **indices)


def without_lesion_key(samples: list[dict]) -> dict:
    return {key: torch.as_tensor(samples[0][key]) for key in ("image", "bits")}


def monai_batches(dataset: Any) -> Iterator[dict]:
    while True:
        for start in range(len(dataset)):
            samples = [without_lesion_key(dataset[(start + place) % len(dataset)]) for place in range(BATCH)]
            yield {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


def items(volumes: list[Labelled]) -> list[dict]:
    return [{"image": one.volume, "bits": one.volume, "lesion": one.volume} for one in volumes]


def persistent(volumes: list[Labelled], folder: Path) -> Iterator[dict]:
    """``lesion`` is read from the store, like the bits it is made of."""
    steps = [Lambdad("lesion", lambda volume: read_whole("bits", volume)), *reading(), cropping()]
    return monai_batches(PersistentDataset(items(volumes), Compose(steps), folder))


def cached(volumes: list[Labelled]) -> Iterator[dict]:
    indices = FgBgToIndicesd("lesion")
    steps = [
        Lambdad("lesion", lambda volume: read_whole("bits", volume)),
        *reading(indices),
        cropping(fg_indices_key="lesion_fg_indices", bg_indices_key="lesion_bg_indices"),
    ]
    return monai_batches(CacheDataset(items(volumes), Compose(steps), num_workers=1, progress=False, copy_cache=False))


def resident_mib() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def patches_per_second(batches: Iterator[Any], count: int) -> float:
    start = time.perf_counter()
    drawn = sum(1 for _ in islice(batches, count))
    return drawn * BATCH / (time.perf_counter() - start)


def median_rates(sides: dict[str, Iterator[Any]], counts: dict[str, int]) -> dict[str, float]:
    """Patches per second of each side, in turn, the first turn to warm up."""
    rates: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(RUNS + 1):
        for side, batches in sides.items():
            rates[side].append(patches_per_second(batches, counts[side]))
    medians = {side: statistics.median(found[1:]) for side, found in rates.items()}
    for side, rate in medians.items():
        print(f"\n{side}: {rate:.1f} patches a second", end="")
    return medians


def test_patches_come_ten_times_as_fast_as_from_whole_volumes_on_disk(volumes: list[Labelled], tmp_path: Path) -> None:
    sides = {"store": from_store(volumes), "PersistentDataset": persistent(volumes, tmp_path)}
    medians = median_rates(sides, {"store": BATCHES, "PersistentDataset": 1})
    ratio = medians["store"] / medians["PersistentDataset"]
    print(f"\n{ratio:.1f} times as fast as MONAI {version('monai')} PersistentDataset (at least 10)")
    assert ratio >= 10


def test_patches_come_as_fast_as_from_memory_at_a_tenth_of_it(volumes: list[Labelled]) -> None:
    before = resident_mib()
    ours = from_store(volumes)
    next(ours)
    in_store = resident_mib() - before
    before = resident_mib()
    sides = {"store": ours, "CacheDataset": cached(volumes)}
    next(sides["CacheDataset"])
    in_memory = resident_mib() - before
    medians = median_rates(sides, {"store": BATCHES, "CacheDataset": BATCHES})
    print(f"\nresident: {in_store:.0f} MiB beside {in_memory:.0f} MiB of CacheDataset (at most a tenth)")
    print(f"{medians['store'] / medians['CacheDataset']:.2f} times the rate of CacheDataset (at least 1)")
    assert in_store <= in_memory / 10
    assert medians["store"] >= medians["CacheDataset"]


def test_throughput_does_not_depend_on_the_size_of_the_volume(volumes: list[Labelled], tmp_path: Path) -> None:
    small = [write_volume(tmp_path / "small", SMALL, 0)]
    medians = median_rates(
        {"large": from_store(volumes), "small": from_store(small)}, {"large": BATCHES, "small": BATCHES}
    )
    print(f"\n{medians['large'] / medians['small']:.2f} of the rate of volumes a fiftieth of the size")
    assert medians["large"] >= 0.5 * medians["small"]


def private_mib(process: int) -> float:
    """Memory of a process that it shares with no other."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1024


def test_workers_hold_no_copy_of_the_volumes(volumes: list[Labelled]) -> None:
    batches = iter(patch_loader(volumes, workers=2))
    for _ in range(20):
        next(batches)
    size_mib = VOLUMES * np.prod(SHAPE) * 3 / 2**20
    held = [private_mib(worker.pid) for worker in multiprocessing.active_children()]
    print(f"\n{max(held):.0f} MiB of a worker's own, beside volumes of {size_mib:.0f} MiB")
    assert max(held) < size_mib / 4


class StepTimes(pl.Callback):
    def __init__(self) -> None:
        self.starts: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.starts.append(time.perf_counter())

    def median_s(self, first: int) -> float:
        return statistics.median(np.diff(self.starts[first:]))


class OneBatch:
    """The same batch again and again, as the loader gives it."""

    def __init__(self, batch: dict, count: int) -> None:
        self.batch, self.count = batch, count

    def __iter__(self) -> Iterator[dict]:
        for _ in range(self.count):
            yield dict(self.batch)

    def __len__(self) -> int:
        return self.count


class ReadyPatches(PatchDataModule):
    """On volumes that are in the store already."""

    def prepare_data(self) -> None: ...

    def setup(self, stage: str | None = None) -> None: ...


def step_time(data: PatchDataModule, folder: Path, steps: int) -> float:
    times = StepTimes()
    network = UNet(3, 1, len(REGIONS), channels=(16, 32, 64, 128), strides=(2, 2, 2))  # unet_light
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[times],
        default_root_dir=folder,
    )
    trainer.fit(SegmentationTask(network, PATCH, 1e-3, 0.0), datamodule=data)
    return times.median_s(first=1)


def test_a_step_takes_no_longer_for_the_input_pipeline(volumes: list[Labelled], tmp_path: Path) -> None:
    """Step time with patches from the store over that with one constant batch; both are augmented."""
    steps = 12

    def data_module() -> PatchDataModule:
        cases = [Case(one.case_id, "a", one.case_id) for one in volumes]
        split = Split("f", tuple(case.case_id for case in cases), (), (), {case.case_id: "p" for case in cases})
        module = ReadyPatches(
            cases, split, VolumeStore(tmp_path), CanonicalCT(), PATCH, BATCH, steps * BATCH, augment=AugmentConfig()
        )
        module.train_cases, module.volumes = cases, {one.case_id: one.volume for one in volumes}
        return module

    ratios = []
    for _ in range(3):
        constant = data_module()
        batch = next(iter(constant.train_dataloader()))
        constant.train_dataloader = lambda batch=batch: OneBatch(batch, steps)  # type: ignore[method-assign]
        ratios.append(step_time(data_module(), tmp_path, steps) / step_time(constant, tmp_path, steps))
    print(f"\nstep time over that of a constant batch: {statistics.median(ratios):.2f} (at most 1.10)")
    assert statistics.median(ratios) <= 1.10
