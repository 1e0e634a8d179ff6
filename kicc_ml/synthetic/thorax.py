"""A healthy chest in Hounsfield units, painted organ by organ from the surfaces of :mod:`anatomy`."""

from dataclasses import dataclass

import numpy as np

from kicc_ml.synthetic.anatomy import SPINE_Y_MM, Grid, Physique, Surfaces, compute_surfaces
from kicc_ml.synthetic.texture import Texture
from kicc_ml.synthetic.vessels import compute_vessel_share

AIR_HU, FAT_HU, MUSCLE_HU, BLOOD_HU, LIVER_HU, CARTILAGE_HU = -1000.0, -100.0, 50.0, 42.0, 58.0, 110.0
AIRWAY_HU = -985.0
SPLEEN_HU, VISCERAL_FAT_HU, BOWEL_GAS_HU = 48.0, -95.0, -930.0
DARKEST_LUNG_HU = -960.0
RIB_PITCH_MM = 27.0
RIB_SHARE = 0.40  # of the pitch is rib, the rest intercostal muscle


@dataclass(frozen=True)
class Thorax:
    """A chest on a grid: noise-free HU and masks; arrays ``[x, y, z]`` in LPS directions.

    The lungs include their vessels and lesions; ``ground_glass`` and ``consolidation`` are disjoint and lie
    within them. ``motion`` (0..1) says where heartbeat and breathing smear the picture.
    """

    hu_xyz: np.ndarray
    left_lung: np.ndarray
    right_lung: np.ndarray
    ground_glass: np.ndarray
    consolidation: np.ndarray
    motion: np.ndarray
    grid: Grid
    person: Physique

    @property
    def lung(self) -> np.ndarray:
        """Return where either lung is."""
        return self.left_lung | self.right_lung

    @property
    def lesion(self) -> np.ndarray:
        """Return where ground glass or consolidation is."""
        return self.ground_glass | self.consolidation


def make_healthy_thorax(seed: int, person: Physique, grid: Grid) -> Thorax:
    """Make the chest of ``person`` without pneumonia, but with structures that look like it. The seed determines it."""
    rng = np.random.default_rng(seed)
    borders = compute_surfaces(person, grid)
    hu = _paint_soft_tissue(person, borders)
    _paint_left_abdomen(hu, np.random.default_rng((seed, 1)), person, borders)
    _paint_bone(hu, person, borders)
    lung = borders.lung > 0
    _paint_lung(hu, lung, rng, person, grid, borders)
    airway = _find_airway(person, borders)
    hu[airway] = AIRWAY_HU
    lung &= ~airway
    nothing = np.zeros(grid.shape, bool)
    left = borders.x > 0
    near_heart = np.exp(-((borders.heart / 9.0) ** 2))
    near_diaphragm = np.exp(-((borders.diaphragm / 9.0) ** 2)) * (borders.cage > 0)
    motion = np.maximum(near_heart, near_diaphragm).astype(np.float32)
    return Thorax(hu, lung & left, lung & ~left, nothing, nothing, motion, grid, person)


def _paint_soft_tissue(person: Physique, at: Surfaces) -> np.ndarray:
    hu = np.full(np.broadcast_shapes(at.cage.shape, at.z.shape), AIR_HU, np.float32)
    hu[at.body > 0] = FAT_HU
    hu[at.body > -0.5] += 60  # skin
    hu[at.body > 3.0] = FAT_HU
    hu[(at.cage > -person.wall_mm) & (at.body > 3.0)] = MUSCLE_HU
    inside = at.cage > 0
    hu[inside] = FAT_HU + 40  # mediastinal fat with its small vessels and nodes
    below = inside & (at.diaphragm <= 0)
    hu[below] = MUSCLE_HU
    hu[below & (at.x < 28)] = LIVER_HU
    hu[(at.heart > 0) & inside & ~below] = BLOOD_HU
    hu[(at.aorta > 0) & inside] = BLOOD_HU
    arch = 12.0 - np.hypot(np.hypot(at.x - 14, (at.y - 10) * 0.55) - 16, at.z - 0.70 * person.lung_height_mm)
    hu[(arch > 0) & inside] = BLOOD_HU
    hu[(np.hypot(at.x, at.y - 26 * person.depth_scale) < 8) & inside & ~below] = 35  # oesophagus
    return hu


