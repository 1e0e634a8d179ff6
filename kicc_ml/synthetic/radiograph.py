"""Simulate a radiograph as a projection of the same thorax: Beer-Lambert law with a cone beam."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.ndimage import affine_transform, gaussian_filter

from kicc_ml.synthetic.anatomy import Grid, Physique
from kicc_ml.synthetic.thorax import Thorax

Projection = Literal["AP", "PA"]

WATER_PER_MM = 0.0206  # linear attenuation at 60 keV, the mean energy of a chest exposure (NIST XCOM)
# Focus to detector. At the bedside the tube is near and the heart far from the plate: it looks larger.
FOCUS_MM = {"PA": 1800.0, "AP": 1000.0}
AIR_GAP_MM = 30.0  # between the skin and the detector
SLABS = 10  # of equal magnification; their edges differ by less than a pixel
PLATE_MM = (380.0, 350.0)  # across, along
MAX_PLATE_PIXELS = 256
PHOTONS = 2.0e5  # per pixel without a patient
MAX_12_BIT_VALUE = 4095
#: A reader's lung field is where a ray crosses this share of the deepest lung, and this much lung for each mm of other
#: tissue: not behind the heart, nor below the dome of the diaphragm.
LUNG_FIELD_SHARE, LUNG_PER_TISSUE = 0.25, 0.65
#: HU that divide soft tissue from lung and air.
TISSUE_FROM_HU = -500.0
#: Ground glass of this depth adds about a twentieth of the contrast between lung and heart, which can just be seen.
MIN_LESION_MM = 20.0


@dataclass(frozen=True)
class Pose:
    """Position of the patient at the detector: a rotation in the picture plane and a shift."""

    turn_deg: float = 0.0
    across_mm: float = 0.0
    along_mm: float = 0.0


def make_radiograph_grid(matrix: int, person: Physique) -> Grid:
    """Make a grid around the whole chest, coarser in the direction of the rays."""
    steps = (390.0 / matrix, 320.0 / (matrix // 2), 340.0 / matrix)
    shape = (matrix, matrix // 2, matrix)
    middle = (0.0, 0.0, person.lung_height_mm / 2)
    first = tuple(m - s * (n - 1) / 2 for m, s, n in zip(middle, steps, shape, strict=True))
    return Grid(shape, steps, (first[0], first[1], first[2]))


def project(thorax: Thorax, projection: Projection, pose: Pose | None = None) -> np.ndarray:
    """Compute line integrals of attenuation on the detector, ``[x, z]`` without unit; z upwards, x to the left.

    The beam's divergence is that of slabs: each is magnified by its distance from the detector.
    """
    attenuation = np.clip(thorax.hu_xyz / 1000.0 + 1.0, 0, None) * np.float32(WATER_PER_MM)
    return _integrate_along_rays(attenuation, thorax.grid, projection, pose or Pose())


def project_masks(thorax: Thorax, projection: Projection, pose: Pose) -> dict[str, np.ndarray]:
    """Compute reference masks of lungs and opacities on the detector: bool ``[x, z]``, as :func:`project`.

    An opacity is where rays, within the lung fields, cross ``MIN_LESION_MM`` of lesion.
    """
    tissue = ~thorax.lung & (thorax.hu_xyz > TISSUE_FROM_HU)
    lungs = {"left_lung": thorax.left_lung, "right_lung": thorax.right_lung}
    parts = lungs | {"lesion": thorax.lesion, "tissue": tissue}
    mm = {
        name: _integrate_along_rays(part.astype(np.float32), thorax.grid, projection, pose)
        for name, part in parts.items()
    }
    lung_mm = mm["left_lung"] + mm["right_lung"]
    field = (lung_mm > LUNG_FIELD_SHARE * lung_mm.max()) & (lung_mm > LUNG_PER_TISSUE * mm["tissue"])
    leftward = mm["left_lung"] > mm["right_lung"]
    return {
        "left_lung": field & leftward,
        "right_lung": field & ~leftward,
        "lesion": field & (mm["lesion"] > MIN_LESION_MM),
    }


def _integrate_along_rays(per_mm_xyz: np.ndarray, grid: Grid, projection: Projection, pose: Pose) -> np.ndarray:
    """Integrate a quantity per millimetre along the rays, to ``[x, z]`` on the detector."""
    pixels, pixel_mm = compute_plate(grid)
    first_y, step_y = grid.first_mm[1], grid.spacing_mm[1]
    last_y = first_y + step_y * (grid.shape[1] - 1)
    integral = np.zeros(pixels, np.float32)
    for rows in np.array_split(np.arange(grid.shape[1]), SLABS):
        y = first_y + step_y * rows.mean()
        gap = AIR_GAP_MM + (last_y - y if projection == "AP" else y - first_y)
        magnified = FOCUS_MM[projection] / (FOCUS_MM[projection] - gap)
        slab = per_mm_xyz[:, rows].sum(1) * np.float32(step_y)
        integral += _project_slab(slab, grid, pixel_mm, pixels, magnified, pose)
    return integral


def compute_plate(grid: Grid) -> tuple[tuple[int, int], float]:
    """Compute the pixels across and along the detector, and their pitch in mm, for a thorax on this grid."""
    across = min(MAX_PLATE_PIXELS, 2 * grid.shape[0])
    pixel_mm = round(PLATE_MM[0] / across, 4)
    return (across, round(PLATE_MM[1] / pixel_mm)), pixel_mm


def _project_slab(
    slab_xz: np.ndarray, grid: Grid, pixel_mm: float, pixels: tuple[int, int], magnified: float, pose: Pose
) -> np.ndarray:
    """Project a slab on the detector: detector pixel to body millimetre to slab index."""
    turn = np.deg2rad(pose.turn_deg)
    spacing = np.array([grid.spacing_mm[0], grid.spacing_mm[2]])
    first = np.array([grid.first_mm[0], grid.first_mm[2]])
    middle = np.array([0.0, first[1] + spacing[1] * (grid.shape[2] - 1) / 2])
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    to_index = rotation * (pixel_mm / magnified) / spacing[:, None]
    centre = (np.array(pixels) - 1) / 2 + np.array([pose.across_mm, pose.along_mm]) / pixel_mm
    start = (middle - first) / spacing - to_index @ centre
    return affine_transform(slab_xz, to_index, start, pixels, order=1, mode="nearest")


def simulate_exposure(shadow_xz: np.ndarray, seed: int, digital: bool) -> np.ndarray:
    """Simulate the displayed image, uint16 0 to 4095 with bright bone: quantum noise, unsharpness and contrast.

    ``digital`` is a flat panel, sharper and less noisy than a storage phosphor (CR).
    """
    rng = np.random.default_rng(seed)
    sharp = gaussian_filter(shadow_xz, 0.5 if digital else 0.9)
    photons = PHOTONS * (1.0 if digital else 0.4) * np.exp(-sharp)
    seen = sharp + rng.standard_normal(sharp.shape, dtype=np.float32) / np.sqrt(photons)
    # Readers' displays even out mediastinum and lung: half of the coarse brightness is taken away.
    even = seen - 0.45 * gaussian_filter(sharp, sharp.shape[0] / 14)
    body = even[shadow_xz > 0.3]
    low, high = np.percentile(body, (1, 99.7)) if body.size else (0.0, 1.0)
    return np.rint(MAX_12_BIT_VALUE * np.clip((even - low) / max(high - low, 1e-3), 0, 1)).astype(np.uint16)


def draw_pose(rng: np.random.Generator, projection: Projection) -> Pose:
    """Draw a position: patients stand straight for a PA and lie less straight for an AP."""
    spread = 2.5 if projection == "AP" else 1.0
    return Pose(rng.normal(0, spread), rng.normal(0, 3 * spread), rng.normal(0, 3 * spread))
