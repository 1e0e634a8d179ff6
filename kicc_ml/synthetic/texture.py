"""Smooth random fields in millimetre space, which are the same on any grid."""

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

# Holds any chest of this phantom in its own frame, with margin; outside, the nearest value goes on.
BOX_FIRST_MM = np.array([-190.0, -140.0, -60.0], np.float32)
BOX_SIZE_MM = np.array([380.0, 280.0, 380.0], np.float32)
SMOOTHING = 0.9  # lattice steps; hides the lattice under linear interpolation


class Texture:
    """A Gaussian random field of mean 0 and deviation 1 whose features are about ``cell_mm`` across."""

    def __init__(self, rng: np.random.Generator, cell_mm: float) -> None:
        self.step_mm = cell_mm / 2
        shape = np.ceil(BOX_SIZE_MM / self.step_mm).astype(int) + 1
        lattice = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), SMOOTHING)
        self.lattice = lattice / lattice.std()

    def at(self, points_mm: np.ndarray) -> np.ndarray:
        """Interpolate the values (n,) at points (n, 3)."""
        steps = (points_mm - BOX_FIRST_MM) / np.float32(self.step_mm)
        return map_coordinates(self.lattice, steps.T, order=1, mode="nearest", output=np.float32)
