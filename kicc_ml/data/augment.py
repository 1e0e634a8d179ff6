"""Augmentation of a whole batch on the device it lies on: parameters are drawn, then applied.

Draw and apply are apart, so that any batch can be replayed. All geometry (flips, rotation, scaling) is one
resampling pass over image and masks together; noise, blur, brightness, contrast and gamma follow. Drawing is
done on the CPU and decides what runs, so that applying never waits for the device.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable

from kicc_ml.records import REGIONS

#: Half width, in voxels, of the blur: 3 standard deviations of the largest one that is drawn by default.
BLUR_RADIUS = 3

#: Seeds of the noise, one per sample: below 2**31, which every generator takes.
SEED_LIMIT = 2**31 - 1

SIDES = (REGIONS.index("left_lung"), REGIONS.index("right_lung"))


@dataclass(frozen=True)
class AugmentConfig:
    """Probabilities per sample and ranges (low, high); images are taken to lie in 0..1.

    ``spacing_mm`` (only its proportions count) keeps rotations rigid where voxels are longer along one axis.
    ``tilt_degrees`` is about the x and y axes, ``rotate_degrees`` in the axial plane (the only one of a
    radiograph). ``scale`` above 1 enlarges.
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
    brightness: float = 0.2
    brightness_shift: tuple[float, float] = (-0.1, 0.1)
    contrast: float = 0.2
    contrast_factor: tuple[float, float] = (0.75, 1.25)
    gamma: float = 0.2
    gamma_exponent: tuple[float, float] = (0.7, 1.5)


@dataclass(frozen=True)
class AugmentParameters:
    """What is done to each sample of a batch; CPU tensors. Neutral where nothing is to be done.

    ``index_map_b33`` maps an offset from the centre of the result, in voxels, to one in the source.
    """

    index_map_b33: torch.Tensor
    swap_sides_b: torch.Tensor
    noise_sigma_b: torch.Tensor
    noise_seed_b: torch.Tensor
    blur_sigma_b: torch.Tensor
    brightness_b: torch.Tensor
    contrast_b: torch.Tensor
    gamma_b: torch.Tensor


def draw(generator: torch.Generator, batch: int, config: AugmentConfig) -> AugmentParameters:
    """Parameters for ``batch`` samples from a CPU generator."""

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
        brightness_b=sometimes(config.brightness, config.brightness_shift, 0.0),
        contrast_b=sometimes(config.contrast, config.contrast_factor, 1.0),
        gamma_b=sometimes(config.gamma, config.gamma_exponent, 1.0),
    )


