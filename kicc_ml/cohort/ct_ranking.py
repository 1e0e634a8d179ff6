"""Choice of one CT series among the series of a study.

A study holds several reconstructions: thin and thick, lung and soft kernel, axial and coronal, sometimes several
phases. The criteria decide one after the other, in the order of :data:`CRITERIA` or of the setting ``ct_ranking``.
Between equals, the series with more slices wins, then the one with the smaller pseudonym.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Series

#: Adult lungs are 20 to 30 cm high; a series that covers less shows only a part of them.
LUNG_HEIGHT_MM = 200.0
#: Steps of slice distance in mm that matter for a lesion; within one step, thinner is not better.
THIN_STEPS_MM = (1.5, 3.0, 5.0)
PLANES = ("axial", "oblique", "coronal", "sagittal", "")

#: Kernel names of the vendors (Siemens B31f, Br40, I70f; GE STANDARD, LUNG; Philips B, YA; Toshiba FC08, FC52).
LUNG_KERNEL = re.compile(r"LUNG|CHST|^B[RLF]?[5-8]\d|^I[5-8]\d|^D[5-8]\d|^Y[ABCD]?$|^L$|^FC(5\d|8\d)")
NEUTRAL_KERNEL = re.compile(r"STAND|^B[RLF]?[34]\d|^I[34]\d|^D[34]\d|^[BC]$|^FC(0[5-9]|1\d)")
EDGE_KERNEL = re.compile(r"BONE|EDGE|SHARP|^FC3\d|^E$")
KERNEL_CLASSES = ("lung", "neutral", "", "edge")


def kernel_class(kernel: str) -> str:
    """Classify a kernel by its name: ``lung``, ``neutral``, ``edge`` (bone), or "" if the name is unknown."""
    name = kernel.upper().strip()
    patterns = {"edge": EDGE_KERNEL, "lung": LUNG_KERNEL, "neutral": NEUTRAL_KERNEL}
    return next((kind for kind, pattern in patterns.items() if pattern.search(name)), "")


def _coverage_mm(series: Series) -> float:
    return series.coverage_mm or 0.0


def _slice_distance_mm(series: Series) -> float:
    return series.spacing_mm[2] if series.spacing_mm else float("inf")


#: Criteria by name; a smaller value is better. ``kernel``: lung and neutral kernels are equal, because a network that
#: was trained on both can use both.
CRITERIA: Mapping[str, Callable[[Series], float]] = {
    "plane": lambda series: PLANES.index(series.plane),
    "lungs": lambda series: _coverage_mm(series) < LUNG_HEIGHT_MM,
    "thin": lambda series: sum(_slice_distance_mm(series) > step for step in THIN_STEPS_MM),
    "kernel": lambda series: max(KERNEL_CLASSES.index(kernel_class(series.kernel)), 1),
    "whole": lambda series: series.verdict != "usable",
    "coverage": lambda series: -_coverage_mm(series),
}
IN_WORDS = {
    "plane": "not axial",
    "lungs": "covers less of the lungs",
    "thin": "thicker",
    "kernel": "its kernel is neither for lung nor neutral",
    "whole": "had to be repaired",
    "coverage": "covers less",
}


def rank_ct(series: Sequence[Series], criteria: Sequence[str] = tuple(CRITERIA)) -> list[Series]:
    """Sort CT series of one study, the best first. Raises UserError for an unknown criterion."""
    if unknown := sorted(set(criteria) - set(CRITERIA)):
        raise UserError(f"ct_ranking {', '.join(unknown)} unknown; there are {', '.join(CRITERIA)}")
    return sorted(series, key=lambda one: ([CRITERIA[name](one) for name in criteria], -one.slices, one.uid))


def explain_ranking(taken: Series, other: Series, criteria: Sequence[str] = tuple(CRITERIA)) -> str:
    """Name the first criterion by which ``other`` ranks behind ``taken``, in words."""
    behind = (IN_WORDS[name] for name in criteria if CRITERIA[name](other) > CRITERIA[name](taken))
    return next(behind, "equal; another was first")
