"""Augmentation: each change does what it says, and a draw can be replayed."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from monai.transforms import Affine, Compose, GaussianSmooth, RandSimulateLowResolution
from scipy import ndimage
from torch.nn import functional

from kicc_ml.core.regions import REGIONS
from kicc_ml.data.augment import transform as augment
from kicc_ml.data.augment.geometry import source_voxels
from kicc_ml.data.augment.transform import (
    AugmentConfig,
    AugmentParameters,
    BatchAugmentd,
    apply,
    draw,
    swap_known_sides,
)
from kicc_ml.data.region_bits import pack, unpack

EVERYTHING = AugmentConfig(
    flip_xyz=(0.5, 0.5, 0.5),
    rotate=1,
    noise=1,
    blur=1,
    low_resolution=1,
    brightness=1,
    contrast=1,
    gamma=1,
    spacing_mm=(2, 2, 4),
)
GEOMETRY = replace(EVERYTHING, noise=0, blur=0, low_resolution=0, brightness=0, contrast=0, gamma=0)


def blobs(seed: int, shape: tuple[int, ...] = (24, 20, 16), batch: int = 3, channels: int = 1) -> torch.Tensor:
    """Smooth images in 0..1."""
    noise = np.random.default_rng(seed).random((batch, channels, *shape))
    smooth = ndimage.gaussian_filter(noise, (0, 0, *[2.0] * len(shape)))
    return torch.from_numpy((smooth - smooth.min()) / np.ptp(smooth)).float()


def bits_of(mask_bcxyz: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.stack([pack(mask.numpy()) for mask in mask_bcxyz]))


def blob_bits(seed: int, shape: tuple[int, ...] = (24, 20, 16)) -> torch.Tensor:
    return bits_of(blobs(seed, shape, channels=len(REGIONS)) > 0.5)


def neutral(batch: int, **given: torch.Tensor) -> AugmentParameters:
    zeros, ones = torch.zeros(batch), torch.ones(batch)
    values = {
        "index_map_b33": torch.eye(3).repeat(batch, 1, 1),
        "swap_sides_b": zeros.bool(),
        "noise_sigma_b": zeros,
        "noise_seed_b": zeros.long(),
        "blur_sigma_b": zeros,
        "low_resolution_b": ones,
        "brightness_b": zeros,
        "contrast_b": ones,
        "gamma_b": ones,
    }
    return AugmentParameters(**(values | given))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_same_parameters_give_the_same_batch() -> None:
    image, bits = blobs(0), blob_bits(1)
    parameters = draw(generator(3), 3, EVERYTHING)
    again = draw(generator(3), 3, EVERYTHING)
    for field in fields(parameters):
        torch.testing.assert_close(getattr(parameters, field.name), getattr(again, field.name), atol=0, rtol=0)
    for one, other in zip(apply(image, bits, parameters), apply(image, bits, again), strict=True):
        assert one is not None
        torch.testing.assert_close(one, other, atol=0, rtol=0)
    assert not torch.equal(image, apply(image, bits, parameters)[0])


def test_a_batch_at_once_and_sample_by_sample_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor takes one sample at a time, a GPU all of them."""
    image, bits, parameters = blobs(0), blob_bits(1), draw(generator(3), 3, EVERYTHING)
    one_by_one = apply(image, bits, parameters)
    monkeypatch.setattr(augment, "SAMPLES_AT_ONCE_ON_CPU", 3)
    at_once = apply(image, bits, parameters)
    torch.testing.assert_close(at_once[0], one_by_one[0], atol=1e-6, rtol=0)
    assert torch.equal(at_once[1], one_by_one[1])


def test_what_goes_in_is_left_as_it_was() -> None:
    image, bits = blobs(0), blob_bits(1)
    before = image.clone(), bits.clone()
    apply(image, bits, draw(generator(3), 3, EVERYTHING))
    assert torch.equal(image, before[0])
    assert torch.equal(bits, before[1])


def test_neutral_parameters_change_nothing() -> None:
    image, bits = blobs(0), blob_bits(1)
    nothing = replace(GEOMETRY, flip_xyz=(0, 0, 0), rotate=0)
    new_image, new_bits = apply(image, bits, draw(generator(), 3, nothing))
    assert torch.equal(new_image, image)
    assert torch.equal(new_bits, bits)


