"""A film that is no frontal chest, or unlike those of other hospitals, is refused or flagged; good ones are not.

Films are shadows of synthetic patients; lungs are marked as a reader would, so that nothing hangs on a trained network.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import pytest

from kicc_ml.clinic.outputs import OofCases
from kicc_ml.core.types import Volume
from kicc_ml.dicom.volume.read import place_frontal
from kicc_ml.severity.domain_shift import UnsuitableImage, check_lung_fields
from kicc_ml.severity.image_features import find_lungs, measure_radiograph_features
from tests.support.phantom_films import EACH, SITES, Film, film


def placed(one: Film) -> tuple[Volume, dict[str, np.ndarray]]:
    grey, masks, pixel_mm = one
    volume = place_frontal(grey, "arbitrary", (pixel_mm, pixel_mm))
    return volume, {name: mask[..., None] for name, mask in masks.items()}


@pytest.fixture(scope="module")
def good() -> pd.DataFrame:
    features = {seed: measure_radiograph_features(*placed(film(seed))) for seed in range(SITES * EACH)}
    return pd.DataFrame([{"site": f"h{seed % SITES}", **row} for seed, row in features.items()])


def verdict(one: Film, others: pd.DataFrame) -> str:
    """``refused``, ``flagged`` or ``within``, as ``kicc-ml predict`` comes to it."""
    volume, masks = placed(one)
    try:
        check_lung_fields(find_lungs(masks))
    except UnsuitableImage:
        return "refused"
    standing, unlike = OofCases(others).check_domain(measure_radiograph_features(volume, masks))
    assert bool(unlike) == (standing == "outside")
    return {"inside": "within", "outside": "flagged", "unchecked": "unchecked"}[standing]


def cropped(part: Callable[[np.ndarray], np.ndarray]) -> Callable[[Film], Film]:
    return lambda one: (part(one[0]), {name: part(mask) for name, mask in one[1].items()}, one[2])


def of_grey(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Film], Film]:
    return lambda one: (change(one[0]), one[1], one[2])


def noise(grey: np.ndarray) -> np.ndarray:
    return grey + np.random.default_rng(0).normal(0, 0.2 * np.ptp(grey), grey.shape)


def abdomen(one: Film) -> Film:
    """Bright throughout but for two pockets of gas, of which the larger is taken for lung."""
    gas = np.zeros(one[0].shape, bool)
    gas[30:42, 20:30] = True
    return np.where(gas, 500.0, one[0].max() - 0.1 * one[0]), {"lung": gas}, one[2]


STRANGE: Mapping[str, Callable[[Film], Film]] = {
    "negative": of_grey(lambda grey: grey.max() - grey),
    "right half outside": cropped(lambda array: array[array.shape[0] * 2 // 5 :]),
    "lower half outside": cropped(lambda array: array[:, : array.shape[1] // 2]),
    "abdomen": abdomen,
    "heavy noise": of_grey(noise),
    "of a child, or with another pixel spacing": lambda one: (one[0], one[1], one[2] / 2),
}


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("seed", [3, 8])
def test_a_strange_film_is_refused_or_flagged(name: str, seed: int, good: pd.DataFrame):
    others = good[good["site"] != f"h{seed % SITES}"]
    assert verdict(film(seed), others) == "within"
    assert verdict(STRANGE[name](film(seed)), others) in ("refused", "flagged")


def test_an_abdomen_is_refused_even_without_other_hospitals():
    assert verdict(abdomen(film(3)), pd.DataFrame()) == "refused"


@pytest.mark.slow
def test_of_held_out_hospitals_good_films_at_most_one_in_twenty_is_flagged(good: pd.DataFrame):
    verdicts = [verdict(film(seed), good[good["site"] != f"h{seed % SITES}"]) for seed in range(100, 140)]
    assert set(verdicts) <= {"within", "flagged"}
    assert verdicts.count("flagged") <= len(verdicts) / 20
