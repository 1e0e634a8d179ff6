"""Canonical volumes on disk: written once for all folds, read patch by patch.

Each image has one folder, whose name is a digest of its source files and of everything that determines the result. A
renamed repository keeps its folders; a changed window, spacing or file leads to a new one::

    <root>/<key>/image.npy         float16 [c, x, y, z] in 0..1 (about 1 HU of a 1600 HU window)
                 regions.npy       uint8 [x, y, z], a bit per region; absent if no region is known
                 lesion_index.npy  int32 [n, 3], up to MAX_LESION_VOXELS voxels of the lesion
                 meta.json         affine, shape, the known regions, the parameters, size and checksum of
                                   each array

A volume is checked (:mod:`kicc_ml.data.volume_check`) before its first use in a process. A damaged or incomplete one is
moved aside and prepared again.
"""

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from kicc_ml.core.errors import TargetError, UserError, describe_error, find_target_error
from kicc_ml.core.files import move_damaged_away, remove_stale_partials, whole_folder, write_json
from kicc_ml.core.locks import hold
from kicc_ml.core.progress import track
from kicc_ml.core.regions import CHEST, RegionSet
from kicc_ml.core.types import Case, Series
from kicc_ml.data.digests import Digests
from kicc_ml.data.own_transforms import TransformError
from kicc_ml.data.region_bits import pack
from kicc_ml.data.stored_volume import StoredVolume
from kicc_ml.data.volume_chain import Preparation, chain_of, describe_preparation, identity_of
from kicc_ml.data.volume_check import META, find_damaged_volumes, with_digests
from kicc_ml.dicom.pixels.polarity import RULE_VERSION
from kicc_ml.dicom.series.shown_files import name_case_files

logger = logging.getLogger(__name__)

#: A part of every key: raise it when a change of reading or writing changes the stored volumes.
FORMAT_VERSION = 4

#: Enough voxels to centre patches all over a lesion, and few enough (48 KiB) to read with each patch.
MAX_LESION_VOXELS = 4096

#: A full CT takes about 1.5 GB while it is resampled; more processes would not fit a workstation.
MAX_PROCESSES = 4

#: With fewer volumes, starting the processes (seconds each) takes longer than they save.
SERIAL_BELOW = 24


class StoreError(TargetError):
    """The store cannot be written (full disk, no permission), so every other case would fail too."""


@dataclass(frozen=True)
class VolumeStore:
    """A store of prepared volumes below ``root``, shared by all folds, runs and processes."""

    root: Path
    regions: RegionSet = CHEST

    def prepare(self, cases: Iterable[Case], canonical: Preparation) -> dict[str, str]:
        """Write the volumes that are missing or damaged.

        Cases without an image of that modality are skipped. A case that cannot be read does not stop the others; a
        store that cannot be written raises StoreError.

        Returns:
            The reason for each case that is left out (quarantined), by case id.
        """
        _make(Path(self.root))
        folders, quarantined = self._folders(cases, canonical)
        faults = find_damaged_volumes(folder for folder, _ in folders.values() if folder.is_dir())
        for folder, fault in faults.items():
            logger.warning("stored volume %s is damaged (%s); it is prepared again", folder, fault)
        todo = {folder: case for folder, case in folders.values() if folder in faults or not folder.is_dir()}
        failed = dict(_write_all(todo, canonical, self.regions))
        for case_id, (folder, _) in folders.items():
            if reason := failed.get(folder):
                quarantined[case_id] = reason
        for case_id, reason in quarantined.items():
            logger.warning("%s is left out: %s", case_id, reason)
        return quarantined

    def load(self, cases: Iterable[Case], canonical: Preparation) -> dict[str, StoredVolume]:
        """Load the prepared images by case id; cases that were not prepared or were quarantined are absent.

        Raises:
            UserError: a volume is damaged; :meth:`prepare` would have repaired it.
        """
        folders, _ = self._folders(cases, canonical)
        there = {case_id: folder for case_id, (folder, _) in folders.items() if folder.is_dir()}
        for folder, fault in find_damaged_volumes(there.values()).items():
            raise UserError(f"stored volume {folder} is damaged ({fault}); start again, and it is prepared anew")
        return {case_id: StoredVolume(folder) for case_id, folder in there.items()}

    def _folders(
        self, cases: Iterable[Case], canonical: Preparation
    ) -> tuple[dict[str, tuple[Path, Case]], dict[str, str]]:
        """Find the folder of each case, and the reason for each case whose files cannot be read."""
        folders: dict[str, tuple[Path, Case]] = {}
        unreadable: dict[str, str] = {}
        with Digests(Path(self.root)) as digests:
            for case in cases:
                if (series := case.image(canonical.modality)) is None:
                    continue
                try:
                    key = _key(case, series, canonical, self.regions, digests)
                    folders[case.case_id] = (Path(self.root) / key, case)
                except OSError as error:
                    unreadable[case.case_id] = describe_error(error, name_case_files(case))
        return folders, unreadable