def _rotation(radians_b3: torch.Tensor) -> torch.Tensor:
    """Rotation about x, then y, then z."""
    (cx, cy, cz), (sx, sy, sz) = radians_b3.cos().T, radians_b3.sin().T
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def apply(
    image_bcxyz: torch.Tensor, mask_bcxyz: torch.Tensor | None, parameters: AugmentParameters
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Augmented image (0..1) and masks (0/1), of the same shape; radiographs ``bcxy`` likewise.

    Masks have the channels of REGIONS; left and right lung change places in a mirrored sample.
    """
    if image_bcxyz.ndim == 4:
        flat_mask = None if mask_bcxyz is None else mask_bcxyz[..., None]
        image, mask = apply(image_bcxyz[..., None], flat_mask, parameters)
        return image[..., 0], None if mask is None else mask[..., 0]
    image, mask = _move(image_bcxyz, mask_bcxyz, parameters.index_map_b33)
    if mask is not None:
        mask = swap_sides(mask, parameters)
    return _change_grey(image, parameters), mask


def swap_sides(per_region_bc: torch.Tensor, parameters: AugmentParameters) -> torch.Tensor:
    """Exchange left and right lung along the channels, in the mirrored samples of a batch."""
    swapped = parameters.swap_sides_b.nonzero().flatten().tolist()
    result = per_region_bc.clone() if swapped else per_region_bc
    for sample in swapped:
        result[sample, SIDES[0]] = per_region_bc[sample, SIDES[1]]
        result[sample, SIDES[1]] = per_region_bc[sample, SIDES[0]]
    return result


def _move(
    image_bcxyz: torch.Tensor, mask_bcxyz: torch.Tensor | None, index_map_b33: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """One trilinear pass over image and masks; beyond the edge the picture is mirrored, with its labels."""
    moved = (index_map_b33 != torch.eye(3)).flatten(1).any(dim=1).nonzero().flatten().tolist()
    if not moved:
        return image_bcxyz, mask_bcxyz
    both = image_bcxyz if mask_bcxyz is None else torch.cat([image_bcxyz, mask_bcxyz], dim=1)
    sizes = torch.tensor(both.shape[2:], dtype=torch.float32)
    # grid_sample counts in half extents, and the last array axis first
    theta_b33 = (index_map_b33[moved] * sizes / sizes[:, None]).flip(1, 2)
    theta_b34 = F.pad(theta_b33, (0, 1)).to(both.device, both.dtype)
    chosen = both if len(moved) == len(both) else both[moved]
    grid = F.affine_grid(theta_b34, list(chosen.shape), align_corners=False)
    result = F.grid_sample(chosen, grid, "bilinear", padding_mode="reflection", align_corners=False)
    if len(moved) < len(both):
        still, result = result, both.clone()
        result[moved] = still
    channels = image_bcxyz.shape[1]
    if mask_bcxyz is None:
        return result, None
    return result[:, :channels], (result[:, channels:] > 0.5).to(mask_bcxyz.dtype)


def _change_grey(image_bcxyz: torch.Tensor, parameters: AugmentParameters) -> torch.Tensor:
    """Noise, blur, brightness, contrast about the mean, gamma; clipped to 0..1."""

    def per_sample(values_b: torch.Tensor) -> torch.Tensor:
        return values_b.to(image.device, image.dtype).view(-1, 1, 1, 1, 1)

    image = _add_noise(image_bcxyz, parameters)
    image = _blur(image, parameters.blur_sigma_b)
    if (parameters.brightness_b != 0).any():
        image = image + per_sample(parameters.brightness_b)
    if (parameters.contrast_b != 1).any():
        mean = image.mean(dim=(1, 2, 3, 4), keepdim=True)
        image = torch.lerp(mean, image, per_sample(parameters.contrast_b))
    image = image.clamp(0, 1)
    if (parameters.gamma_b != 1).any():
        image = image.pow(per_sample(parameters.gamma_b))
    return image


def _add_noise(image_bcxyz: torch.Tensor, parameters: AugmentParameters) -> torch.Tensor:
    noisy = parameters.noise_sigma_b.nonzero().flatten().tolist()
    if not noisy:
        return image_bcxyz
    image_bcxyz = image_bcxyz.clone()
    generator = torch.Generator(image_bcxyz.device)
    for sample in noisy:
        generator.manual_seed(int(parameters.noise_seed_b[sample]))
        noise = torch.empty_like(image_bcxyz[sample]).normal_(generator=generator)
        image_bcxyz[sample] += float(parameters.noise_sigma_b[sample]) * noise
    return image_bcxyz


def _blur(image_bcxyz: torch.Tensor, sigma_b: torch.Tensor) -> torch.Tensor:
    """Gaussian blur as a sum of shifted copies per axis: no convolution plan, cheap on CPU and GPU alike."""
    blurred = sigma_b.nonzero().flatten().tolist()
    if not blurred:
        return image_bcxyz
    offsets = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1)
    weight_bk = torch.exp(-0.5 * (offsets / sigma_b[blurred, None]) ** 2)
    weight_bk = weight_bk / weight_bk.sum(dim=1, keepdim=True)
    weight_bk = weight_bk.to(image_bcxyz.device, image_bcxyz.dtype)
    chosen = image_bcxyz[blurred]
    for axis in range(2, 5):
        if chosen.shape[axis] > 1:
            chosen = _convolve_axis(chosen, weight_bk, axis)
    result = image_bcxyz.clone()
    result[blurred] = chosen
    return result


def _convolve_axis(image_bcxyz: torch.Tensor, weight_bk: torch.Tensor, axis: int) -> torch.Tensor:
    length = image_bcxyz.shape[axis]
    place = torch.arange(-BLUR_RADIUS, length + BLUR_RADIUS, device=image_bcxyz.device).clamp(0, length - 1)
    padded = image_bcxyz.index_select(axis, place)
    total = torch.zeros_like(image_bcxyz)
    for shift in range(weight_bk.shape[1]):
        total.addcmul_(padded.narrow(axis, shift, length), weight_bk[:, shift].view(-1, 1, 1, 1, 1))
    return total


class BatchAugmentd(Randomizable, MapTransform):
    """Batch augmentation in MONAI's form: a batch dict in, the same dict with new image and masks out.

    ``keys`` is the image (``bcxyz`` or ``bcxy``) and, where there are masks, theirs. ``known_key`` names the
    bool tensor ``[b, len(REGIONS)]`` that says which regions are labelled; it follows a swap of the lungs.
    Seeded by ``set_random_state``, also through ``Compose``. ``parameters`` are the last ones drawn.
    """

    def __init__(self, keys: KeysCollection, config: AugmentConfig, known_key: str = "mask_known_bc") -> None:
        super().__init__(keys)
        self.config = config
        self.known_key = known_key
        self.parameters: AugmentParameters | None = None

    def randomize(self, data: int) -> None:
        """Draw parameters for a batch of ``data`` samples."""
        generator = torch.Generator().manual_seed(int(self.R.randint(SEED_LIMIT)))
        self.parameters = draw(generator, data, self.config)

    def __call__(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        result = dict(data)
        image_key, mask_key = (*self.keys, None)[:2]
        self.randomize(len(result[image_key]))
        assert self.parameters is not None
        mask = None if mask_key is None else result[mask_key]
        result[image_key], moved = apply(result[image_key], mask, self.parameters)
        if mask_key is not None:
            result[mask_key] = moved
            if self.known_key in result:
                result[self.known_key] = swap_sides(result[self.known_key], self.parameters)
        return result
