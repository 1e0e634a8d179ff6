"""Pulmonary vessels as tapered random trees: thin and bright, the structures most often mistaken for lesions."""

from dataclasses import dataclass

import numpy as np

from kicc_ml.synthetic.anatomy import Grid, Physique

N_GENERATIONS = 4
N_TRUNKS = 9  # segmental arteries and veins of one lung leave the hilum in about as many directions
N_CHILDREN = 3
TRUNK_RADIUS_MM = 5.6
TAPER = 0.66  # radius of a child over its parent's; Murray's law gives 0.69 for three equal children
SHORTENING = 0.72
SAMPLE_MM = 2.2


@dataclass(frozen=True)
class Branches:
    """Straight tapered pieces: ``start_mm`` and ``step_mm`` (n, 3), radius at the start (n,)."""

    start_mm: np.ndarray
    step_mm: np.ndarray
    radius_mm: np.ndarray


def compute_vessel_share(rng: np.random.Generator, person: Physique, grid: Grid) -> np.ndarray:
    """Compute the share of vessel in each voxel, ``[x, y, z]`` from 0 to 1, not yet limited to the lungs."""
    share = np.zeros(int(np.prod(grid.shape)), np.float32)
    for side in (-1.0, 1.0):
        branches = _draw_trunks(rng, person, side)
        for _ in range(N_GENERATIONS):
            _add_coverage(share, branches, grid)
            branches = _draw_children(rng, branches)
    return share.reshape(grid.shape)


def _draw_trunks(rng: np.random.Generator, person: Physique, side: float) -> Branches:
    hilum = np.array([side * 27.0, 6.0, 0.52 * person.lung_height_mm])
    elevation = np.linspace(-1.25, 1.1, N_TRUNKS) + rng.normal(0, 0.12, N_TRUNKS)
    azimuth = rng.permutation(np.linspace(-1.0, 1.0, N_TRUNKS)) + rng.normal(0, 0.15, N_TRUNKS)
    reach = np.array([0.40 * person.half_width_mm, 0.5 * person.half_depth_mm, 0.30 * person.lung_height_mm])
    direction = np.stack(
        [side * np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)],
        1,
    )
    start = hilum + rng.normal(0, 4, (N_TRUNKS, 3))
    return Branches(start, direction * reach, TRUNK_RADIUS_MM * rng.uniform(0.75, 1.1, N_TRUNKS))


def _draw_children(rng: np.random.Generator, parents: Branches) -> Branches:
    count = len(parents.radius_mm) * N_CHILDREN
    start, step, radius = (np.repeat(a, N_CHILDREN, 0) for a in (parents.start_mm, parents.step_mm, parents.radius_mm))
    along = np.tile(np.linspace(0.5, 1.0, N_CHILDREN), count // N_CHILDREN)[:, None]
    length = np.linalg.norm(step, axis=1, keepdims=True)
    turned = step / length + rng.normal(0, 0.45, (count, 3))
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    shrink = SHORTENING * rng.uniform(0.8, 1.15, (count, 1))
    return Branches(start + along * step, turned * length * shrink, radius * TAPER * rng.uniform(0.85, 1.15, count))


def _add_coverage(share: np.ndarray, branches: Branches, grid: Grid) -> None:
    """Add the coverage of voxels by branches to ``share`` (flat), by distance from the axis of each branch."""
    spacing, first = np.array(grid.spacing_mm, np.float32), np.array(grid.first_mm, np.float32)
    shape = np.array(grid.shape, np.int32)
    samples = int(np.ceil(np.linalg.norm(branches.step_mm, axis=1).max() / SAMPLE_MM)) + 1
    along = np.linspace(0, 1, samples)[None, :, None]
    points = (branches.start_mm[:, None] + along * branches.step_mm[:, None]).reshape(-1, 3).astype(np.float32)
    radius = (branches.radius_mm[:, None] * (1 - (1 - TAPER) * along[..., 0])).reshape(-1).astype(np.float32)
    voxel = float(np.cbrt(spacing.prod()))
    nearest = np.rint((points - first) / spacing).astype(np.int32)
    reach = np.ceil((radius.max() + 0.5 * voxel) / spacing).astype(np.int32).clip(1, 3)
    thin = np.minimum(1, radius / (0.5 * voxel))
    for offset in np.ndindex(*(2 * reach + 1)):
        index = nearest + (np.array(offset, np.int32) - reach)
        away = np.linalg.norm(index * spacing + first - points, axis=1)
        cover = np.clip((radius + 0.5 * voxel - away) / voxel, 0, 1) * thin
        hit = (cover > 0.02) & ((index >= 0) & (index < shape)).all(1)
        flat = np.ravel_multi_index(tuple(index[hit].T), grid.shape)
        np.maximum.at(share, flat, cover[hit])
