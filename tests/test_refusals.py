"""What is no chest CT in HU, or unlike the good scans of other hospitals, is refused or flagged; good scans are not.

Lungs are found here by their values, so that nothing hangs on a trained network.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from kicc_ml.clinic.outputs import OofCases
from kicc_ml.core.types import Volume
from kicc_ml.severity.domain_shift import UnsuitableImage, check_hounsfield, check_lungs
from kicc_ml.severity.image_features import measure_ct_features
from kicc_ml.synthetic.anatomy import draw_physique
from kicc_ml.synthetic.hospital import make_hospitals, scan_ct
from kicc_ml.synthetic.lesions import add_pneumonia
from kicc_ml.synthetic.thorax import make_healthy_thorax

SITES, EACH, MATRIX, SLICES = 6, 3, 64, 24
LPS = np.diag([-5.0, -5.0, 5.0, 1.0])


def chest(seed: int) -> Volume:
    """A synthetic patient of one of ``SITES`` hospitals."""
    person = draw_physique(np.random.default_rng(seed), "MF"[seed % 2], 60)
    hospital = list(make_hospitals(0, [f"h{site}" for site in range(SITES)]).values())[seed % SITES]
    grid = hospital.make_ct_grid(MATRIX, SLICES, person.lung_height_mm)
    thorax = add_pneumonia(make_healthy_thorax(seed, person, grid), seed, 0.15, consolidated_share=0.2)
    affine_ras = np.diag([-grid.spacing_mm[0], -grid.spacing_mm[1], grid.spacing_mm[2], 1.0])
    return Volume(scan_ct(hospital, thorax, seed).astype(np.int16), affine_ras, "hu")


def found_by_value(volume: Volume) -> dict[str, np.ndarray]:
    """Air inside the body, in pieces of at least a tenth of the largest; sides by the middle of the lung."""
    pieces, count = ndimage.label(volume.array < -400)
    outside = np.unique(np.concatenate([pieces[[0, -1]].ravel(), pieces[:, [0, -1]].ravel()]))
    sizes = ndimage.sum_labels(np.ones(pieces.shape), pieces, np.arange(count + 1))
    sizes[outside] = sizes[0] = 0
    lung = (sizes >= max(1, 0.1 * sizes.max()))[pieces]
    right = np.zeros_like(lung)
    if lung.any():
        right[: int(np.nonzero(lung)[0].mean())] = lung[: int(np.nonzero(lung)[0].mean())]
    return {"lung": lung, "right_lung": right, "left_lung": lung & ~right, "lesion": np.zeros_like(lung)}


@pytest.fixture(scope="module")
def good() -> pd.DataFrame:
    rows = []
    for seed in range(SITES * EACH):
        volume = chest(seed)
        rows.append({"site": f"h{seed % SITES}", **measure_ct_features(volume, found_by_value(volume))})
    return pd.DataFrame(rows)


def verdict(volume: Volume, others: pd.DataFrame) -> str:
    """``refused``, ``flagged`` or ``within``, as ``kicc-ml predict`` comes to it."""
    masks = found_by_value(volume)
    try:
        check_hounsfield(volume)
        check_lungs(float(masks["lung"].sum() * np.prod(volume.spacing_mm) / 1000))
    except UnsuitableImage:
        return "refused"
    standing, reasons = OofCases(others).check_domain(measure_ct_features(volume, masks))
    assert bool(reasons) == (standing == "outside")
    return {"inside": "within", "outside": "flagged", "unchecked": "unchecked"}[standing]


def body() -> tuple[np.ndarray, np.ndarray]:
    """An ellipse of soft tissue in air with noise, and its coordinates in shares of its half axes."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (72, 56, 40)), indexing="ij")
    hu = np.where((x / 0.8) ** 2 + (y / 0.8) ** 2 < 1, 45.0, -1000.0)
    return hu + np.random.default_rng(0).normal(0, 15, hu.shape), np.stack([x, y, z])


def abdomen() -> Volume:
    """Bowel gas in some pockets, a spine."""
    hu, place = body()
    for centre in ((-0.3, -0.4, -0.5), (0.2, -0.4, 0.0), (0.4, -0.2, 0.5)):
        hu[((place - np.reshape(centre, (3, 1, 1, 1))) ** 2).sum(0) < 0.02] = -950
    hu[(place[0] ** 2 + (place[1] - 0.5) ** 2) < 0.02] = 400
    return Volume(hu.astype(np.int16), LPS, "hu")


def head() -> Volume:
    """A skull with two air-filled sinuses, 180 mm wide."""
    hu, (x, y, z) = body()
    radius = (x / 0.8) ** 2 + (y / 0.8) ** 2
    hu[(radius > 0.8) & (radius < 1)] = 900
    for side in (-0.25, 0.25):
        hu[(x - side) ** 2 + (y + 0.5) ** 2 + (z + 0.3) ** 2 < 0.015] = -980
    return Volume(hu.astype(np.int16), np.diag([-2.5, -3.2, 4.0, 1.0]), "hu")


def changed(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[], Volume]:
    def make() -> Volume:
        volume = chest(3)
        return Volume(change(volume.array.astype(float)).round().astype(np.int16), volume.affine_ras, "hu")

    return make


def equalised(hu: np.ndarray) -> np.ndarray:
    """Eight bits of which each is as frequent: what a screen shot holds."""
    ranks = np.searchsorted(np.sort(hu.ravel()), hu.ravel()) / hu.size
    return np.floor(256 * ranks).reshape(hu.shape)


def half_outside() -> Volume:
    volume = chest(3)
    return Volume(volume.array[:, :, SLICES // 2 :], volume.affine_ras, "hu")


STRANGE: dict[str, Callable[[], Volume]] = {
    "abdomen": abdomen,
    "head": head,
    "lungs half outside": half_outside,
    "inverted intensities": changed(lambda hu: -hu),
    "8-bit equalised": changed(equalised),
    "extreme noise": changed(lambda hu: hu + np.random.default_rng(0).normal(0, 250, hu.shape)),
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_is_strange_is_refused_or_flagged(name: str, good: pd.DataFrame):
    assert verdict(STRANGE[name](), good) in ("refused", "flagged")


@pytest.mark.parametrize("name", ["abdomen", "head", "inverted intensities", "8-bit equalised"])
def test_what_is_no_chest_in_hounsfield_units_is_refused_even_without_other_hospitals(name: str):
    assert verdict(STRANGE[name](), pd.DataFrame()) == "refused"


def test_of_held_out_hospitals_good_scans_at_most_one_in_twenty_is_flagged(good: pd.DataFrame):
    verdicts = [verdict(chest(seed), good[good["site"] != f"h{seed % SITES}"]) for seed in range(100, 124)]
    assert set(verdicts) <= {"within", "flagged"}
    assert verdicts.count("flagged") <= len(verdicts) / 20