def test_a_mirrored_sample_swaps_its_lungs_and_no_other_region() -> None:
    mask = torch.zeros(2, len(REGIONS), 8, 6, 4)
    mask[:, REGIONS.index("left_lung"), 5:7] = 1  # x grows to the left
    mask[:, REGIONS.index("right_lung"), 1:2] = 1
    mask[:, REGIONS.index("lesion"), 6:7] = 1
    image = mask[:, 3:4].clone()
    always = replace(GEOMETRY, flip_xyz=(1, 0, 0), rotate=0)
    new_image, new_bits = apply(image, bits_of(mask), draw(generator(), 2, always))
    new = unpack(new_bits)
    torch.testing.assert_close(new_image, image.flip(2))
    expected = mask.flip(2)
    expected[:, [1, 2]] = expected[:, [2, 1]]
    assert torch.equal(new, expected)
    left, right = new[0, REGIONS.index("left_lung")], new[0, REGIONS.index("right_lung")]
    assert left.nonzero()[:, 0].min() > right.nonzero()[:, 0].max()


def test_what_is_known_of_the_lungs_follows_the_swap() -> None:
    known = torch.tensor([[False, True, False, True, False]] * 2)
    parameters = neutral(2, swap_sides_b=torch.tensor([True, False]))
    assert swap_known_sides(known, parameters).tolist() == [[False, False, True, True, False], known[1].tolist()]


@pytest.mark.parametrize("seed", range(3))
def test_one_pass_equals_monai_affine_per_sample(seed: int) -> None:
    image, bits = blobs(seed), blob_bits(seed + 9)
    parameters = replace(draw(generator(seed), 3, GEOMETRY), swap_sides_b=torch.zeros(3, dtype=torch.bool))
    ours, our_bits = apply(image, bits, parameters)
    for sample in range(3):
        matrix = torch.eye(4)
        matrix[:3, :3] = parameters.index_map_b33[sample]
        inner = (slice(None), *[slice(4, -4)] * 3)  # at the edge MONAI counts voxel centres, not faces
        monai = Affine(affine=matrix, padding_mode="reflection", mode="bilinear", image_only=True)
        expected = monai(image[sample]).as_tensor()
        torch.testing.assert_close(ours[sample][inner], expected[inner], atol=1e-4, rtol=0)
        nearest = Affine(affine=matrix, padding_mode="reflection", mode="nearest", image_only=True)
        moved = nearest(bits[sample][None].float()).as_tensor()[0]
        assert (our_bits[sample] == moved)[inner[1:]].float().mean() > 0.999


@pytest.mark.parametrize("shape", [(24, 20, 16), (24, 1, 16), (13, 24, 1)])
def test_one_pass_equals_grid_sample_up_to_every_edge(shape: tuple[int, int, int]) -> None:
    image, bits = blobs(0, shape), blob_bits(1, shape)
    index_map = draw(generator(4), 3, replace(GEOMETRY, tilt_degrees=40, rotate_degrees=180)).index_map_b33
    source = source_voxels(index_map, shape)
    ours, our_bits = source.linear(image[:, 0]), source.nearest(bits)
    sizes = torch.tensor(shape, dtype=torch.float32)
    theta = (index_map * sizes / sizes[:, None]).flip(1, 2)  # in half extents, the last array axis first
    grid = functional.affine_grid(functional.pad(theta, (0, 1)), [3, 1, *shape], align_corners=False)
    near = (grid.abs() < 2).all(dim=-1)  # beyond that the edge holds, where grid_sample mirrors again
    expected, moved = (
        functional.grid_sample(one, grid, mode, padding_mode="reflection", align_corners=False)[:, 0]
        for one, mode in ((image, "bilinear"), (bits[:, None].float(), "nearest"))
    )
    torch.testing.assert_close(ours[near], expected[near], atol=1e-4, rtol=0)
    assert (our_bits == moved)[near].float().mean() > 0.998


def test_rotation_is_rigid_in_millimetres() -> None:
    spacing_mm = (1.0, 2.0, 4.0)
    config = replace(GEOMETRY, flip_xyz=(0, 0, 0), tilt_degrees=30, scale=(1, 1), spacing_mm=spacing_mm)
    metric = torch.diag(torch.tensor(spacing_mm))
    for index_map in draw(generator(1), 8, config).index_map_b33:
        turn = metric @ index_map @ metric.inverse()
        torch.testing.assert_close(turn @ turn.T, torch.eye(3), atol=1e-5, rtol=0)
        assert not torch.allclose(turn, torch.eye(3), atol=0.05)


def test_a_scale_above_one_enlarges() -> None:
    image = torch.zeros(1, 1, 32, 32, 32)
    image[..., 12:20, 12:20, 12:20] = 1
    twice = neutral(1, index_map_b33=torch.eye(3)[None] / 2)
    assert (apply(image, None, twice)[0] > 0.5).sum() == pytest.approx(8 * 8**3, rel=0.01)


