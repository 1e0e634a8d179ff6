"""Frontal radiographs of synthetic patients, with lungs marked as a reader would."""

from functools import cache

import numpy as np

from kicc_ml.synthetic.anatomy import draw_physique
from kicc_ml.synthetic.lesions import add_pneumonia
from kicc_ml.synthetic.radiograph import (
    compute_plate,
    draw_pose,
    make_radiograph_grid,
    project,
    project_masks,
    simulate_exposure,
)
from kicc_ml.synthetic.thorax import make_healthy_thorax

SITES, EACH, MATRIX = 6, 4, 48
Film = tuple[np.ndarray, dict[str, np.ndarray], float]


@cache
def film(seed: int) -> Film:
    """A patient of one of ``SITES`` hospitals: grey ``[x, y]`` as it hangs, masks, and millimetres between pixels."""
    rng, site = np.random.default_rng(seed), seed % SITES
    person = draw_physique(rng, "MF"[seed // SITES % 2], 60)
    thorax = add_pneumonia(make_healthy_thorax(seed, person, make_radiograph_grid(MATRIX, person)), seed, 0.15, 0.2)
    pose, projection = draw_pose(rng, "AP"), ("AP", "PA")[site % 2]
    masks = {name: mask[:, ::-1] for name, mask in project_masks(thorax, projection, pose).items()}
    grey = simulate_exposure(project(thorax, projection, pose), seed, digital=site < 3)[:, ::-1]
    return grey.astype(np.float32), masks, compute_plate(thorax.grid)[1]
