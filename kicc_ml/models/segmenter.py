"""Segmentation of a scan into masks on its own grid, in bounded memory: lungs first, then lesions near the lungs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d

from kicc_ml.core.boxes import Box, find_bounding_box, make_whole_box, measure_box
from kicc_ml.core.errors import UserError
from kicc_ml.core.progress import StageTimer
from kicc_ml.core.regions import CHEST, RegionSet, has_sides
from kicc_ml.core.types import Units, Volume
from kicc_ml.data.resampling import moved_origin, resample, source_box
from kicc_ml.models.device_memory import place_of_volume
from kicc_ml.models.mirrors import TTA_LEFT_RIGHT, MirrorAxes
from kicc_ml.models.opacity_share import OpacityShare, mark_share, measure_lung_fields
from kicc_ml.models.precision import device_of
from kicc_ml.models.sliding_window import predict_by_sliding_window

if TYPE_CHECKING:
    from kicc_ml.core.task_scores import TaskScores
    from kicc_ml.data.volume_chain import Preparation

THRESHOLD = 0.5
#: Of each voxel of a scan, while it is converted: float32 before and after.
BYTES_TO_CONVERT = 8
MIN_COMPONENT_SHARE = 0.1  # of the largest piece of lung; the smaller lung of a patient is well above, bowel gas below

#: A smaller volume is segmented whole: finding its lungs first would take as long as it saves.
LUNGS_FIRST_VOXELS = 1_000_000

#: The margin around the lungs, in voxels of the halved volume: lungs found at low resolution end a little early. What
#: is found within it is what is found there in the whole volume.
LUNG_MARGIN = (11, 11, 3)

#: Lesion probabilities in this range are uncertain. Our own choice; the mean over folds and mirror images reflects
#: their disagreement, so single results need not be stored.
UNSURE = (0.2, 0.8)

#: The number of voxels of the scan's own grid that are processed at a time; a GPU is busy only with more.
SLAB_VOXELS, GPU_SLAB_VOXELS = 200_000, 8_000_000


@dataclass(frozen=True)
class Segmenter:
    """Trained networks (one, or the averaged folds of a run) and the conversion of a scan to their input.

    ``tta_mirrors`` are the mirror images to average over; each takes as long as the first. ``companions`` are folds of
    the same run with other voxel sizes; their probabilities are weighted by their number of networks. ``region_set``
    has the regions of the task, in the order of the networks' channels. ``scores`` are what is computed from the masks;
    None for the severity alone. ``opacity_shares`` say of radiographs how much of the lung fields is marked; with none,
    the networks alone say it.
    """

    networks: Sequence[nn.Module]
    canonical: "Preparation"
    patch_size: Sequence[int]
    regions: Sequence[str]
    units: Units
    spacing_known: bool
    lesion_threshold: float
    tta_mirrors: Sequence[MirrorAxes] = TTA_LEFT_RIGHT
    companions: Sequence["Segmenter"] = ()
    region_set: RegionSet = CHEST
    scores: "TaskScores | None" = None
    opacity_shares: Sequence[OpacityShare] = ()

    def segment(self, volume: Volume) -> dict[str, np.ndarray]:
        """Segment the learnt regions: bool masks ``[x, y, z]`` by region on the grid of ``volume``.

        Raises:
            UserError: its units are not those that the networks were trained on.
        """
        return self.segment_keeping(volume, {}, StageTimer())

    @torch.inference_mode()
    def segment_keeping(
        self, volume: Volume, kept: Mapping[str, np.ndarray], stages: StageTimer
    ) -> dict[str, np.ndarray]:
        """Segment like :meth:`segment`, and write probabilities into the arrays ``[x, y, z]`` in ``kept``.

        Args:
            volume: the scan.
            kept: by region, the array for its probability. The key ``uncertain`` (bool) receives the lung voxels whose
                lesion probability is within ``UNSURE``.
            stages: the timer of the stages.
        """
        if volume.units != self.units:
            raise UserError(f"the scan is in {volume.units} units, the model was trained on {self.units} ones")
        probability_cxyz, affine_ras = self._predict_around_lungs(volume, stages)
        total = len(self.networks) + sum(len(other.networks) for other in self.companions)
        probability_cxyz *= len(self.networks) / total
        for other in self.companions:
            found_cxyz, found_affine_ras = other._predict_around_lungs(volume, stages)
            found_cxyz = resample(
                found_cxyz.to(probability_cxyz.device).float(),
                found_affine_ras,
                affine_ras,
                probability_cxyz.shape[1:],
                padding="zeros",
            )
            probability_cxyz += found_cxyz * (len(other.networks) / total)
        with stages("back to the scan's grid"):
            return self._on_grid(probability_cxyz, affine_ras, volume, kept)

    def probabilities(self, image_cxyz: Tensor, within: Box | None = None) -> Tensor:
        """Predict the probabilities of the learnt regions, in their order, for a canonical image or in a part of it.

        Args:
            image_cxyz: the canonical image of the whole scan.
            within: the part that is asked for; None for the whole.

        Returns:
            float16 ``[c, x, y, z]``, where the networks lie unless it is too large for a GPU.
        """
        names = self.region_set.names
        found_cxyz = predict_by_sliding_window(
            self.networks,
            image_cxyz,
            self.patch_size,
            [names.index(region) for region in self.regions],
            self.tta_mirrors,
            self.region_set.mirror_channels,
            within,
            names.index(self.region_set.lesion) if self.region_set.lesion in self.regions else None,
        )
        if "lung" in self.regions:
            _drop_small_components(found_cxyz[list(self.regions).index("lung")])
        return found_cxyz

    def _predict_around_lungs(self, volume: Volume, stages: StageTimer) -> tuple[Tensor, np.ndarray]:
        """Predict ``probability_cxyz`` around the lungs, with its affine; the canonical image is freed on return."""
        image_cxyz, affine_ras, box = self._make_canonical(volume, stages)
        with stages("lesions"):
            found_cxyz = self.probabilities(image_cxyz, box)
            if self.opacity_shares:
                self._mark_share(image_cxyz[(slice(None), *box)], found_cxyz)
        return found_cxyz, moved_origin(affine_ras, [axis.start for axis in box])

    def _mark_share(self, image_cxyz: Tensor, found_cxyz: Tensor) -> None:
        """Change the lesion probability of a radiograph in place so that the share is marked that its models say."""
        lung, lesion = (found_cxyz[list(self.regions).index(name), ..., 0] for name in ("lung", "lesion"))
        lung_xy, grey_xy = (lung > THRESHOLD).cpu().numpy(), image_cxyz[0, ..., 0].float().cpu().numpy()
        if (features := measure_lung_fields(grey_xy, lung_xy)) is None:
            return
        share = float(np.mean([model(features[None])[0] for model in self.opacity_shares]))
        marked_xy = mark_share(lesion.float().cpu().numpy(), grey_xy, lung_xy, share, self.lesion_threshold)
        lesion.copy_(torch.from_numpy(marked_xy))

    def _make_canonical(self, volume: Volume, stages: StageTimer) -> tuple[Tensor, np.ndarray, Box]:
        """Convert a scan to the canonical image (float16) and its affine, and find the box of its lungs."""
        with stages("to the networks' grid"):
            device = place_of_volume(BYTES_TO_CONVERT * volume.array.size, device_of(self.networks[0]))
            canonical = self.canonical(volume, device)
        with stages("lungs"):
            box = self._lung_box(canonical.image_cxyz)
        return canonical.image_cxyz.half(), canonical.affine_ras, box

    def _lung_box(self, image_cxyz: Tensor) -> Box:
        """Find the box of the lungs with the first network at half resolution; the whole volume if there are none.

        One slice is taken whole: it cannot be halved, and the share of a radiograph was learnt from whole ones.
        """
        whole = make_whole_box(image_cxyz.shape[1:])
        is_small = image_cxyz.shape[3] == 1 or image_cxyz[0].numel() < LUNGS_FIRST_VOXELS
        if is_small or "lung" not in self.regions:
            return whole
        halved_cxyz = avg_pool3d(image_cxyz, 2, ceil_mode=True)
        lung = [self.region_set.names.index("lung")]
        found_xyz = predict_by_sliding_window(self.networks[:1], halved_cxyz, self.patch_size, lung)[0] > THRESHOLD
        return _box_around(drop_small_components(found_xyz.cpu().numpy()), whole)

    def _on_grid(
        self, probability_cxyz: Tensor, affine_ras: np.ndarray, volume: Volume, kept: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Resample probabilities to the grid of the scan and decide masks, one slab at a time to limit memory.

        Voxels away from the lungs are never written, and so take no memory.
        """
        masks = {region: np.zeros(volume.array.shape, bool) for region in self.regions}
        reached = source_box(volume.affine_ras, volume.array.shape, affine_ras, probability_cxyz.shape[1:])
        voxels = SLAB_VOXELS if probability_cxyz.device.type == "cpu" else GPU_SLAB_VOXELS
        thickness = max(1, voxels // prod(measure_box(reached[1:])))
        for first in range(reached[0].start, reached[0].stop, thickness):
            slab = (slice(first, min(first + thickness, reached[0].stop)), *reached[1:])
            near = dict(zip(self.regions, _slab(probability_cxyz, affine_ras, volume, slab), strict=True))
            decided = decide(near, self.lesion_threshold, self.region_set.lesion)
            for region, mask_xyz in decided.items():
                masks[region][slab] = mask_xyz
            for name, array_xyz in kept.items():
                array_xyz[slab] = find_uncertain_voxels(near, decided) if name == "uncertain" else near[name]
        return masks


def _slab(probability_cxyz: Tensor, affine_ras: np.ndarray, volume: Volume, slab: Box) -> np.ndarray:
    """Resample probabilities (float32), where they lie, to a part of the scan's own grid; 0 where there are none."""
    to_affine_ras = moved_origin(volume.affine_ras, [axis.start for axis in slab])
    to_shape = measure_box(slab)
    box = source_box(affine_ras, probability_cxyz.shape[1:], to_affine_ras, to_shape)
    part_cxyz = probability_cxyz[:, *box].float()
    own_affine_ras = moved_origin(affine_ras, [axis.start for axis in box])
    return resample(part_cxyz, own_affine_ras, to_affine_ras, to_shape, padding="zeros").cpu().numpy()


def decide(
    probability: Mapping[str, np.ndarray], lesion_threshold: float = THRESHOLD, thresholded: str = "lesion"
) -> dict[str, np.ndarray]:
    """Decide consistent masks: a lung voxel has one side, a lesion is in the lungs, consolidation is in a lesion.

    ``lesion_threshold`` is that of the region ``thresholded``.
    """
    mask = {
        region: array > (lesion_threshold if region == thresholded else THRESHOLD)
        for region, array in probability.items()
    }
    if "lung" in mask and has_sides(mask):
        leftward = probability["left_lung"] > probability["right_lung"]
        mask["left_lung"] = mask["lung"] & leftward
        mask["right_lung"] = mask["lung"] & ~leftward
    if "lesion" in mask and "lung" in mask:
        mask["lesion"] &= mask["lung"]
    if "consolidation" in mask and "lesion" in mask:
        mask["consolidation"] &= mask["lesion"]
    return mask


def find_uncertain_voxels(probability: Mapping[str, np.ndarray], mask: Mapping[str, np.ndarray]) -> np.ndarray | bool:
    """Find lung voxels (bool) whose lesion probability is within ``UNSURE``; False if no lesion was learnt."""
    if "lesion" not in probability:
        return False
    unsure = (probability["lesion"] > UNSURE[0]) & (probability["lesion"] < UNSURE[1])
    return unsure & mask["lung"] if "lung" in mask else unsure


def drop_small_components(mask_xyz: np.ndarray) -> np.ndarray:
    """Remove pieces smaller than ``MIN_COMPONENT_SHARE`` of the largest: bowel gas, the table, noise."""
    pieces_xyz, count = ndimage.label(mask_xyz)
    # Counted plane by plane, because all at once would need a copy with eight bytes per voxel.
    sizes = np.sum([np.bincount(plane.ravel(), minlength=count + 1) for plane in pieces_xyz], axis=0)
    sizes[0] = 0
    return (sizes >= max(1, MIN_COMPONENT_SHARE * sizes.max()))[pieces_xyz]


def _drop_small_components(probability_xyz: Tensor) -> None:
    """Set voxels above ``THRESHOLD`` in small pieces to 0; lower values stay, so that edges can be interpolated."""
    found_xyz = (probability_xyz > THRESHOLD).cpu().numpy()
    shreds_xyz = torch.from_numpy(found_xyz & ~drop_small_components(found_xyz))
    probability_xyz.masked_fill_(shreds_xyz.to(probability_xyz.device), 0)


def _box_around(halved_xyz: np.ndarray, whole: Box) -> Box:
    """Find the bounding box of a mask of half resolution, in voxels of full resolution, with ``LUNG_MARGIN``.

    Returns ``whole`` for an empty mask.
    """
    box = find_bounding_box(halved_xyz)
    if box is None:
        return whole
    return tuple(
        slice(max(0, 2 * (side.start - margin)), min(everything.stop, 2 * (side.stop + margin)))
        for side, everything, margin in zip(box, whole, LUNG_MARGIN, strict=True)
    )
