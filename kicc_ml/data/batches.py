"""Samples of the two tasks as plain tensors, read from the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from kicc_ml.core.types import Case
from kicc_ml.data.augment.transform import SEED_LIMIT
from kicc_ml.data.own_transforms import NO_SAMPLE_TRANSFORMS, PATIENT_IMAGES, OwnTransforms, allow_missing_keys
from kicc_ml.data.region_bits import pack, unpack
from kicc_ml.data.sampling import choose_patch_source, patch_start, shuffled
from kicc_ml.data.stored_volume import StoredVolume


def collate(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Stack tensors, and collect all other values in lists."""
    columns = {key: [sample[key] for sample in samples] for key in samples[0]}
    return {
        key: torch.stack(values) if isinstance(values[0], torch.Tensor) else values for key, values in columns.items()
    }


@dataclass(frozen=True)
class Labelled:
    """A stored volume with its case id and site, but without the file paths of the case, which workers do not need."""

    case_id: str
    site: str
    volume: StoredVolume

    @property
    def is_empty(self) -> bool:
        """Whether the scan is known to have no lesion."""
        return self.volume.lesion_known and not len(self.volume.lesion_index)


@dataclass(frozen=True)
class TrainPatches(Dataset):
    """A data set of training patches with the index (epoch, index), which reads only the patch and leaves it packed.

    ``region_bits_bxyz`` is unpacked on the device, where a batch is augmented. ``empty`` are the scans without a lesion
    (see :func:`kicc_ml.data.sampling.choose_patch_source`). ``lesion_share`` is the share of patches around a lesion
    voxel.
    """

    others: Sequence[Labelled]
    empty: Sequence[Labelled]
    patch_size: tuple[int, int, int]
    lesion_share: float
    empty_share: float | None
    seed: int
    own: OwnTransforms = NO_SAMPLE_TRANSFORMS

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        epoch, index = place
        source = choose_patch_source(self.others, self.empty, self.empty_share, self.seed, epoch, index)
        volume = source.volume
        rng = np.random.default_rng([self.seed, epoch, index, 1])
        on_lesion = rng.random() < self.lesion_share
        centres = volume.lesion_index if on_lesion else np.zeros((0, 3), np.int32)
        patch = volume.patch(patch_start(volume.shape, self.patch_size, centres, rng), self.patch_size)
        sample = {
            "image_bcxyz": torch.from_numpy(patch.image_cxyz),
            "region_bits_bxyz": torch.from_numpy(patch.bits_xyz),
            "mask_known_bc": torch.from_numpy(volume.mask_known_c),
            "case_id": source.case_id,
            "site": source.site,
            "sample_seed": int(rng.integers(SEED_LIMIT)),
        }
        return transformed_patch(sample, self.own) if self.own else sample


def unpack_patch(sample: Mapping[str, Any]) -> dict[str, Any]:
    """Return a patch as transforms of the user's own take it: ``image`` and ``mask``, float32, ``cxyz``."""
    channels = len(sample["mask_known_bc"])
    return {"image": sample["image_bcxyz"].float(), "mask": unpack(sample["region_bits_bxyz"][None], channels)[0]}


def transformed_patch(sample: Mapping[str, Any], own: OwnTransforms) -> dict[str, Any]:
    """Apply the user's own transforms to a patch, and pack it as it lies in the store."""
    done = own(unpack_patch(sample), sample["sample_seed"], sample["case_id"])
    bits_xyz = torch.from_numpy(pack(done["mask"].numpy() > 0.5))
    return {**sample, "image_bcxyz": done["image"].half(), "region_bits_bxyz": bits_xyz}


@dataclass(frozen=True)
class WholeVolumes(Dataset):
    """A data set of whole stored volumes with their masks, in the order of the cases."""

    sources: Sequence[Labelled]

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> dict[str, Any]:
        source = self.sources[index]
        return {
            "image_bcxyz": torch.from_numpy(source.volume.image_cxyz.astype(np.float32)),
            "mask_bcxyz": torch.from_numpy(source.volume.mask_cxyz.astype(np.float32)),
            "mask_known_bc": torch.from_numpy(source.volume.mask_known_c),
            "case_id": source.case_id,
            "site": source.site,
            "sample_seed": index,
        }


