"""Augmenting a batch of 8 patches of 96 cubed with their masks on two cores, every transform firing.

Beside the same transforms of MONAI (dictionary transforms, sample by sample) and of batchgeneratorsv2, nnU-Net's.
All have images of one channel, interpolated linearly, and masks of one channel, nearest. The others are given both
cores in the way that suits each better: one sample after the other with two threads, or two at a time with one.
"""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.intensity.brightness import BrightnessAdditiveTransform
from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from monai import transforms as monai

from kicc_ml.data.augment.transform import AugmentConfig, apply, draw

RUNS = 7
BATCH, SIDE = 8, 96
CORES = 2
TURN = np.deg2rad(15.0)
EVERYTHING = AugmentConfig(
    rotate=1, tilt_degrees=15, noise=1, blur=1, low_resolution=1, brightness=1, contrast=1, gamma=1
)

Samples = list[dict[str, torch.Tensor]]


def with_monai() -> monai.Compose:
    image, both = ["image"], ["image", "segmentation"]
    return monai.Compose(
        [
            monai.RandFlipd(both, prob=0.5, spatial_axis=0),
            monai.RandAffined(
                both,
                prob=1,
                rotate_range=[TURN] * 3,
                scale_range=[0.15] * 3,
                mode=["bilinear", "nearest"],
                padding_mode="reflection",
            ),
            monai.RandGaussianNoised(image, prob=1, std=0.05),
            monai.RandGaussianSmoothd(image, (0.5, 1.0), (0.5, 1.0), (0.5, 1.0), prob=1),
            monai.RandSimulateLowResolutiond(image, prob=1, zoom_range=(0.5, 1.0)),
            monai.RandShiftIntensityd(image, 0.1, prob=1),
            monai.RandScaleIntensityFixedMeand(image, 0.25, prob=1),
            monai.RandAdjustContrastd(image, prob=1, gamma=(0.7, 1.5)),
        ]
    )


def with_batchgenerators() -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    transforms: list[BasicTransform] = [
        SpatialTransform(
            (SIDE,) * 3,
            0,
            random_crop=False,
            p_rotation=1,
            rotation=(-TURN, TURN),
            p_scaling=1,
            scaling=(0.85, 1.2),
            p_synchronize_scaling_across_axes=1,
            mode_seg="nearest",
            border_mode_seg="reflection",
            padding_mode_image="reflection",
        ),
        MirrorTransform((0,)),
        GaussianNoiseTransform((0, 0.05)),
        GaussianBlurTransform((0.5, 1.0), synchronize_axes=True),
        SimulateLowResolutionTransform((0.5, 1.0), False, True, ignore_axes=None),
        BrightnessAdditiveTransform(0, 0.1),
        ContrastTransform((0.75, 1.25), preserve_range=False, synchronize_channels=False),
        GammaTransform((0.7, 1.5), 0, synchronize_channels=False, p_per_channel=1, p_retain_stats=0),
    ]
    composed = ComposeTransforms(transforms)
    return lambda sample: composed(**sample)


def one_after_the_other(make: Callable) -> Callable[[Samples], None]:
    transform = make()

    def run(samples: Samples) -> None:
        torch.stack([transform(dict(sample))["image"] for sample in samples])

    return run


def two_at_a_time(make: Callable) -> Callable[[Samples], None]:
    transforms = [make() for _ in range(CORES)]

    def of(share: int, samples: Samples) -> list[torch.Tensor]:
        return [transforms[share](dict(sample))["image"] for sample in samples[share::CORES]]

    def run(samples: Samples) -> None:
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(CORES) as pool:
                shares = list(pool.map(of, range(CORES), [samples] * CORES))
            torch.stack([image for share in shares for image in share])
        finally:
            torch.set_num_threads(CORES)

    return run


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@pytest.fixture(scope="module")
def medians() -> dict[str, float]:
    """Seconds a batch, each side in turn; of a peer's two ways the faster."""
    torch.set_num_threads(CORES)
    image = torch.rand(BATCH, 1, SIDE, SIDE, SIDE)
    bits = torch.randint(0, 32, (BATCH, SIDE, SIDE, SIDE), dtype=torch.uint8)
    samples = [{"image": one, "segmentation": labels[None].float()} for one, labels in zip(image, bits, strict=True)]
    parameters = draw(torch.Generator().manual_seed(0), BATCH, EVERYTHING)
    sides: dict[str, Callable[[], object]] = {"ours": lambda: apply(image, bits, parameters)}
    for name, make in (("MONAI", with_monai), ("batchgeneratorsv2", with_batchgenerators)):
        for way in (one_after_the_other, two_at_a_time):
            sides[f"{name}, {way.__name__}"] = partial(way(make), samples)
    times: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(RUNS + 1):  # the first one warms up
        for side, run in sides.items():
            times[side].append(seconds(run))
    result = {side: statistics.median(runs[1:]) for side, runs in times.items()}
    for side, median in result.items():
        print(f"\n{side}: {1000 * median:.0f} ms a batch", end="")
    return result


@pytest.mark.parametrize(("peer", "package", "ratio"), [("MONAI", "monai", 3.0), ("batchgeneratorsv2", "", 1.5)])
def test_a_batch_is_augmented_faster_than_by_the_same_transforms_sample_by_sample(
    medians: dict[str, float], peer: str, package: str, ratio: float
) -> None:
    best = min(median for side, median in medians.items() if side.startswith(peer))
    found = best / medians["ours"]
    print(f"\n{found:.1f} times as fast as {peer} {version(package or peer)} (at least {ratio})")
    assert found >= ratio


def test_a_small_batch_costs_little_more_a_voxel_than_a_large_one() -> None:
    """What a step of a few small patches pays: nothing but the voxels, or there would be no use in small steps."""
    torch.set_num_threads(CORES)
    a_voxel = {}
    for batch, shape in ((2, (80, 80, 40)), (BATCH, (SIDE, SIDE, SIDE))):
        image = torch.rand(batch, 1, *shape)
        bits = torch.randint(0, 32, (batch, *shape), dtype=torch.uint8)
        parameters = draw(torch.Generator().manual_seed(0), batch, EVERYTHING)
        runs = [seconds(partial(apply, image, bits, parameters)) for _ in range(RUNS + 1)]
        a_voxel[batch] = statistics.median(runs[1:]) / image.numel()
    print(f"\n{a_voxel[2] / a_voxel[BATCH]:.1f} times as much a voxel")
    assert a_voxel[2] < 3 * a_voxel[BATCH]
