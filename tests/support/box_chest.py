"""A chest of boxes as CT and as radiograph, with known numbers."""

import numpy as np

from kicc_ml.core.types import Volume

AFFINE_RAS = np.diag([-3.0, -3.0, 5.0, 1.0])


def chest(noise_hu: float = 15.0, seed: int = 0) -> tuple[Volume, dict[str, np.ndarray]]:
    """A box of soft tissue in air with two lungs, 300 x 240 x 250 mm."""
    right, left = np.zeros((2, 100, 80, 50), bool)
    right[15:45, 20:60, 5:45] = True
    left[55:83, 20:60, 5:45] = True
    hu = np.full((100, 80, 50), -1000.0)
    hu[5:95, 8:72] = 40
    hu[right | left] = -850
    hu += np.random.default_rng(seed).normal(0, noise_hu, hu.shape)
    lesion = np.zeros_like(right)
    return Volume(hu.round().astype(np.int16), AFFINE_RAS, "hu"), {
        "right_lung": right,
        "left_lung": left,
        "lesion": lesion,
    }


def film(noise: float = 20.0, fine: int = 1) -> tuple[Volume, dict[str, np.ndarray]]:
    """256 x 200 pixels of 1.5 mm, ``fine`` times as fine: two dark lungs in a bright body, black beyond it."""
    right, left = np.zeros((2, 256, 200, 1), bool)
    right[40:110, 30:150], left[140:200, 50:150] = True, True
    grey = np.full(right.shape, 3000.0)
    grey[:15], grey[right | left] = 0, 1000
    grey += np.random.default_rng(0).normal(0, noise, grey.shape)
    finer = np.ones((fine, fine, 1))
    affine_ras = np.diag([1.5 / fine, 1.5 / fine, 1.5 / fine, 1])
    masks = {"right_lung": right, "left_lung": left, "lesion": np.zeros_like(right)}
    return Volume(np.kron(grey, finer), affine_ras, "arbitrary"), {
        name: np.kron(mask, finer) > 0 for name, mask in masks.items()
    }
