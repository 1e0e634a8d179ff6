"""Batches of plain tensors for the two tasks. Constructors only store values; work begins in ``prepare_data``.

These are the tensors that a task receives. The training loader itself gives patches as the store holds them, small and
packed (float16, ``region_bits_bxyz``); ``on_after_batch_transfer`` augments and unpacks them on the device:

Segmentation   image_bcxyz float32, mask_bcxyz float32 (channels: regions of the task), mask_known_bc bool
Outcome        ct_bcxyz, ct_known_b, cxr_bcxy, cxr_known_b, clinical_bf (NaN = missing), endpoints_be,
               endpoints_known_be; the keys of a modality are absent if the configuration leaves it out
Both           case_id, site, sample_seed: lists of one entry per sample
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import nan
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from kicc_ml.core.errors import NothingToLearn, UserError
from kicc_ml.core.help_pages import CLINICAL_TABLE, MASKS
from kicc_ml.core.types import ENDPOINTS, Case, Split, index_by_id
from kicc_ml.data.augment.transform import AugmentConfig, augment_batch
from kicc_ml.data.batches import IMAGES, Labelled, Patients, TrainPatches, WholeVolumes, images_of, loader, unpack_patch
from kicc_ml.data.canonical import CanonicalCT, CanonicalCXR
from kicc_ml.data.endpoints import endpoints_of
from kicc_ml.data.fold_cases import list_views, select_across_hospitals, select_fold_cases
from kicc_ml.data.own_transforms import (
    NO_SAMPLE_TRANSFORMS,
    NO_TRANSFORMS,
    Transforms,
    check_first_sample,
    transform_batch,
)
from kicc_ml.data.region_bits import unpack
from kicc_ml.data.sampling import epoch_sampler
from kicc_ml.data.store import VolumeStore
from kicc_ml.data.stored_volume import StoredVolume
from kicc_ml.data.volume_chain import Preparation, with_own_transforms

logger = logging.getLogger(__name__)


class PatchDataModule(pl.LightningDataModule):
    """Data of segmentation: random patches to train on, whole volumes (batch of one) to validate on.

    Only cases with an image and a known region are used. ``lesion_share`` of the patches are centred on a lesion voxel,
    in cases that have one. Cases are shuffled again in each round, so each is seen equally often; ``empty_share`` gives
    cases known to have no lesion that share of the patches instead. At most ``most_val_cases`` held-back cases are
    validated on, taken from the hospitals in turn. With several processes, ``batch_size`` is that of each.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        split: Split,
        store: VolumeStore,
        canonical: CanonicalCT | CanonicalCXR,
        patch_size: Sequence[int] = (96, 96, 48),
        batch_size: int = 2,
        patches_per_epoch: int = 200,
        lesion_share: float = 0.5,
        empty_share: float | None = None,
        most_val_cases: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
        augment: AugmentConfig | None = None,
        transforms: Transforms = NO_TRANSFORMS,
    ) -> None:
        super().__init__()
        self.cases = cases
        self.split = split
        self.store = store
        self.canonical: Preparation = with_own_transforms(canonical, transforms.volume)
        self.transforms = transforms
        self.patch_size = patch_size
        self.batch_size = batch_size
        self.patches_per_epoch = patches_per_epoch
        self.lesion_share = lesion_share
        self.empty_share = empty_share
        self.most_val_cases = most_val_cases
        self.num_workers = num_workers
        self.seed = seed
        self.augment = augment
        self.quarantined: dict[str, str] = {}
        self.train_cases: list[Case] = []
        self.val_cases: list[Case] = []
        self.volumes: dict[str, StoredVolume] = {}

    def prepare_data(self) -> None:
        """Fill the store with the fold's volumes; what cannot be read is set aside."""
        self.quarantined = self.store.prepare(select_fold_cases(self.cases, self.split), self.canonical)

    def setup(self, stage: str | None = None) -> None:
        """Look up the prepared volumes. Raises UserError if no case can be trained on."""
        cases = index_by_id(self.cases)
        self.volumes = self.store.load(select_fold_cases(self.cases, self.split), self.canonical)
        labelled = {case_id for case_id, volume in self.volumes.items() if volume.mask_known_c.any()}
        self.train_cases = [
            case for case in map(cases.__getitem__, self.split.train) if self._teaches(case, case.case_id in labelled)
        ]
        val_cases = [cases[case_id] for case_id in self.split.val if case_id in labelled]
        self.val_cases = select_across_hospitals(val_cases, self.most_val_cases)
        if not labelled & set(self.split.train):
            uid = "SeriesInstanceUID" if self.canonical.modality == "CT" else "SOPInstanceUID"
            raise NothingToLearn(
                f"fold {self.split.fold}: none of its {len(self.split.train)} training cases has a readable "
                f"{self.canonical.modality} with a mask; lay masks under masks/<{uid}>/",
                page=MASKS,
            )
        if not any(len(self.volumes[case.case_id].lesion_index) for case in self.train_cases):
            logger.warning("fold %s: no training case has a lesion; patches are drawn anywhere", self.split.fold)

    def train_dataloader(self) -> DataLoader:
        """Return batches of random patches from the training cases."""
        size_x, size_y, size_z = (int(n) for n in self.patch_size)
        sources = [source for source in self._labelled(self.train_cases) if source.volume.mask_known_c.any()]
        patches = TrainPatches(
            [source for source in sources if not source.is_empty],
            [source for source in sources if source.is_empty],
            (size_x, size_y, size_z),
            self.lesion_share,
            self.empty_share,
            self.seed,
            self.transforms.sample,
        )
        check_first_sample(replace(patches, own=NO_SAMPLE_TRANSFORMS), self.transforms, unpack_patch)
        sampler = epoch_sampler(self.trainer, self.patches_per_epoch, self.batch_size)
        return loader(patches, self.batch_size, self.num_workers, sampler)

    def val_dataloader(self) -> DataLoader:
        """Return the whole volumes of the validation cases, one a batch."""
        return loader(WholeVolumes(self._labelled(self.val_cases)), 1, self.num_workers)

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Unpack the masks on the device, and augment while training."""
        if "region_bits_bxyz" not in batch:
            return batch
        mirror = self.store.regions.mirror_channels
        if self.augment is not None:
            batch = augment_batch(batch, ("image_bcxyz", "region_bits_bxyz"), self._augmentation(self.augment), mirror)
        mask_bcxyz = unpack(batch["region_bits_bxyz"], len(mirror))
        kept = {key: value for key, value in batch.items() if key != "region_bits_bxyz"}
        whole = kept | {"image_bcxyz": batch["image_bcxyz"].float(), "mask_bcxyz": mask_bcxyz}
        if self.transforms.batch:
            whole = transform_batch(whole, self.transforms.batch, {"image": "image_bcxyz", "mask": "mask_bcxyz"})
            whole["mask_bcxyz"] = (whole["mask_bcxyz"] > 0.5).float()  # some interpolate
        return whole

    def _teaches(self, case: Case, labelled: bool) -> bool:
        """Tell whether a case can be trained on: by its masks, or by what readers say of a radiograph."""
        return labelled or (case.case_id in self.volumes and case.opacity_share is not None)

    def _labelled(self, cases: Sequence[Case]) -> list[Labelled]:
        return [Labelled(case.case_id, case.site, self.volumes[case.case_id]) for case in cases]

    def _augmentation(self, config: AugmentConfig) -> AugmentConfig:
        """Return the configured augmentation, with flips along every axis if the orientation of a CT is unknown."""
        if self.canonical.modality == "CXR" or all(
            self.volumes[case.case_id].spacing_known for case in self.train_cases
        ):
            return config
        return replace(config, flip_xyz=(0.5, 0.5, 0.5))


class PatientDataModule(pl.LightningDataModule):
    """Data of outcome prediction: one sample per patient with the configured modalities that the patient has.

    ``canonical_ct`` or ``canonical_cxr`` None leaves that modality out. ``features`` None takes every clinical column,
    () none; ``setup`` fills it in the order of ``clinical_bf``. ``endpoints`` None takes all endpoints of the cohort,
    else those named that it has. All CTs must have one shape: give ``matrix`` three numbers. A training epoch is every
    case once. Additional images are prepared too, for prediction from all ``views`` of a case.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        split: Split,
        store: VolumeStore,
        canonical_ct: CanonicalCT | None = None,
        canonical_cxr: CanonicalCXR | None = None,
        features: Sequence[str] | None = None,
        endpoints: Sequence[str] | None = None,
        batch_size: int = 8,
        num_workers: int = 0,
        seed: int = 0,
        augment_ct: AugmentConfig | None = None,
        augment_cxr: AugmentConfig | None = None,
        transforms: Transforms = NO_TRANSFORMS,
    ) -> None:
        super().__init__()
        self.cases = cases
        self.split = split
        self.store = store
        self.canonical_ct = canonical_ct and with_own_transforms(canonical_ct, transforms.volume)
        self.canonical_cxr = canonical_cxr and with_own_transforms(canonical_cxr, transforms.volume)
        self.transforms = transforms
        self.features = features
        self.endpoints = endpoints_of(cases, endpoints)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.augment_ct = augment_ct
        self.augment_cxr = augment_cxr
        self.quarantined: dict[str, str] = {}
        self.train_cases: list[Case] = []
        self.val_cases: list[Case] = []
        self.ct: dict[str, StoredVolume] | None = None
        self.cxr: dict[str, StoredVolume] | None = None

    def prepare_data(self) -> None:
        """Fill the store with the images of the fold's patients; what cannot be read is set aside."""
        cases = list_views(select_fold_cases(self.cases, self.split))
        if self.canonical_ct is not None:
            self.quarantined |= self.store.prepare(cases, self.canonical_ct)
        if self.canonical_cxr is not None:
            self.quarantined |= self.store.prepare(cases, self.canonical_cxr)

    def setup(self, stage: str | None = None) -> None:
        """Look up the prepared images. A patient with a quarantined image stays, without the image."""
        wanted = select_fold_cases(self.cases, self.split)
        cases = index_by_id(wanted)
        known = {case.case_id for case in wanted if any(case.endpoints.get(e, nan) >= 0 for e in self.endpoints)}
        self.train_cases = [cases[case_id] for case_id in self.split.train if case_id in known]
        self.val_cases = [cases[case_id] for case_id in self.split.val if case_id in known]
        if not self.train_cases:
            raise NothingToLearn(
                f"fold {self.split.fold}: none of its {len(self.split.train)} training patients has a known outcome; "
                f"fill the columns {', '.join(self.endpoints or ENDPOINTS)}",
                page=CLINICAL_TABLE,
            )
        if self.features is None:
            self.features = tuple(dict.fromkeys(name for case in wanted for name in case.clinical))
        if self.canonical_ct is not None:
            self.ct = self.store.load(list_views(wanted), self.canonical_ct)
            _require_one_shape(self.ct)
        if self.canonical_cxr is not None:
            self.cxr = self.store.load(list_views(wanted), self.canonical_cxr)

    def dataset(self, cases: Sequence[Case]) -> Patients:
        """Make the samples of any cases of the fold, for prediction."""
        without_paths = [replace(case, ct=None, cxr=None, masks={}, further=()) for case in cases]  # thousands of them
        return Patients(
            without_paths,
            self.features or (),
            self.endpoints,
            self.ct,
            _shape(self.ct),
            self.cxr,
            _shape(self.cxr),
            self.seed,
        )

    def train_dataloader(self) -> DataLoader:
        """Return batches of training patients, in an order drawn anew each epoch."""
        patients = replace(self.dataset(self.train_cases), own=self.transforms.sample)
        check_first_sample(self.dataset(self.train_cases), self.transforms, images_of)
        sampler = epoch_sampler(self.trainer, len(self.train_cases), self.batch_size)
        return loader(patients, self.batch_size, self.num_workers, sampler)

    def val_dataloader(self) -> DataLoader:
        """Return batches of validation patients in fixed order."""
        return loader(self.dataset(self.val_cases), self.batch_size, self.num_workers)

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Augment the images on the device while training; a missing image stays zero."""
        if not _is_training(self):
            return batch
        if self.augment_ct is not None and "ct_bcxyz" in batch:
            batch = augment_batch(batch, ("ct_bcxyz",), self.augment_ct)
            batch["ct_bcxyz"] = batch["ct_bcxyz"] * batch["ct_known_b"].view(-1, 1, 1, 1, 1)
        if self.augment_cxr is not None and "cxr_bcxy" in batch:
            batch = augment_batch(batch, ("cxr_bcxy",), self.augment_cxr)
            batch["cxr_bcxy"] = batch["cxr_bcxy"] * batch["cxr_known_b"].view(-1, 1, 1, 1)
        return transform_batch(batch, self.transforms.batch, IMAGES)


def _is_training(module: pl.LightningDataModule) -> bool:
    return module.trainer is not None and bool(module.trainer.training)


def _shape(volumes: Mapping[str, StoredVolume] | None) -> tuple[int, ...]:
    return next(iter(volumes.values())).shape if volumes else (1, 1, 1)


def _require_one_shape(volumes: Mapping[str, StoredVolume]) -> None:
    shapes = {volume.shape for volume in volumes.values()}
    if len(shapes) > 1:
        raise UserError(
            f"the CTs come out in {len(shapes)} shapes, for example {sorted(shapes)[:2]}; outcome prediction "
            "needs one: give canonical_ct.matrix three numbers"
        )
