"""Add COVID-19 pneumonia as radiologists describe it: patches of ground glass and consolidation.

Multifocal, in both lungs, mostly at the periphery, the back and the lower zones (Bernheim et al., Radiology
2020;295:200463; Wang Y et al., Radiology 2020;296:E55). Foci belong to a patient and grow with the burden, so two
scans of one patient show the same pneumonia at two times.
"""

from dataclasses import dataclass, replace

import numpy as np

from kicc_ml.synthetic.anatomy import Physique
from kicc_ml.synthetic.texture import Texture
from kicc_ml.synthetic.thorax import Thorax

N_FOCI = 14
EDGE = 0.03  # softness of a border in units of the growth field, about 1 mm
CONSOLIDATION_EDGE = 0.08
MAX_BURDEN = 0.95


@dataclass(frozen=True)
class Foci:
    """Where a patient's pneumonia starts: centres and radii (n, 3) in mm, head start of each (n,)."""

    centre_mm: np.ndarray
    radius_mm: np.ndarray
    head_start: np.ndarray


def draw_foci(rng: np.random.Generator, person: Physique) -> Foci:
    """Draw foci in alternating lungs, more often in the lower zones, at the back and near the pleura."""
    side = np.where(np.arange(N_FOCI) % 2 == rng.integers(2), 1.0, -1.0)
    height = person.lung_height_mm * (0.07 + 0.80 * rng.beta(1.4, 2.6, N_FOCI))
    forward = np.pi * rng.beta(1.9, 2.8, N_FOCI)  # 0 back, pi/2 side, pi front
    outward = 1.02 - 0.20 * rng.beta(1.2, 2.0, N_FOCI)
    half_width, half_depth, slant = person.measure_at_height(height)
    across = np.maximum(half_width * outward * np.sin(forward), 32)
    along = slant + half_depth * outward * np.cos(forward)
    radius = rng.uniform(26, 46, (N_FOCI, 1)) * rng.uniform(0.75, 1.25, (N_FOCI, 3))
    # The first foci lead by little, so that even little disease has several patches in both lungs.
    head_start = -0.16 * np.arange(N_FOCI) + rng.normal(0, 0.06, N_FOCI)
    return Foci(np.stack([side * across, along, height], 1), radius, head_start)


def add_pneumonia(healthy: Thorax, seed: int, burden: float, consolidated_share: float) -> Thorax:
    """Add pneumonia to a healthy chest.

    Args:
        healthy: the chest.
        seed: seed of the patient.
        burden: share of the lung volume with lesions; 0 returns the chest unchanged.
        consolidated_share: share of the lesions that is consolidated.
    """
    if burden <= 0:
        return healthy
    rng = np.random.default_rng(seed)
    lung = healthy.lung
    points = healthy.grid.compute_points_mm(lung)
    growth = _compute_growth(rng, draw_foci(rng, healthy.person), points)
    growth -= _find_level(growth, min(burden, MAX_BURDEN))
    density = 0.8 * growth + 0.22 * Texture(rng, 22).at(points)
    consolidated = (growth > 0) & (density > _find_level(density[growth > 0], consolidated_share))
    solid = _soften(density - _find_level(density[growth > 0], consolidated_share), CONSOLIDATION_EDGE)
    hu = healthy.hu_xyz.copy()
    hu[lung] = _blend_hu(rng, hu[lung], points, _soften(growth, EDGE), solid)
    return replace(
        healthy,
        hu_xyz=hu,
        ground_glass=_make_mask(lung, (growth > 0) & ~consolidated),
        consolidation=_make_mask(lung, consolidated),
    )


def _compute_growth(rng: np.random.Generator, foci: Foci, points_mm: np.ndarray) -> np.ndarray:
    """Compute how early the disease reaches each point (n,): higher closer to an early focus."""
    reached = np.full(len(points_mm), -np.inf, np.float32)
    for centre, radius, start in zip(foci.centre_mm, foci.radius_mm, foci.head_start, strict=True):
        away = (points_mm - np.float32(centre)) / np.float32(radius)
        np.maximum(reached, np.float32(start) - np.sqrt(np.einsum("ij,ij->i", away, away)), out=reached)
    return reached + 0.12 * Texture(rng, 32).at(points_mm)


def _find_level(field: np.ndarray, share: float) -> float:
    """Find the level above which ``share`` of the values lie."""
    return float(np.quantile(field, 1.0 - share)) if share > 0 else float("inf")


def _soften(signed: np.ndarray, edge: float) -> np.ndarray:
    """Convert a signed distance to a soft mask: 0 far outside, 1 deep inside, one half on the border."""
    return 1.0 / (1.0 + np.exp(-np.clip(signed / edge, -30, 30)))


def _blend_hu(
    rng: np.random.Generator,
    healthy_hu: np.ndarray,
    points: np.ndarray,
    lesion: np.ndarray,
    solid: np.ndarray,
) -> np.ndarray:
    """Blend lesions into healthy HU: ground glass adds to it, consolidation replaces it, nothing gets darker."""
    veil_hu = rng.uniform(235, 295) + 20 * Texture(rng, 14).at(points) + 15 * Texture(rng, 7).at(points)
    hazy = np.minimum(healthy_hu + np.clip(veil_hu, 120, None) * lesion, np.maximum(healthy_hu, -80))
    dense = rng.uniform(-60, 30) + 35 * Texture(rng, 10).at(points)
    return np.maximum(healthy_hu, hazy + (dense - hazy) * solid * lesion).astype(np.float32)


def _make_mask(lung: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    mask = np.zeros(lung.shape, bool)
    mask[lung] = chosen
    return mask