def _paint_left_abdomen(hu: np.ndarray, rng: np.random.Generator, person: Physique, at: Surfaces) -> None:
    """Paint stomach, spleen and colon under the left dome: soft tissue and gas beside the lung."""
    below, top = (at.cage > 0) & (at.diaphragm <= 0), person.left_dome_mm
    lateral, back = 0.74 * person.half_width_mm, 30 * person.depth_scale
    if rng.random() < 0.5:
        hu[below & (at.x >= 28)] = VISCERAL_FAT_HU
    spleen = _compute_ellipsoid(
        at, (lateral, back, top - rng.uniform(45, 65)), (rng.uniform(22, 32), 48, rng.uniform(40, 55))
    )
    hu[below & (spleen > -9)] = VISCERAL_FAT_HU
    hu[below & (spleen > 0)] = SPLEEN_HU
    stomach = _compute_ellipsoid(at, (58, -12, top - 44), (34, 40, 30))
    hu[below & (stomach > 0)] = 25
    hu[below & (stomach > 0) & (at.y < -28)] = -950
    colon = _compute_ellipsoid(at, (lateral + 4, -22, top - rng.uniform(20, 60)), (20, 24, rng.uniform(15, 30)))
    hu[below & (colon > -9)] = VISCERAL_FAT_HU
    hu[below & (colon > -2.5)] = MUSCLE_HU  # its wall
    if rng.random() < 0.7:
        hu[below & (colon > 0)] = BOWEL_GAS_HU


def _compute_ellipsoid(
    at: Surfaces, centre_mm: tuple[float, float, float], half_mm: tuple[float, float, float]
) -> np.ndarray:
    """Compute approximately the distance to the border of an ellipsoid, positive inside."""
    squares = [((p - c) / h) ** 2 for p, c, h in zip((at.x, at.y, at.z), centre_mm, half_mm, strict=True)]
    return (1.0 - np.sqrt(squares[0] + squares[1] + squares[2])) * min(half_mm)


def _paint_bone(hu: np.ndarray, person: Physique, at: Surfaces) -> None:
    _paint_ribs(hu, person, at)
    back = SPINE_Y_MM * person.depth_scale
    disc = np.mod(at.z, 25.0) < 5.0
    marrow = np.where(disc, 90.0, 0.45 * person.bone_hu) + 0 * at.x
    hu_spine = np.where(at.spine > 5.0, marrow, np.where(disc, 90.0, 0.8 * person.bone_hu))
    body = at.spine > 2.0
    hu[body] = np.broadcast_to(hu_spine, hu.shape)[body]
    canal_y = back + 30
    arch = np.hypot(at.x, at.y - canal_y)
    behind = (at.y > back + 18) & (at.cage < 60)
    hu[(arch < 15) & behind & (at.z > -1e3)] = 0.7 * person.bone_hu
    hu[(arch < 9) & (at.z > -1e3)] = 30  # spinal canal
    process = (np.abs(at.x) < 4) & (at.y > canal_y + 12) & (at.y < canal_y + 32) & (np.mod(at.z, 25.0) > 9)
    hu[process & (at.body > 6)] = 0.7 * person.bone_hu
    sternum = (np.abs(at.x) < 17) & (at.cage < -1) & (at.cage > -11) & (at.y < 0)
    height = at.z / person.lung_height_mm
    hu[sternum & (height > 0.30) & (height < 0.88)] = 0.5 * person.bone_hu
    _paint_shoulder_girdle(hu, person, at)


def _paint_ribs(hu: np.ndarray, person: Physique, at: Surfaces) -> None:
    """Paint twelve pairs of ribs, from the spine down to the front, with cartilage near the sternum."""
    shell = (at.cage < -0.5) & (at.cage > -9.0) & (at.spine < 2.0)
    x, y, z, depth = (np.broadcast_to(a, shell.shape)[shell] for a in (at.x, at.y, at.z, at.cage))
    forward = np.arctan2(np.abs(x), y / person.depth_scale) / np.pi  # 0 at the spine, 1 at the sternum
    drop = 78.0 * np.sin(forward * np.pi / 2) ** 1.3
    phase = np.mod(z + drop, RIB_PITCH_MM) / RIB_PITCH_MM
    rib = np.abs(phase - 0.5) < RIB_SHARE / 2
    cortex = (np.abs(depth + 4.75) > 2.6) | (np.abs(phase - 0.5) > RIB_SHARE / 2 - 0.09)
    bone = np.where(cortex, person.bone_hu, 0.4 * person.bone_hu)
    value = np.where(forward > 0.80, CARTILAGE_HU, bone)
    hu[shell] = np.where(rib & (np.abs(x) > 12), value, hu[shell])


