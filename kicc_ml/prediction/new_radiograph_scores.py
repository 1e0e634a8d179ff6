"""Severity scores of a new radiograph by the ridge regressions of a severity run, with the run's accuracy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import CXR_SCORES, Modality, RadiographScore, Volume
from kicc_ml.data.canonical import CanonicalCXR
from kicc_ml.models.baselines.radiograph_zones import ZoneRidge, zone_features
from kicc_ml.runs.folder import ZONE_RIDGES, ZoneFold, fold_folders, load_plain, read_fold_settings
from kicc_ml.runs.tables import read_summary_part


@dataclass(frozen=True)
class ScoreModel:
    """The folds of a severity run, whose scores are averaged.

    Attributes:
        folds: the ridge regressions of each fold.
        canonical: the conversion of radiographs to their input.
        figures: ``image_scores`` of the run's summary; empty if the run was not evaluated.
    """

    folds: Sequence[ZoneFold]
    canonical: CanonicalCXR
    figures: Mapping[str, Mapping[str, Any]]

    def scores(self, film: Volume) -> tuple[RadiographScore, ...]:
        """Predict every score that a fold has learnt, as the mean over folds; ``film`` is ``[x, y, 1]``."""
        image_xy = self.canonical(film).image_cxyz[0, ..., 0].half().numpy()  # as the store keeps it
        table_1f = zone_features(image_xy)[None]
        return tuple(
            self._score(score, float(np.mean([ridge(table_1f) for ridge in ridges])))
            for score in CXR_SCORES
            if (ridges := [fold.models[score] for fold in self.folds if score in fold.models])
        )

    def _score(self, score: str, share: float) -> RadiographScore:
        zones = self.figures.get(score, {}).get("zones", {})
        r, mae = zones.get("pearson", {}), zones.get("mae", {})
        most = CXR_SCORES[score]
        return RadiographScore(score, share * most, most, r.get("value"), mae.get("value"), mae.get("n"))


def score_model(run: Path | None, modality: Modality) -> ScoreModel | None:
    """Load the score model of a run; None without a run.

    Raises:
        UserError: the scans are not radiographs, a fold has no ridge regression, or the run was trained with
            transforms of volumes.
    """
    if run is None:
        return None
    if modality != "CXR":
        raise UserError(f"--score-run {run} is of radiographs, and the scans are {modality}: leave it out")
    folders = fold_folders(run)
    loaded = {folder: load_plain(folder, ZONE_RIDGES, ZoneRidge) for folder in folders}
    if lacking := [folder for folder, fold in loaded.items() if fold is None]:
        raise UserError(
            f"{lacking[0]} keeps no ridge on zones ({ZONE_RIDGES}); train it again: python train.py "
            "experiment=severity_cxr"
        )
    settings = read_fold_settings(folders[0])
    if settings.volume_transforms:
        raise UserError(
            f"{run} was trained with transforms of volumes, by which --score-run cannot predict: leave it out"
        )
    canonical = settings.require(settings.canonical_cxr, "data.canonical_cxr")
    return ScoreModel([fold for fold in loaded.values() if fold], canonical, read_summary_part(run, "image_scores"))
