"""How much of the lung fields is opaque is told from grey values that exposure and window leave alone."""

import numpy as np
import pytest
from scipy import ndimage

from kicc_ml.models.baselines.opacity_share_fit import fit_opacity_share
from kicc_ml.models.opacity_share import FEATURES, OpacityShare, mark_share, measure_lung_fields

SIZE = 96


def draw_chest(opaque: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A chest of two dark lungs full of vessels; the lower ``opaque`` part of both is bright and blurred."""
    rng = np.random.default_rng(seed)
    x, y = np.mgrid[:SIZE, :SIZE]
    lung = (abs(abs(x - SIZE / 2) - 22) < 14) & (abs(y - SIZE / 2) < 34)
    vessels = 0.06 * rng.standard_normal((SIZE, SIZE))
    grey = np.where(lung, 0.25 + vessels, 0.7)
    filled = lung & (y > SIZE / 2 + 34 - 68 * opaque)
    grey[filled] = (0.55 + ndimage.gaussian_filter(vessels, 2))[filled]
    return ndimage.gaussian_filter(grey, 0.5), lung


@pytest.fixture(scope="module")
def model() -> OpacityShare:
    """Learnt on 40 chests of five hospitals, of which ten are clear."""
    shares = np.array([0.0 if number % 4 == 0 else (number % 9) / 10 for number in range(40)])
    rows = [measure_lung_fields(*draw_chest(share, number)) for number, share in enumerate(shares)]
    fitted = fit_opacity_share(np.array(rows), shares, np.arange(40) % 5)
    assert fitted is not None
    return fitted


def tell(model: OpacityShare, grey_xy: np.ndarray, lung_xy: np.ndarray) -> float:
    features = measure_lung_fields(grey_xy, lung_xy)
    assert features is not None
    assert features.shape == (FEATURES,)
    return float(model(features[None])[0])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_the_share_of_a_new_chest_is_told(model: OpacityShare, share: float):
    assert tell(model, *draw_chest(share, 100)) == pytest.approx(share, abs=0.1)


def test_neither_exposure_nor_window_makes_clear_lungs_opaque(model: OpacityShare):
    grey, lung = draw_chest(0.0, 101)
    for brighter in (0.5 * grey + 0.4, 0.2 * grey, grey**0.6):
        assert tell(model, brighter, lung) < 0.1


def test_a_mirrored_chest_has_the_same_features():
    grey, lung = draw_chest(0.4, 102)
    one, other = measure_lung_fields(grey, lung), measure_lung_fields(grey[::-1], lung[::-1])
    np.testing.assert_allclose(one, other, atol=1e-2)


def test_without_lungs_nothing_is_told():
    grey, lung = draw_chest(0.4, 103)
    assert measure_lung_fields(grey, np.zeros_like(lung)) is None
    assert measure_lung_fields(grey, np.ones_like(lung)) is None


@pytest.mark.parametrize(("radiographs", "hospitals", "spread"), [(19, 5, 0.3), (40, 2, 0.3), (40, 5, 0.0)])
def test_too_few_radiographs_or_hospitals_or_one_share_give_no_model(radiographs: int, hospitals: int, spread: float):
    rng = np.random.default_rng(1)
    table = rng.standard_normal((radiographs, FEATURES))
    share = np.clip(0.5 + spread * rng.standard_normal(radiographs), 0, 1)
    assert fit_opacity_share(table, share, np.arange(radiographs) % hospitals) is None


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("certainty", [0.01, 0.5, 0.99])
def test_as_much_of_the_lungs_is_marked_as_the_share_says_however_sure_the_network_is(share: float, certainty: float):
    grey, lung = draw_chest(0.4, 104)
    marked = mark_share(np.full(grey.shape, certainty), grey, lung, share, 0.35)[lung] > 0.35
    assert marked.mean() == pytest.approx(share, abs=0.01)


def test_what_the_network_is_surest_of_is_marked_first():
    grey, lung = draw_chest(0.0, 105)
    network = np.full(grey.shape, 0.97)  # calls all of it opaque, and the left upper part the most
    sure = lung & (np.arange(SIZE)[:, None] > SIZE / 2) & (np.arange(SIZE) < SIZE / 2)
    network[sure] = 0.999
    marked = mark_share(network, np.full(grey.shape, 0.3), lung, sure.sum() / lung.sum(), 0.5) > 0.5
    assert (marked & lung == sure).all()
