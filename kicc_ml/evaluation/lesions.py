"""Lesion-wise detection: how many lesions were found, and how many predicted lesions are true.

A lesion is a connected component of a mask (voxels that share a face, edge or corner). It is matched if at least
``MIN_COVERED_SHARE`` of it lies in the other mask. Touching foci are one lesion, in either mask. This module counts
within a case; means over cases are computed later. Metrics Reloaded (Maier-Hein et al., Nat Methods 2024;21:195) calls
this detection by intersection over reference.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

#: Share of a lesion that the other mask must cover. One shared voxel is too little; half would repeat what Dice
#: measures.
MIN_COVERED_SHARE = 0.1


@dataclass(frozen=True)
class Detection:
    """Counts of one case. ``found`` of ``reference`` lesions, ``true`` of ``predicted`` ones."""

    reference: int
    found: int
    predicted: int
    true: int

    @property
    def recall(self) -> float | None:
        """None without a reference lesion."""
        return self.found / self.reference if self.reference else None

    @property
    def precision(self) -> float | None:
        """None where nothing was predicted; 0 where all that was predicted is false."""
        return self.true / self.predicted if self.predicted else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of both; None without a reference lesion, 0 where none was found."""
        if not self.reference:
            return None
        if not (self.precision and self.recall):
            return 0.0
        return 2 * self.precision * self.recall / (self.precision + self.recall)


def detect(truth: np.ndarray, predicted: np.ndarray) -> Detection:
    """Match the connected components of two boolean masks of the same shape; empty masks have none."""
    reference, found = _count_matched(truth, predicted)
    claimed, true = _count_matched(predicted, truth)
    return Detection(reference, found, claimed, true)


def _count_matched(mask: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """Count the connected components of ``mask``, and those covered by ``other``."""
    piece, count = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    size_p = np.bincount(piece[mask], minlength=count + 1)[1:]
    covered_p = np.bincount(piece[mask & other], minlength=count + 1)[1:]
    return count, int((covered_p >= MIN_COVERED_SHARE * size_p).sum())