def _paint_shoulder_girdle(hu: np.ndarray, person: Physique, at: Surfaces) -> None:
    height = at.z / person.lung_height_mm
    blade = (at.cage < -15) & (at.cage > -20) & (at.y > 20) & (np.abs(at.x) > 62) & (np.abs(at.x) < 128)
    hu[blade & (height > 0.56) & (height < 0.98) & (at.body > 3)] = 0.8 * person.bone_hu
    rise = 0.92 * person.lung_height_mm + 0.16 * np.abs(at.x)
    clavicle = np.hypot(at.z - rise, (at.y + 0.62 * person.half_depth_mm) - 0.28 * (np.abs(at.x) - 20)) < 6.5
    hu[clavicle & (np.abs(at.x) > 16) & (at.body > 3)] = 0.9 * person.bone_hu


def _find_airway(person: Physique, at: Surfaces) -> np.ndarray:
    """Find the voxels of trachea and main bronchi, down to the hila."""
    carina = 0.62 * person.lung_height_mm
    trachea = (np.hypot(at.x, at.y - 8) < 8.5) & (at.z > carina)
    fall = np.where(at.x < 0, 0.9, 0.7) * np.abs(at.x)  # the right main bronchus is the steeper
    bronchi = (np.hypot(at.y - 8, (at.z - carina + fall) * 0.8) < 6.0) & (np.abs(at.x) < 30)
    return trachea | (bronchi & (at.z <= carina + 5))


def _paint_lung(
    hu: np.ndarray,
    lung: np.ndarray,
    rng: np.random.Generator,
    person: Physique,
    grid: Grid,
    at: Surfaces,
) -> None:
    """Paint parenchyma, denser towards the back, with vessels, mosaic, dependent atelectasis and old scars."""
    points = grid.compute_points_mm(lung)
    y = np.broadcast_to(at.y, lung.shape)[lung]
    depth = at.cage[lung]
    behind = np.clip(y / person.half_depth_mm, -1, 1)
    value = person.lung_level_hu + person.gravity_hu * (behind + 0.3)
    value += person.base_hu * (0.45 - points[:, 2] / person.lung_height_mm)
    value += person.mosaic_hu * Texture(rng, 80).at(points) + 12 * Texture(rng, 9).at(points)
    value += _compute_dependent_atelectasis(rng, person, behind, depth, points)
    if person.fibrosis:
        value += _compute_subpleural_lines(rng, depth, points)
    share = compute_vessel_share(rng, person, grid)[lung]
    value = np.clip(value, DARKEST_LUNG_HU, None)
    hu[lung] = np.minimum(value + share * (BLOOD_HU - value), BLOOD_HU)


def _compute_dependent_atelectasis(
    rng: np.random.Generator, person: Physique, behind: np.ndarray, depth_mm: np.ndarray, points: np.ndarray
) -> np.ndarray:
    """Compute HU to add for atelectasis: decreasing from the dependent pleura, varying over decimetres."""
    reach_mm = rng.uniform(12, 22)
    wax = np.clip(0.75 + 0.35 * Texture(rng, 90).at(points), 0.1, 1.4)
    return person.atelectasis_hu * wax * np.exp(-depth_mm / reach_mm) * np.clip((behind - 0.15) / 0.6, 0, 1)


def _compute_subpleural_lines(rng: np.random.Generator, depth_mm: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Compute HU to add for subpleural lines: curved, parallel to the pleura, a centimetre inside, in some places."""
    here = Texture(rng, 70).at(points) > 0.6
    wave = 11 + 2.0 * Texture(rng, 35).at(points)
    return 320.0 * here * np.exp(-(((depth_mm - wave) / 2.2) ** 2))
