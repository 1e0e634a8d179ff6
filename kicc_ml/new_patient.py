"""The risks of a patient whom no fold of an outcome run has seen, from whatever there is: an image, a clinical row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kicc_ml.data.transforms import CanonicalCT, CanonicalCXR
from kicc_ml.records import Risk, UserError, Volume
from kicc_ml.risk import OutcomeRecord
from kicc_ml.runs import Fold, canonical_of

#: Keys of the image and the mark that it is there, as ``PatientDataModule`` gives them.
IMAGE_KEYS = {"ct": "ct_bcxyz", "cxr": "cxr_bcxy"}

#: Along each side of the black that stands for an absent image and is not looked at: normalisation over groups of
#: channels refuses a single voxel, which a smaller one would be halved to.
EMPTY_VOXELS = 32


@dataclass(frozen=True)
class OutcomeModel:
    """The folds of an outcome run, asked together, and what is known of their risks."""

    folds: Sequence[Fold]
    record: OutcomeRecord

    def __post_init__(self) -> None:
        for fold in self.folds:
            if not fold.about.endpoints:
                raise UserError(
                    f"{fold.folder} was not trained to predict outcomes; give a run of an outcome experiment"
                )

    @property
    def features(self) -> Sequence[str]:
        return self.folds[0].about.features

    @torch.inference_mode()
    def risks(self, images: Mapping[str, Volume], values: Mapping[str, float]) -> tuple[Risk, ...]:
        """One per endpoint. ``images`` has ``ct`` or ``cxr`` or neither; ``values`` the features that are known."""
        seen = {kind: self._seen(kind, images.get(kind)) for kind in IMAGE_KEYS}
        probability_me = self._probabilities(seen, values)
        without_e = np.full(probability_me.shape[1], np.nan)
        if images and any(np.isfinite(values.get(name, np.nan)) for name in self.features):
            without_e = self._probabilities({kind: None for kind in seen}, values).mean(axis=0)
        return tuple(
            self.record.risk(
                endpoint, probability_m.tolist(), {} if np.isnan(without) else {"without_images": float(without)}
            )
            for endpoint, probability_m, without in zip(
                self.folds[0].about.endpoints, probability_me.T, without_e, strict=True
            )
        )

    def known(self, values: Mapping[str, float]) -> int:
        """How many of the features the patient has."""
        return sum(bool(np.isfinite(values.get(name, np.nan))) for name in self.features)

    def _seen(self, kind: str, volume: Volume | None) -> Tensor | None:
        """An image as the networks were shown it, half precision of the store included; None where it is not used."""
        settings = self.folds[0].config["data"][f"canonical_{kind}"]
        if volume is None or settings is None:
            return None
        canonical = canonical_of(CanonicalCT, settings) if kind == "ct" else canonical_of(CanonicalCXR, settings)
        return canonical(volume).image_cxyz.half().float()[None]

    def _probabilities(self, seen: Mapping[str, Tensor | None], values: Mapping[str, float]) -> np.ndarray:
        """(fold model, endpoint)."""
        empty = {"ct": torch.zeros(1, 1, *[EMPTY_VOXELS] * 3), "cxr": torch.zeros(1, 1, *[EMPTY_VOXELS] * 2)}
        batch = {"clinical_bf": torch.from_numpy(clinical_row(values, self.features)).float()}
        for kind, image in seen.items():
            batch[IMAGE_KEYS[kind]] = empty[kind] if image is None else image
            batch[f"{kind}_known_b"] = torch.tensor([image is not None])
        return np.stack([fold.network(batch).float().sigmoid()[0].numpy() for fold in self.folds])


def clinical_row(values: Mapping[str, float], features: Sequence[str]) -> np.ndarray:
    """A table of one patient, (1, feature), NaN where missing."""
    return np.array([[values.get(name, np.nan) for name in features]], dtype=float)
