"""Against google-deepmind/surface-distance, and by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from monai.metrics import compute_surface_dice
from scipy import ndimage
from torch import as_tensor

from kicc_ml.evaluation.surface import compute_surface_distances

SPACING_MM = (0.8, 1.0, 2.5)
TOLERANCES_MM = (1.0, 2.0, 3.0)
#: The areas of surface elements come from a table of single precision.
SAME = 1e-6


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """surface-distance 0.1, whose names are those of numpy 1 and scipy of its day."""
    metrics = pytest.importorskip("surface_distance.metrics")
    monkeypatch.setattr(np, "Inf", np.inf, raising=False)

    def figures(truth: np.ndarray, predicted: np.ndarray, spacing: tuple[float, ...]) -> list[float]:
        found = metrics.compute_surface_distances(truth, predicted, spacing)
        shares = [metrics.compute_surface_dice_at_tolerance(found, tolerance) for tolerance in TOLERANCES_MM]
        return [*shares, metrics.compute_robust_hausdorff(found, 95)]

    return figures


def ours(truth: np.ndarray, predicted: np.ndarray, spacing: tuple[float, ...]) -> list[float]:
    found = compute_surface_distances(truth, predicted, spacing)
    assert found is not None
    return [*(found.within(tolerance) for tolerance in TOLERANCES_MM), found.compute_hausdorff(95)]


def blobs(seed: int, shape: tuple[int, ...] = (24, 20, 14)) -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping random masks; they also touch the border of the image."""
    noise = np.random.default_rng(seed).normal(size=(2, *shape))
    smooth = [ndimage.gaussian_filter(noise[0] + share * noise[1], 2) for share in (0.0, 0.5)]
    return smooth[0] > 0.03, smooth[1] > 0.03


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("shape", [(24, 20, 14), (40, 33)])
def test_surface_dice_and_hd95_are_those_of_surface_distance(theirs: Callable, seed: int, shape: tuple) -> None:
    truth, predicted = blobs(seed, shape)
    spacing = SPACING_MM[: len(shape)]
    np.testing.assert_allclose(ours(truth, predicted, spacing), theirs(truth, predicted, spacing), rtol=0, atol=SAME)


@pytest.mark.parametrize("seed", range(4))
def test_so_they_are_for_noise_without_any_shape(theirs: Callable, seed: int) -> None:
    truth, predicted = np.random.default_rng(seed).random((2, 9, 8, 7)) > 0.6
    np.testing.assert_allclose(
        ours(truth, predicted, SPACING_MM), theirs(truth, predicted, SPACING_MM), rtol=0, atol=SAME
    )


@pytest.mark.parametrize("tolerance", TOLERANCES_MM)
def test_surface_dice_is_that_of_monai_with_surface_elements(tolerance: float) -> None:
    truth, predicted = blobs(3)
    found = compute_surface_distances(truth, predicted, SPACING_MM)
    assert found is not None
    expected = compute_surface_dice(
        *(as_tensor(mask[None, None]) for mask in (predicted, truth)),
        [tolerance],
        include_background=True,
        spacing=SPACING_MM,
        use_subvoxels=True,
    )
    assert found.within(tolerance) == pytest.approx(float(expected), abs=1e-5)


def test_a_cube_moved_by_two_millimetres_has_its_faces_two_millimetres_away() -> None:
    truth = np.zeros((30, 30, 30), bool)
    truth[5:25, 5:25, 5:25] = True
    found = compute_surface_distances(truth, np.roll(truth, 1, axis=0), (2.0, 1.0, 1.0))
    assert found is not None
    assert found.compute_hausdorff(100) == pytest.approx(2.0)
    assert found.from_truth_n.min() == 0.0
    assert found.within(2.0) == 1.0
    # a fifth of the surface of the box (40 x 20 x 20 mm) is the two faces; the rest coincides but for a rim
    assert found.within(0.0) == pytest.approx(1 - 800 / 4000, abs=0.06)


def test_a_mask_and_itself_are_no_distance_apart_and_position_does_not_matter() -> None:
    truth, predicted = blobs(0)
    same = compute_surface_distances(truth, truth, SPACING_MM)
    assert same is not None
    assert (same.within(0.0), same.compute_hausdorff(100)) == (1.0, 0.0)
    wider = [np.pad(mask, ((5, 40), (0, 9), (3, 3))) for mask in (truth, predicted)]
    assert ours(wider[0], wider[1], SPACING_MM) == ours(truth, predicted, SPACING_MM)


def test_an_empty_mask_has_no_surface() -> None:
    truth, _ = blobs(0)
    nothing = np.zeros_like(truth)
    assert compute_surface_distances(truth, nothing, SPACING_MM) is None
    assert compute_surface_distances(nothing, truth, SPACING_MM) is None
    assert compute_surface_distances(nothing, nothing, SPACING_MM) is None
