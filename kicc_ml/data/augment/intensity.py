"""Noise, blur, low resolution, brightness, contrast and gamma of a batch, in place if possible.

Blur and low resolution are linear and separable, so both together are one matrix per axis and sample: three matrix
products for any width of the blur.
"""

import torch
import torch.nn.functional as F

from kicc_ml.data.transfer import send


def index_chosen(chosen_b: torch.Tensor, device: torch.device) -> slice | torch.Tensor:
    """Index the chosen samples of a batch on a device; if all are chosen, return a slice, which copies nothing."""
    return slice(None) if chosen_b.all() else send(chosen_b.nonzero().flatten(), device)


def add_noise(image_bxyz: torch.Tensor, sigma_b: torch.Tensor, seed_b: torch.Tensor) -> None:
    """Add Gaussian noise in place. Each sample has its own seed, so its noise does not depend on the batch."""
    if not sigma_b.any():
        return
    generator = torch.Generator(image_bxyz.device)
    for sample in sigma_b.nonzero().flatten().tolist():
        generator.manual_seed(int(seed_b[sample]))
        noise = torch.empty_like(image_bxyz[sample]).normal_(generator=generator)
        image_bxyz[sample].add_(noise, alpha=float(sigma_b[sample]))


def smooth(image_bxyz: torch.Tensor, sigma_b: torch.Tensor, zoom_b: torch.Tensor) -> None:
    """Blur (``sigma_b`` voxels, 0 for none), then reduce the resolution to ``zoom_b`` of the voxels per axis, in place.

    Low resolution keeps the nearest voxel of each coarse voxel and interpolates linearly back.
    """
    chosen_b = (sigma_b > 0) | (zoom_b < 1)
    if not chosen_b.any():
        return
    chosen = index_chosen(chosen_b, image_bxyz.device)
    drawn = list(zip(sigma_b[chosen_b].tolist(), zoom_b[chosen_b].tolist(), strict=True))
    x, y, z = (
        send(torch.stack([_smoothing_matrix(size, sigma, zoom) for sigma, zoom in drawn]), image_bxyz.device)
        for size in image_bxyz.shape[1:]
    )
    part = image_bxyz[chosen]
    part = (x @ part.flatten(2)).view_as(part)
    part = y[:, None] @ part
    image_bxyz[chosen] = (part.flatten(1, 2) @ z.mT).view_as(part)


def _smoothing_matrix(size: int, sigma: float, zoom: float) -> torch.Tensor:
    """Compute the matrix ``(to, from)`` along an axis of ``size`` voxels; rows add up to 1, also at the edge."""
    matrix = torch.eye(size)
    if sigma > 0:
        distance = torch.arange(size) - torch.arange(size)[:, None]
        matrix = torch.exp(-0.5 * (distance / sigma) ** 2)
        matrix = matrix / matrix.sum(dim=1, keepdim=True)
    if zoom < 1:
        coarse = F.interpolate(matrix.T[None], max(1, round(size * zoom)), mode="nearest-exact")
        matrix = F.interpolate(coarse, size, mode="linear", align_corners=False)[0].T
    return matrix


def change_brightness_contrast(image_bxyz: torch.Tensor, brightness_b: torch.Tensor, contrast_b: torch.Tensor) -> None:
    """Add ``brightness_b``, then scale the contrast around the mean by ``contrast_b``, in place."""
    if not (brightness_b.any() or (contrast_b != 1).any()):
        return
    contrast = _per_sample(contrast_b, image_bxyz)
    mean = image_bxyz.mean(dim=(1, 2, 3), keepdim=True)
    image_bxyz.mul_(contrast).add_(_per_sample(brightness_b, image_bxyz) + mean * (1 - contrast))


def apply_gamma(image_bxyz: torch.Tensor, gamma_b: torch.Tensor) -> None:
    """Clip to 0..1 and raise to the power ``gamma_b``, in place."""
    image_bxyz.clamp_(0, 1)
    if (gamma_b != 1).any():
        image_bxyz.pow_(_per_sample(gamma_b, image_bxyz))


def _per_sample(values_b: torch.Tensor, image_bxyz: torch.Tensor) -> torch.Tensor:
    return send(values_b.to(image_bxyz.dtype), image_bxyz.device).view(-1, 1, 1, 1)
