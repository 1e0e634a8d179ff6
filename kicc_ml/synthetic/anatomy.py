"""Anatomy of a synthetic chest: the shape of one person and the surfaces of the organs.

Lengths are millimetres in the body's own frame: x to the left, y to the back, z to the head (DICOM's LPS
directions), x = 0 in the midline, z = 0 at the deepest costophrenic recess and z = ``lung_height_mm`` at the
apex. A surface is an array that is positive inside the organ and about the distance to its border.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

Sex = Literal["M", "F"]

CAGE_POWER = 2.4  # a chest in cross-section is squarer than an ellipse
SPINE_Y_MM = 62.0  # centre of the vertebral bodies at the reference depth of the chest


@dataclass(frozen=True)
class Grid:
    """Voxel centres: ``first_mm`` is that of index (0, 0, 0) in the body's frame, axes along x, y, z."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    first_mm: tuple[float, float, float]

    @cached_property
    def axes_mm(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coordinates along x, y and z, shaped to broadcast to ``shape``."""
        x, y, z = (
            (first + step * np.arange(count)).astype(np.float32)
            for first, step, count in zip(self.first_mm, self.spacing_mm, self.shape, strict=True)
        )
        return x[:, None, None], y[None, :, None], z[None, None, :]

    def compute_points_mm(self, mask_xyz: np.ndarray) -> np.ndarray:
        """Compute the coordinates (n, 3) in mm of the voxels of a mask."""
        indices = np.argwhere(mask_xyz).astype(np.float32)
        return indices * np.array(self.spacing_mm, np.float32) + np.array(self.first_mm, np.float32)


@dataclass(frozen=True)
class Physique:
    """The chest of one person, which is drawn once and is the same in every image of that person."""

    half_width_mm: float  # inner thoracic cage at its widest
    half_depth_mm: float
    lung_height_mm: float
    wall_mm: float  # muscle and ribs around the cage
    fat_mm: float
    breast_mm: float
    heart_mm: float  # long radius
    right_dome_mm: float
    left_dome_mm: float
    rotation_deg: float  # of the body about the head-foot axis
    lung_level_hu: float  # inspiration: the deeper, the darker
    gravity_hu: float  # back minus front of the healthy lung
    base_hu: float  # bottom minus top of the healthy lung
    atelectasis_hu: float  # at the dependent pleura
    mosaic_hu: float
    fibrosis: bool
    bone_hu: float

    def measure_at_height(self, z_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compute half width, half depth and centre y of the inner thoracic cage at heights ``z_mm``, in mm."""
        share = z_mm / self.lung_height_mm
        dome = np.sqrt(np.clip(1.0 - np.clip((share - 0.30) / 0.73, 0, 1.4) ** 2.6, 0.003, None))
        waist = 1.0 - 0.06 * np.clip((0.30 - share) / 0.30, 0, 2) ** 2
        slant = 8.0 * np.clip(share, 0, 1.2) ** 2  # the upper chest leans back
        return self.half_width_mm * dome * waist, self.half_depth_mm * dome**0.85, slant

    @property
    def depth_scale(self) -> float:
        """Depth of this chest relative to the reference for which organ positions are defined."""
        return self.half_depth_mm / 88.0


def draw_physique(rng: np.random.Generator, sex: Sex, age_years: float) -> Physique:
    """Draw the chest of a person. Men are larger; old people have less dense bone and larger hearts.

    Inspiration and gravity vary as between a full breath and a shallow one lying down, so widely that healthy
    lung overlaps ground glass in HU: a lesion is told by its border and shape, not by its grey value.
    """
    size = (1.0 if sex == "M" else 0.90) * rng.normal(1.0, 0.035)
    age = np.clip(age_years, 10, 95)
    return Physique(
        half_width_mm=133 * size * rng.normal(1, 0.03),
        half_depth_mm=88 * size * rng.normal(1, 0.05),
        lung_height_mm=float(np.clip(232 * size * rng.normal(1, 0.04), 185, 258)),
        wall_mm=rng.uniform(11, 15),
        fat_mm=rng.uniform(5, 16),
        breast_mm=rng.uniform(12, 28) if sex == "F" else 0.0,
        heart_mm=size * rng.uniform(56, 64) * (1 + 0.0015 * (age - 50)),
        right_dome_mm=rng.uniform(58, 88),
        left_dome_mm=rng.uniform(46, 74),
        rotation_deg=rng.normal(0, 2.5),
        lung_level_hu=rng.uniform(-890, -690),
        gravity_hu=rng.uniform(240, 520),
        base_hu=rng.uniform(60, 340),
        atelectasis_hu=rng.uniform(400, 700),
        mosaic_hu=rng.uniform(12, 30),
        fibrosis=bool(rng.random() < 0.25 + 0.004 * (age - 50)),
        bone_hu=float(np.clip(560 - 3.0 * (age - 50) + rng.normal(0, 40), 300, 750)),
    )


@dataclass(frozen=True)
class Surfaces:
    """Distances in mm on a grid, positive inside; arrays ``[x, y, z]`` (some broadcastable)."""

    x: np.ndarray  # coordinates in the body's frame, after its rotation
    y: np.ndarray
    z: np.ndarray
    cage: np.ndarray
    body: np.ndarray
    heart: np.ndarray
    diaphragm: np.ndarray  # positive above it
    spine: np.ndarray
    aorta: np.ndarray
    lung: np.ndarray


def compute_surfaces(person: Physique, grid: Grid) -> Surfaces:
    """Compute the surfaces of the organs of a person on a grid."""
    x0, y0, z = grid.axes_mm
    turn = np.deg2rad(person.rotation_deg)
    x = (np.cos(turn) * x0 + np.sin(turn) * y0).astype(np.float32)
    y = (np.cos(turn) * y0 - np.sin(turn) * x0).astype(np.float32)
    cage, heart, dome = (
        _compute_cage(person, x, y, z),
        _compute_heart(person, x, y, z),
        z - _compute_domes(person, x, y),
    )
    back = SPINE_Y_MM * person.depth_scale
    spine = 23.0 - np.hypot(x, (y - back - 4) * 0.9) + 0 * z
    aorta = 12.5 - np.hypot(x - 23, y - back + 22) - 1e3 * (z > 0.70 * person.lung_height_mm)
    lung = np.minimum(cage - 1.0, np.abs(x) - _compute_mediastinum(person, y, z))
    for organ in (heart, spine, aorta):
        np.minimum(lung, -organ, out=lung)
    np.minimum(lung, dome, out=lung)
    return Surfaces(x, y, z, cage, _compute_body(person, x, y, z), heart, dome, spine, aorta, lung)


def _compute_superellipse(x: np.ndarray, y: np.ndarray, half_x: np.ndarray, half_y: np.ndarray | float) -> np.ndarray:
    across = np.abs(x / half_x) ** CAGE_POWER + np.abs(y / half_y) ** CAGE_POWER
    return across ** np.float32(1 / CAGE_POWER)


def _compute_cage(person: Physique, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    width, depth, slant = person.measure_at_height(z)
    return (1.0 - _compute_superellipse(x, y - slant, width, depth)) * np.sqrt(width * depth)


def _compute_body(person: Physique, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    margin = person.wall_mm + person.fat_mm
    shoulder = 14.0 * np.clip((z / person.lung_height_mm - 0.75) / 0.3, 0, 1)
    width = person.half_width_mm + margin + shoulder
    depth = person.half_depth_mm + margin
    trunk = (1.0 - _compute_superellipse(x, y - 4, width, depth)) * np.sqrt(width * depth)
    if not person.breast_mm:
        return trunk
    # Lying on the back they spread; the ribs beneath hold the rest of each ellipsoid.
    across = ((np.abs(x) - 68) / 58) ** 2 + ((z - 0.42 * person.lung_height_mm) / 54) ** 2
    forward = ((y + person.half_depth_mm) / (margin + person.breast_mm)) ** 2
    breast = (1.0 - np.sqrt(across + forward)) * person.breast_mm
    return np.maximum(trunk, breast)


def _compute_heart(person: Physique, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Compute the heart: an ellipsoid left of the midline with its apex to the left, front and bottom."""
    radius = person.heart_mm
    dx = x - 0.42 * radius
    dy = (y + 26 * person.depth_scale) / person.depth_scale
    dz = z - 0.36 * person.lung_height_mm
    along = 0.80 * dx - 0.33 * dy - 0.50 * dz
    squares = dx * dx + dy * dy + dz * dz - along * along
    chambers = (1.0 - np.sqrt((along / radius) ** 2 + squares / (0.76 * radius) ** 2)) * 0.85 * radius
    root = 24.0 - np.hypot(x - 2, y + 14 * person.depth_scale) - 1e3 * (dz < 0)
    root = np.minimum(root, (0.76 * person.lung_height_mm - z) * 0.8)
    return np.maximum(chambers, root)


def _compute_mediastinum(person: Physique, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Compute the half width of the mediastinum: wide at trachea and hila, narrow behind the sternum."""
    share = z / person.lung_height_mm
    middle = 16.0 * np.exp(-(((y - 2) / (34 * person.depth_scale)) ** 2))
    return 8.0 + middle + 5.0 * np.exp(-(((share - 0.55) / 0.12) ** 2)) + 6.0 * np.clip(share - 0.7, 0, 1)


def _compute_domes(person: Physique, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Compute the height of the diaphragm: two domes, the right one higher, steep at the posterior recess."""
    half = person.half_width_mm
    right = _compute_one_dome(x + 0.50 * half, y, half, person) * person.right_dome_mm
    left = _compute_one_dome(x - 0.52 * half, y, half, person) * person.left_dome_mm
    return np.maximum(right, left)


def _compute_one_dome(x: np.ndarray, y: np.ndarray, half_width: float, person: Physique) -> np.ndarray:
    off_centre = (x / (0.62 * half_width)) ** 2 + ((y + 16) / (1.02 * person.half_depth_mm)) ** 2
    return np.clip(1.0 - off_centre, 0, None) ** np.float32(0.65)