def _key(case: Case, series: Series, canonical: Preparation, regions: RegionSet, digests: Digests) -> str:
    identity = {
        "format": FORMAT_VERSION,
        "canonical": identity_of(canonical),
        "read_as": [series.units, series.spacing_mm is not None, *(series.grey_window_hu or ())],
        "files": sorted(digests.of(path) for path in series.files),
        "masks": _mask_digests(case, canonical, digests),
    }
    if canonical.modality == "CXR":
        identity["polarity"] = RULE_VERSION
    if case.mask_labels:
        identity["mask_labels"] = sorted(case.mask_labels.items())
    if case.region_labels:
        identity["region_labels"] = sorted(
            (region, sorted(labels.items())) for region, labels in case.region_labels.items()
        )
    if regions != CHEST:
        identity["regions"] = [regions.names, regions.derived, regions.lesion]
    return sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def _mask_digests(case: Case, canonical: Preparation, digests: Digests) -> dict:
    if canonical.modality == "CXR":
        return {region: [digests.of(path) for path in paths] for region, paths in sorted(case.cxr_masks.items())}
    return {region: digests.of(path) for region, path in sorted(case.masks.items())}


def _make(root: Path) -> None:
    """Make the folder, and remove what killed processes left in it."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the store {root}: {error.strerror}; choose another folder") from error
    remove_stale_partials(root)


def _write_all(todo: Mapping[Path, Case], canonical: Preparation, regions: RegionSet) -> Iterator[tuple[Path, str]]:
    """Prepare all images; yield folder and reason of each failure."""
    if not todo:
        return
    processes = 1 if len(todo) < SERIAL_BELOW else min(os.cpu_count() or 1, MAX_PROCESSES)
    jobs = (delayed(_write)(folder, case, canonical, regions) for folder, case in todo.items())
    outcomes = Parallel(n_jobs=processes, return_as="generator_unordered")(jobs)
    for folder, reason in track(outcomes, description=f"preparing {canonical.modality}", total=len(todo)):
        if reason:
            yield folder, reason


def _write(folder: Path, case: Case, canonical: Preparation, regions: RegionSet) -> tuple[Path, str]:
    """Prepare one image. Return its folder and the reason of a failure, "" for success."""
    try:
        arrays, meta = _content(case, canonical, regions)
    except TransformError:
        raise
    except Exception as error:  # foreign files fail in many ways, and one must not stop hundreds
        if fault := find_target_error(error, folder):  # the cache of a DICOMweb service is full
            raise fault from error
        logger.debug("%s failed", case.case_id, exc_info=True)
        return folder, describe_error(error, name_case_files(case))
    _write_folder(folder, arrays, meta)
    return folder, ""


def _content(case: Case, canonical: Preparation, regions: RegionSet) -> tuple[dict[str, np.ndarray], dict]:
    prepared = chain_of(canonical).prepare_case(case, regions)
    result, masks = prepared.image, prepared.masks
    arrays = {
        "image": result.image_cxyz.numpy().astype(np.float16),
        "lesion_index": _sample_lesion(masks.get(regions.lesion)),
    }
    if masks:
        empty = np.zeros(result.image_cxyz.shape[1:], np.uint8)
        arrays["regions"] = pack([masks.get(region, empty) for region in regions.names])
    meta = {
        "format": FORMAT_VERSION,
        "affine_ras": result.affine_ras.tolist(),
        "shape": list(result.image_cxyz.shape[1:]),
        "spacing_known": prepared.spacing_known,
        "regions": [region for region in regions.names if region in masks],
        "canonical": describe_preparation(canonical),
    }
    own = {} if regions == CHEST else {"channels": list(regions.names), "lesion": regions.lesion}
    return arrays, meta | own


def _sample_lesion(mask_xyz: np.ndarray | None) -> np.ndarray:
    """Select up to MAX_LESION_VOXELS voxels of a mask, int32 [n, 3]; always the same ones."""
    if mask_xyz is None:
        return np.zeros((0, 3), np.int32)
    index = np.argwhere(mask_xyz).astype(np.int32)
    if len(index) > MAX_LESION_VOXELS:
        chosen = np.random.default_rng(0).choice(len(index), MAX_LESION_VOXELS, replace=False)
        index = index[np.sort(chosen)]
    return index


def _write_folder(folder: Path, arrays: Mapping[str, np.ndarray], meta: Mapping) -> None:
    """Write all files or none. An existing complete folder stays; a damaged one is moved aside.

    One process at a time replaces a damaged one, or the second would move away what the first has just written.
    """
    lock = folder.with_name(f".{folder.name}.lock")
    try:
        with hold(lock, f"stored volume {folder}", wait=True) if folder.is_dir() else nullcontext():
            if not folder.is_dir() or find_damaged_volumes([folder]):
                _write_files(folder, arrays, meta)
    except TargetError as error:
        raise StoreError(f"the store: {error}") from error


def _write_files(folder: Path, arrays: Mapping[str, np.ndarray], meta: Mapping) -> None:
    with suppress(FileExistsError), whole_folder(folder) as partial:
        for name, array in arrays.items():
            np.save(partial / f"{name}.npy", array)
        write_json(partial / META, with_digests(partial, meta))
        if folder.is_dir() and find_damaged_volumes([folder]):
            move_damaged_away(folder)
