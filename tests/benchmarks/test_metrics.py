"""Surface metrics of one case of 300 x 512 x 512 with three structures against MONAI and surface-distance."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import pytest
from monai.metrics import compute_dice as monai_dice
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from scipy import ndimage
from torch import Tensor, as_tensor

from kicc_ml.evaluation.segmentation import compute_dice
from kicc_ml.evaluation.surface import compute_surface_distances

SHAPE_ZYX = (300, 512, 512)
SPACING_MM = (1.0, 0.7, 0.7)
TOLERANCES_MM = (1.0, 2.0, 3.0)
RUNS = 5
#: What is asked.
FASTER_THAN_MONAI, FASTER_THAN_SURFACE_DISTANCE = 5, 3
#: Areas of surface elements come from a table of single precision.
SAME = 1e-6

Masks = dict[str, np.ndarray]


def ellipsoid(centre: tuple[float, ...], radius: tuple[float, ...]) -> np.ndarray:
    grid = np.ogrid[tuple(slice(0, size) for size in SHAPE_ZYX)]
    return sum(((axis - c) / r) ** 2 for axis, c, r in zip(grid, centre, radius, strict=True)) < 1


def case() -> tuple[Masks, Masks]:
    """Two lungs and scattered lesions; the prediction is a voxel or two off."""
    noise = ndimage.zoom(
        np.random.default_rng(0).normal(size=(20, 32, 32)), np.array(SHAPE_ZYX) / (20, 32, 32), order=1
    )
    truth = {"left": ellipsoid((150, 256, 350), (135, 120, 85)), "right": ellipsoid((150, 256, 160), (135, 125, 90))}
    predicted = {
        "left": ellipsoid((151, 257, 352), (134, 119, 85)),
        "right": ellipsoid((149, 255, 161), (136, 124, 91)),
    }
    for masks, level in ((truth, 0.9), (predicted, 1.0)):
        masks["lesion"] = (masks["left"] | masks["right"]) & (noise > level)
    return truth, predicted


def with_kicc_ml(truth: np.ndarray, predicted: np.ndarray) -> list[float]:
    found = compute_surface_distances(truth, predicted, SPACING_MM)
    overlap = compute_dice(truth, predicted)
    assert found is not None
    assert overlap is not None
    return [overlap, *(found.within(tolerance) for tolerance in TOLERANCES_MM), found.compute_hausdorff(95)]


def with_monai(truth: np.ndarray, predicted: np.ndarray) -> list[Tensor]:
    """Surface Dice at one tolerance only: each costs a call, and the comparison is to be fair."""
    pair = [as_tensor(mask[None, None]) for mask in (predicted, truth)]
    near = compute_surface_dice(*pair, [1.0], include_background=True, spacing=SPACING_MM, use_subvoxels=True)
    far = compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=SPACING_MM)
    return [monai_dice(*pair, include_background=True), near, far]


@pytest.fixture
def with_surface_distance(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    metrics = pytest.importorskip("surface_distance.metrics")
    monkeypatch.setattr(np, "Inf", np.inf, raising=False)  # its names are those of numpy 1

    def figures(truth: np.ndarray, predicted: np.ndarray) -> list[float]:
        found = metrics.compute_surface_distances(truth, predicted, SPACING_MM)
        near = [metrics.compute_surface_dice_at_tolerance(found, tolerance) for tolerance in TOLERANCES_MM]
        return [metrics.compute_dice_coefficient(truth, predicted), *near, metrics.compute_robust_hausdorff(found, 95)]

    return figures


def timed(figures: Callable[..., list], truth: Masks, predicted: Masks) -> tuple[float, list]:
    start = time.perf_counter()
    found = [figures(truth[region], predicted[region]) for region in truth]
    return time.perf_counter() - start, found


def test_surface_metrics_are_5_times_monai_and_3_times_surface_distance(with_surface_distance: Callable) -> None:
    truth, predicted = case()
    seconds: dict[str, list[float]] = {"kicc_ml": [], "MONAI": [], "surface-distance": []}
    for _ in range(RUNS):
        for name, figures in zip(seconds, (with_kicc_ml, with_monai, with_surface_distance), strict=True):
            took, found = timed(figures, truth, predicted)
            seconds[name].append(took)
            if name == "kicc_ml":
                ours = found
    np.testing.assert_allclose(ours, found, rtol=0, atol=SAME)  # surface-distance came last
    median = {name: statistics.median(runs) for name, runs in seconds.items()}
    ratio = {name: median[name] / median["kicc_ml"] for name in ("MONAI", "surface-distance")}
    print(
        f"\nsurface metrics: {median['kicc_ml']:.1f} s; "
        + ", ".join(f"{name} {times:.1f}x" for name, times in ratio.items())
    )
    assert ratio["MONAI"] >= FASTER_THAN_MONAI
    assert ratio["surface-distance"] >= FASTER_THAN_SURFACE_DISTANCE