def test_blur_equals_a_gaussian_filter() -> None:
    image = blobs(0).round()
    ours, _ = apply(image, None, neutral(3, blur_sigma_b=torch.tensor([0.0, 0.6, 1.0])))
    assert torch.equal(ours[0], image[0])
    for sample, sigma in ((1, 0.6), (2, 1.0)):
        blurred, weight = (
            ndimage.gaussian_filter(values, sigma, mode="constant", truncate=8)
            for values in (image[sample, 0].numpy(), np.ones(image.shape[2:], np.float32))
        )
        np.testing.assert_allclose(ours[sample, 0], blurred / weight, atol=1e-5)
    smooth = GaussianSmooth(sigma=1.0, approx="sampled")(image[2])
    assert (ours[2] - smooth)[0, 5:-5, 5:-5, 5:-5].abs().max() < 0.01


@pytest.mark.parametrize("zoom", [0.5, 0.7, 0.95])
def test_low_resolution_equals_monai_per_sample(zoom: float) -> None:
    image = blobs(0).round()
    ours, _ = apply(image, None, neutral(3, low_resolution_b=torch.full((3,), zoom)))
    monai = RandSimulateLowResolution(prob=1, zoom_range=(zoom, zoom), downsample_mode="nearest-exact")
    for sample in range(3):
        torch.testing.assert_close(ours[sample], monai(image[sample]), atol=1e-5, rtol=0)


def test_blur_and_low_resolution_together_are_one_after_the_other() -> None:
    image, sigma, zoom = blobs(0).round(), torch.full((3,), 0.8), torch.full((3,), 0.6)
    both = apply(image, None, neutral(3, blur_sigma_b=sigma, low_resolution_b=zoom))[0]
    blurred = apply(image, None, neutral(3, blur_sigma_b=sigma))[0]
    torch.testing.assert_close(both, apply(blurred, None, neutral(3, low_resolution_b=zoom))[0], atol=1e-5, rtol=0)


def test_grey_values_change_as_stated_and_stay_between_0_and_1() -> None:
    image = blobs(0, batch=1) * 0.5 + 0.2
    brighter = apply(image, None, neutral(1, brightness_b=torch.tensor([0.1])))[0]
    torch.testing.assert_close(brighter, image + 0.1)
    flatter = apply(image, None, neutral(1, contrast_b=torch.tensor([0.5])))[0]
    torch.testing.assert_close(flatter, (image + image.mean()) / 2)
    darker = apply(image, None, neutral(1, gamma_b=torch.tensor([2.0])))[0]
    torch.testing.assert_close(darker, image**2)
    noisy = apply(image, None, neutral(1, noise_sigma_b=torch.tensor([0.03])))[0]
    assert (noisy - image).std() == pytest.approx(0.03, rel=0.05)
    everything = apply(blobs(1), None, draw(generator(5), 3, EVERYTHING))[0]
    assert everything.min() >= 0
    assert everything.max() <= 1


def test_a_radiograph_is_the_same_code_with_one_slice() -> None:
    flat = blobs(0, shape=(24, 20))
    config = replace(EVERYTHING, tilt_degrees=0)
    parameters = draw(generator(2), 3, config)
    ours, _ = apply(flat, None, parameters)
    assert ours.shape == flat.shape
    deep = apply(flat[..., None].repeat(1, 1, 1, 1, 3), None, replace(parameters, noise_sigma_b=torch.zeros(3)))[0]
    torch.testing.assert_close(
        apply(flat, None, replace(parameters, noise_sigma_b=torch.zeros(3)))[0],
        deep[..., 1],
        atol=1e-5,
        rtol=0,
    )


def test_it_stands_in_a_monai_compose_and_is_seeded_by_it() -> None:
    batch = {
        "image_bcxyz": blobs(0),
        "region_bits_bxyz": blob_bits(1),
        "mask_known_bc": torch.ones(3, 5, dtype=torch.bool),
        "site": ["a", "b", "c"],
    }
    results = []
    for seed in (1, 1, 2):
        pipeline = Compose([BatchAugmentd(("image_bcxyz", "region_bits_bxyz"), EVERYTHING)])
        pipeline.set_random_state(seed)
        results.append(pipeline(batch))
    assert torch.equal(results[0]["image_bcxyz"], results[1]["image_bcxyz"])
    assert not torch.equal(results[0]["image_bcxyz"], results[2]["image_bcxyz"])
    assert results[0]["site"] == ["a", "b", "c"]
    assert type(results[0]["image_bcxyz"]) is torch.Tensor
