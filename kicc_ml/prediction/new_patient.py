"""Risks of a patient whom no fold of an outcome run has seen, from an image, clinical values, or both."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Risk, Volume
from kicc_ml.data.volume_chain import Preparation, with_own_transforms
from kicc_ml.models.baselines.clinical_model_as_numbers import ClinicalModel
from kicc_ml.prediction.risk import OutcomeRecord, outcome_record
from kicc_ml.runs.folder import CLINICAL_MODEL, WEIGHTS, ClinicalFold, Fold, fold_folders, load_folds, load_plain

#: Keys of the image and the mark that it is there, as ``PatientDataModule`` gives them.
IMAGE_KEYS = {"ct": "ct_bcxyz", "cxr": "cxr_bcxy"}

#: Along each side of the black that stands for an absent image and is not looked at: normalisation over groups of
#: channels refuses a single voxel, which a smaller one would be halved to.
EMPTY_VOXELS = 32


@dataclass(frozen=True)
class OutcomeModel:
    """The folds of an outcome run, whose risks are averaged, and the record of their held-out predictions.

    ``folds`` have networks. A run of baselines only has none; then the risks are those of its ``clinical`` models.
    """

    folds: Sequence[Fold]
    clinical: Sequence[ClinicalFold]
    record: OutcomeRecord

    def __post_init__(self) -> None:
        for fold in self.folds:
            if not fold.about.endpoints:
                raise UserError(
                    f"{fold.folder} was not trained to predict outcomes; give a run of an outcome experiment"
                )

    @property
    def trained(self) -> Sequence[Fold | ClinicalFold]:
        """The folds that give the risks shown."""
        return self.folds or self.clinical

    @property
    def features(self) -> Sequence[str]:
        """The names of the features, in the order of the clinical table."""
        return self.trained[0].about.features

    def risks(self, images: Mapping[str, Volume], values: Mapping[str, float]) -> tuple[Risk, ...]:
        """Predict one risk per endpoint; endpoints without any usable input are left out.

        Args:
            images: the images of the patient, by ``ct`` or ``cxr``; may be empty.
            values: the known features.
        """
        clinical = self._by_clinical(values)
        shown = self._by_network(images, values) if self.folds else clinical
        return tuple(
            self.record.risk(endpoint, probability_m, clinical.get(endpoint, ()))
            for endpoint, probability_m in shown.items()
        )

    def basis(self, images: Mapping[str, Volume], values: Mapping[str, float]) -> str:
        """Describe the inputs from which the risks of a patient are predicted, and which model the run lacks."""
        seen = [kind.upper() for kind in images if self._canonical(kind)] or ["no image"]
        known = sum(bool(np.isfinite(values.get(name, np.nan))) for name in self.features)
        said = [f"{seen[0]}, {known} of {len(self.features)} values of the table"]
        said += [] if self.folds else ["by the clinical model alone"]
        said += [] if self.clinical else ["the run holds no clinical model"]
        return "; ".join(said)

    def _canonical(self, kind: str) -> Preparation | None:
        """Return the conversion of a kind of image to the input of the networks; None if they do not use it."""
        if not self.folds:
            return None
        settings = self.folds[0].settings
        canonical = settings.canonical_ct if kind == "ct" else settings.canonical_cxr
        return None if canonical is None else with_own_transforms(canonical, settings.volume_transforms)

    def _by_clinical(self, values: Mapping[str, float]) -> dict[str, list[float]]:
        """Predict risks by endpoint with the folds' clinical models; none for a patient without any known value."""
        risks: dict[str, list[float]] = {}
        for fold in self.clinical:
            for endpoint, model in fold.models.items():
                row_1f = clinical_row(values, model.features)
                if np.isfinite(row_1f).any():
                    risks.setdefault(endpoint, []).append(float(model(row_1f)[0]))
        return risks

    def _by_network(self, images: Mapping[str, Volume], values: Mapping[str, float]) -> dict[str, list[float]]:
        """Predict risks by endpoint with the networks of those folds that learnt the endpoint."""
        risks: dict[str, list[float]] = {}
        for fold, probability_e in zip(self.folds, self._probabilities(images, values), strict=True):
            for endpoint, probability in zip(fold.about.endpoints, probability_e.tolist(), strict=True):
                if endpoint not in fold.about.unlearnt:
                    risks.setdefault(endpoint, []).append(probability)
        return risks

    def _seen(self, kind: str, volume: Volume | None) -> Tensor | None:
        """Convert an image as in training, with the half precision of the store; None if the networks do not use it."""
        canonical = self._canonical(kind)
        if volume is None or canonical is None:
            return None
        image = canonical(volume).image_cxyz.half().float()[None]
        return image[..., 0] if kind == "cxr" else image  # the network of radiographs is flat

    @torch.inference_mode()
    def _probabilities(self, images: Mapping[str, Volume], values: Mapping[str, float]) -> np.ndarray:
        """Predict probabilities: (fold model, endpoint)."""
        empty = {"ct": torch.zeros(1, 1, *[EMPTY_VOXELS] * 3), "cxr": torch.zeros(1, 1, *[EMPTY_VOXELS] * 2)}
        batch = {"clinical_bf": torch.from_numpy(clinical_row(values, self.features)).float()}
        for kind, key in IMAGE_KEYS.items():
            image = self._seen(kind, images.get(kind))
            batch[key] = empty[kind] if image is None else image
            batch[f"{kind}_known_b"] = torch.tensor([image is not None])
        return np.stack([fold.network(batch).float().sigmoid()[0].numpy() for fold in self.folds])


def clinical_row(values: Mapping[str, float], features: Sequence[str]) -> np.ndarray:
    """Make a table of one patient, (1, feature), NaN where missing."""
    return np.array([[values.get(name, np.nan) for name in features]], dtype=float)


def outcome_model(run: Path, trust: Collection[str] = ()) -> OutcomeModel:
    """Load the networks and clinical models of a run's folds. Raises UserError if it has neither.

    ``trust`` names the packages whose parts may be built although this project does not ship them.
    """
    folders = fold_folders(run)
    clinical = [fold for folder in folders if (fold := load_plain(folder, CLINICAL_MODEL, ClinicalModel))]
    with_network = any((folder / WEIGHTS).is_file() for folder in folders)
    if not with_network and not clinical:
        raise UserError(
            f"{run} holds neither a network ({WEIGHTS}) nor a clinical model ({CLINICAL_MODEL}); train it again"
        )
    return OutcomeModel(load_folds(run, trust) if with_network else [], clinical, outcome_record(run))
