"""Augmentation of a whole batch on its device: parameters are drawn first, then applied.

Drawing and applying are separate, so any batch can be replayed. All geometry (flips, rotation, scaling) is one
resampling pass over image and masks; noise, blur, low resolution, brightness, contrast and gamma follow. The parameters
are drawn on the CPU and decide which steps run, so that no step waits for the device.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable

from kicc_ml.core.regions import MIRROR_CHANNELS
from kicc_ml.data.augment.geometry import source_voxels
from kicc_ml.data.augment.intensity import add_noise, apply_gamma, change_brightness_contrast, index_chosen, smooth
from kicc_ml.data.region_bits import exchange_sides
from kicc_ml.data.transfer import send, take_channels

#: Seeds of the noise, one per sample, are below 2**31, which every generator accepts.
SEED_LIMIT = 2**31 - 1

#: The number of samples that a CPU augments at a time: the intermediate values of one patch fit into its cache; those
#: of a batch do not and were ten times as slow. A GPU augments the whole batch.
SAMPLES_AT_ONCE_ON_CPU = 1


@dataclass(frozen=True)
class AugmentConfig:
    """Probabilities per sample and ranges (low, high), for images with values from 0 to 1.

    ``spacing_mm`` (only its proportions matter) keeps rotations rigid for voxels of unequal sides. ``tilt_degrees`` is
    about the x and y axes; ``rotate_degrees`` is in the axial plane (the only one of a radiograph). ``scale`` above 1
    enlarges. ``low_resolution_zoom`` is the share of voxels kept along each axis.
    """

    flip_xyz: tuple[float, float, float] = (0.5, 0.0, 0.0)
    rotate: float = 0.5
    rotate_degrees: float = 15.0
    tilt_degrees: float = 5.0
    scale: tuple[float, float] = (0.85, 1.2)
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    noise: float = 0.2
    noise_sigma: tuple[float, float] = (0.0, 0.05)
    blur: float = 0.1
    blur_sigma_voxels: tuple[float, float] = (0.5, 1.0)
    low_resolution: float = 0.1
    low_resolution_zoom: tuple[float, float] = (0.5, 1.0)
    brightness: float = 0.2
    brightness_shift: tuple[float, float] = (-0.1, 0.1)
    contrast: float = 0.2
    contrast_factor: tuple[float, float] = (0.75, 1.25)
    gamma: float = 0.2
    gamma_exponent: tuple[float, float] = (0.7, 1.5)


@dataclass(frozen=True)
class AugmentParameters:
    """The parameters of each sample of a batch, as CPU tensors; neutral values for steps that do not apply.

    ``index_map_b33`` maps an offset from the centre of the result, in voxels, to an offset in the source.
    """

    index_map_b33: torch.Tensor
    swap_sides_b: torch.Tensor
    noise_sigma_b: torch.Tensor
    noise_seed_b: torch.Tensor
    blur_sigma_b: torch.Tensor
    low_resolution_b: torch.Tensor
    brightness_b: torch.Tensor
    contrast_b: torch.Tensor
    gamma_b: torch.Tensor

    def of(self, samples: slice) -> "AugmentParameters":
        """Select the parameters of some samples of the batch."""
        return AugmentParameters(**{field.name: getattr(self, field.name)[samples] for field in fields(self)})


def draw(generator: torch.Generator, batch: int, config: AugmentConfig) -> AugmentParameters:
    """Draw parameters for ``batch`` samples from a CPU generator."""

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.empty(batch).uniform_(low, high, generator=generator)

    def sometimes(chance: float, limits: Sequence[float], neutral: float) -> torch.Tensor:
        values, happens = uniform(limits[0], limits[1]), uniform(0, 1) < chance
        return torch.where(happens, values, torch.tensor(neutral))

    flip_b3 = torch.stack([uniform(0, 1) < chance for chance in config.flip_xyz], dim=1)
    turns = [config.tilt_degrees, config.tilt_degrees, config.rotate_degrees]
    radians_b3 = torch.stack([sometimes(config.rotate, (-d, d), 0.0) for d in turns], dim=1).deg2rad()
    scale_b = sometimes(config.rotate, config.scale, 1.0)
    spacing = torch.tensor([float(mm) for mm in config.spacing_mm])
    rigid_b33 = _rotation(radians_b3) * spacing / spacing[:, None]
    return AugmentParameters(
        index_map_b33=rigid_b33 * (1 - 2 * flip_b3.float())[:, None, :] / scale_b[:, None, None],
        swap_sides_b=flip_b3[:, 0],
        noise_sigma_b=sometimes(config.noise, config.noise_sigma, 0.0),
        noise_seed_b=torch.randint(SEED_LIMIT, (batch,), generator=generator),
        blur_sigma_b=sometimes(config.blur, config.blur_sigma_voxels, 0.0),
        low_resolution_b=sometimes(config.low_resolution, config.low_resolution_zoom, 1.0),
        brightness_b=sometimes(config.brightness, config.brightness_shift, 0.0),
        contrast_b=sometimes(config.contrast, config.contrast_factor, 1.0),
        gamma_b=sometimes(config.gamma, config.gamma_exponent, 1.0),
    )


def _rotation(radians_b3: torch.Tensor) -> torch.Tensor:
    """Compute the rotation matrices about x, then y, then z."""
    (cx, cy, cz), (sx, sy, sz) = radians_b3.cos().T, radians_b3.sin().T
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def apply(
    image_bcxyz: torch.Tensor,
    bits_bxyz: torch.Tensor | None,
    parameters: AugmentParameters,
    mirror_channels: Sequence[int] = MIRROR_CHANNELS,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Augmented copies of an image of one channel (0..1; float32 comes out) and of its region bits.

    Radiographs (``bcxy``, ``bxy``) likewise. Regions of ``mirror_channels`` change places in a mirrored sample.
    """
    shape = (len(image_bcxyz), *image_bcxyz.shape[2:], 1)[:4]
    image_bxyz = image_bcxyz.reshape(shape).to(torch.float32, copy=True)
    bits = None if bits_bxyz is None else bits_bxyz.reshape(shape).clone()
    step = SAMPLES_AT_ONCE_ON_CPU if image_bxyz.device.type == "cpu" else shape[0]
    for start in range(0, shape[0], step):
        samples = slice(start, start + step)
        _augment(image_bxyz[samples], None if bits is None else bits[samples], parameters.of(samples), mirror_channels)
    flat = image_bcxyz.shape[0], *image_bcxyz.shape[2:]
    return image_bxyz.view(image_bcxyz.shape), None if bits is None else bits.view(flat)