@dataclass(frozen=True)
class Patients(Dataset):
    """A data set with one sample per case; the index is (epoch, index) in training, else a number."""

    cases: Sequence[Case]
    features: Sequence[str]
    endpoints: Sequence[str]
    ct: Mapping[str, StoredVolume] | None
    ct_shape: tuple[int, ...]
    cxr: Mapping[str, StoredVolume] | None
    cxr_shape: tuple[int, ...]
    seed: int
    own: OwnTransforms = NO_SAMPLE_TRANSFORMS

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, place: tuple[int, int] | int) -> dict[str, Any]:
        epoch, index = place if isinstance(place, tuple) else (0, place)
        if isinstance(place, tuple):
            index = shuffled(len(self.cases), self.seed, epoch, index)
        case = self.cases[index]
        sample: dict[str, Any] = {"case_id": case.case_id, "site": case.site}
        sample["sample_seed"] = int(np.random.default_rng([self.seed, epoch, index, 2]).integers(SEED_LIMIT))
        if self.ct is not None:
            sample["ct_bcxyz"], sample["ct_known_b"] = _image(self.ct, case, self.ct_shape)
        if self.cxr is not None:
            image_cxyz, sample["cxr_known_b"] = _image(self.cxr, case, self.cxr_shape)
            sample["cxr_bcxy"] = image_cxyz[..., 0]  # the network of radiographs is flat
        if self.own and isinstance(place, tuple):
            sample |= transformed_images(sample, self.own)
        sample["clinical_bf"] = _row(case.clinical, self.features)
        endpoints_e = _row(case.endpoints, self.endpoints)
        sample["endpoints_known_be"] = ~endpoints_e.isnan()
        sample["endpoints_be"] = endpoints_e.nan_to_num(0.0)
        return sample


#: Under which names transforms of the user's own find the images of a patient.
IMAGES = {"ct": "ct_bcxyz", "cxr": "cxr_bcxy"}


def transformed_images(sample: Mapping[str, Any], own: OwnTransforms) -> dict[str, Any]:
    """Apply the user's own transforms to the images of a patient who has them (``ct`` ``cxyz``, ``cxr`` ``cxy``)."""
    there = images_of(sample)
    allow_missing_keys(own.compose, own.where, PATIENT_IMAGES)
    done = own(there, sample["sample_seed"], sample["case_id"]) if there else {}
    return {IMAGES[name]: done[name] for name in there}


def images_of(sample: Mapping[str, Any]) -> dict[str, Any]:
    """Return the images that a patient has, by name."""
    return {name: sample[key] for name, key in IMAGES.items() if bool(sample.get(f"{name}_known_b", False))}


def _image(
    volumes: Mapping[str, StoredVolume], case: Case, shape: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Read the image of a case and a True flag; zeros and False if it has no image."""
    volume = volumes.get(case.case_id)
    if volume is None:
        return torch.zeros((1, *shape)), torch.tensor(False)
    return torch.from_numpy(volume.image_cxyz.astype(np.float32)), torch.tensor(True)


def _row(values: Mapping[str, float], names: Sequence[str]) -> torch.Tensor:
    return torch.tensor([float(values.get(name, np.nan)) for name in names])


def loader(dataset: Dataset, batch_size: int, num_workers: int, sampler: Sampler | None = None) -> DataLoader:
    """Make a data loader that uses :func:`collate`; its workers stay alive from epoch to epoch.

    It has its own random generator, because the rest of a training depends on the global one.

    Args:
        dataset: the samples.
        batch_size: samples per batch.
        num_workers: processes that make samples; 0 makes them in this process.
        sampler: the order of the samples; None takes them as they lie.
    """
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate,
        generator=torch.Generator(),
        pin_memory=torch.cuda.is_available(),
        persistent_workers=num_workers > 0,
    )