def _augment(
    image_bxyz: torch.Tensor,
    bits_bxyz: torch.Tensor | None,
    parameters: AugmentParameters,
    mirror_channels: Sequence[int],
) -> None:
    """Augment in place; steps that change no sample are skipped."""
    moved_b = (parameters.index_map_b33 != torch.eye(3)).flatten(1).any(dim=1)
    if moved_b.any():
        moved, device = index_chosen(moved_b, image_bxyz.device), image_bxyz.device
        source = source_voxels(send(parameters.index_map_b33[moved_b], device), image_bxyz.shape[1:])
        image_bxyz[moved] = source.linear(image_bxyz[moved])
        if bits_bxyz is not None:
            bits_bxyz[moved] = source.nearest(bits_bxyz[moved])
    if bits_bxyz is not None and parameters.swap_sides_b.any():
        swapped = index_chosen(parameters.swap_sides_b, bits_bxyz.device)
        bits_bxyz[swapped] = exchange_sides(bits_bxyz[swapped], mirror_channels)
    add_noise(image_bxyz, parameters.noise_sigma_b, parameters.noise_seed_b)
    smooth(image_bxyz, parameters.blur_sigma_b, parameters.low_resolution_b)
    change_brightness_contrast(image_bxyz, parameters.brightness_b, parameters.contrast_b)
    apply_gamma(image_bxyz, parameters.gamma_b)


def swap_known_sides(
    known_bc: torch.Tensor, parameters: AugmentParameters, mirror_channels: Sequence[int] = MIRROR_CHANNELS
) -> torch.Tensor:
    """Exchange, in the mirrored samples, whether left and right regions are labelled (bool ``[b, region]``)."""
    swapped_b = send(parameters.swap_sides_b, known_bc.device)
    return torch.where(swapped_b[:, None], take_channels(known_bc, mirror_channels), known_bc)


class BatchAugmentd(Randomizable, MapTransform):
    """Batch augmentation as a MONAI transform: it takes a batch dict and returns it with new image and masks.

    ``keys`` are the image (``bcxyz`` or ``bcxy``, one channel) and optionally its region bits
    (:mod:`kicc_ml.data.region_bits`). ``known_key`` is the key of the bool tensor ``[b, region]`` that states
    which regions are labelled; it follows an exchange of ``mirror_channels``. ``set_random_state`` sets the seed, also
    through ``Compose``. ``parameters`` are the last ones drawn.
    """

    takes_batches = True

    def __init__(
        self,
        keys: KeysCollection,
        config: AugmentConfig,
        known_key: str = "mask_known_bc",
        mirror_channels: Sequence[int] = MIRROR_CHANNELS,
    ) -> None:
        super().__init__(keys)
        self.config = config
        self.known_key = known_key
        self.mirror_channels = mirror_channels
        self.parameters: AugmentParameters | None = None

    def randomize(self, data: int) -> None:
        """Draw parameters for a batch of ``data`` samples."""
        generator = torch.Generator().manual_seed(int(self.R.randint(SEED_LIMIT)))
        self.parameters = draw(generator, data, self.config)

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Augment a batch."""
        result = dict(data)
        image_key, bits_key = (*self.keys, None)[:2]
        self.randomize(len(result[image_key]))
        assert self.parameters is not None
        bits = None if bits_key is None else result[bits_key]
        result[image_key], moved = apply(result[image_key], bits, self.parameters, self.mirror_channels)
        if bits_key is not None:
            result[bits_key] = moved
            if self.known_key in result:
                result[self.known_key] = swap_known_sides(result[self.known_key], self.parameters, self.mirror_channels)
        return result


def augment_batch(
    batch: Mapping[str, Any],
    keys: tuple[str, ...],
    config: AugmentConfig,
    mirror_channels: Sequence[int] = MIRROR_CHANNELS,
) -> dict[str, Any]:
    """Augment a batch with parameters that depend only on its own samples.

    Args:
        batch: the batch as the loader gives it, with ``sample_seed`` of each sample.
        keys: the key of the images, and of the region bits if there are any.
        config: how often and how much to augment.
        mirror_channels: for each channel, the channel that takes its place in a mirror image.
    """
    transform = BatchAugmentd(keys, config, mirror_channels=mirror_channels)
    transform.set_random_state(batch["sample_seed"][0])
    return transform(batch)
