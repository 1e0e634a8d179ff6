"""Transforms of others: repeated by the place in the training alone, refused where they cannot be."""

import json
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import RandGaussianNoised

from kicc_ml.core.parts import NotTrusted, describe_packages, refuse_untrusted
from kicc_ml.data.batches import transformed_images
from kicc_ml.data.own_transforms import (
    OwnTransforms,
    TransformError,
    transform_batch,
    transforms_of,
)

BOTH = ["image", "mask"]
KEYS = {"image": "image_bcxyz", "mask": "mask_bcxyz"}
NOISE = {"_target_": "monai.transforms.RandGaussianNoised", "keys": "image", "prob": 0.7, "std": 0.2}
FLIP = {"_target_": "monai.transforms.RandFlipd", "keys": BOTH, "prob": 0.5, "spatial_axis": 0}
ZOOM = {"_target_": "monai.transforms.RandZoomd", "keys": BOTH, "prob": 0.5, "mode": ["trilinear", "nearest"]}
FIELD = {"_target_": "monai.transforms.RandBiasFieldd", "keys": "image", "prob": 0.6}
UNSEEDED = {"_target_": "myLab.transforms.Unseeded", "keys": "image"}
OWN_GENERATOR = {"_target_": "myLab.transforms.OwnGenerator", "keys": "image"}
SHIFT = {"_target_": "myLab.transforms.ShiftedBatch"}


@pytest.fixture(autouse=True)
def lab(monkeypatch: pytest.MonkeyPatch) -> None:
    """``myLab`` is installed."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "support")


def own(*parts: dict[str, Any], where: str = "sample") -> OwnTransforms:
    return OwnTransforms(where, json.dumps(parts))


def sample(seed: int = 0) -> dict[str, Any]:
    """An image and masks of two regions, 12 x 10 x 8 voxels."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(1, 12, 10, 8, generator=generator)
    return {"image": image, "mask": torch.cat([image > 0.5, image > 0.8]).float()}


def batch(samples: int = 3) -> dict[str, Any]:
    drawn = [sample(number) for number in range(samples)]
    return {
        **{key: torch.stack([one[name] for one in drawn]) for name, key in KEYS.items()},
        **{"sample_seed": [11 * n for n in range(samples)], "case_id": [f"case-{n}" for n in range(samples)]},
    }


def test_the_same_place_gives_the_same_sample_whatever_was_drawn_before():
    chain = own(NOISE, FLIP, ZOOM, FIELD)
    first = [chain(sample(), seed, "a") for seed in range(6)]
    random.seed(9), np.random.seed(9), torch.manual_seed(9)
    again = {seed: own(NOISE, FLIP, ZOOM, FIELD)(sample(), seed, "a") for seed in reversed(range(6))}
    for seed, one in enumerate(first):
        assert all(torch.equal(one[key], again[seed][key]) for key in BOTH)
    assert len({one["image"].sum().item() for one in first}) == 6


def test_monais_own_seeding_gives_the_same_numbers():
    """One transform is seeded as a Compose of MONAI seeds it."""
    seed = 5
    theirs = RandGaussianNoised(keys="image", prob=0.7, std=0.2)
    theirs.set_random_state(seed=np.random.RandomState(seed).randint(2**32, dtype="uint32"))
    assert torch.equal(own(NOISE)(sample(), seed, "a")["image"], theirs(sample())["image"].as_tensor())


def test_nothing_but_plain_tensors_comes_out():
    done = own(FLIP, ZOOM)(sample(), 1, "a")
    assert {type(value) for value in done.values()} == {torch.Tensor}
    assert not any(isinstance(value, MetaTensor) for value in done.values())


def test_another_process_builds_the_same_transforms():
    chain = own(NOISE, FLIP)
    done = chain(sample(), 3, "a")
    assert torch.equal(pickle.loads(pickle.dumps(chain))(sample(), 3, "a")["image"], done["image"])


def test_a_transform_that_draws_from_the_shared_generator_is_named_and_refused():
    with pytest.raises(TransformError, match=r"transforms\.sample: Unseeded draws at random without being seeded"):
        own(FLIP, UNSEEDED)(sample(), 1, "a")


def test_one_with_a_generator_of_its_own_is_found_before_the_training_begins():
    with pytest.raises(TransformError, match=r"OwnGenerator.*without being seeded"):
        own(OWN_GENERATOR).check(sample(), "a")
    own(NOISE, FLIP, ZOOM, FIELD).check(sample(), "a")


def test_what_is_random_is_not_kept_in_the_store():
    with pytest.raises(
        TransformError, match=r"RandFlipd is random, and volumes are kept; put it in transforms\.sample"
    ):
        _ = own(FLIP, where="volume").compose


@pytest.mark.parametrize("keys", ["image", "mask"])
def test_a_change_of_shape_of_one_key_only_is_refused_with_both_shapes(keys: str):
    crop = {"_target_": "monai.transforms.CenterSpatialCropd", "keys": keys, "roi_size": [6, 6, 6]}
    with pytest.raises(TransformError, match=r"makes \w+ of \(12, 10, 8\) voxels \(6, 6, 6\).*keys: \[image, mask\]"):
        own(crop)(sample(), 1, "a")


def test_a_change_of_shape_of_both_is_the_users_will():
    crop = {"_target_": "monai.transforms.CenterSpatialCropd", "keys": BOTH, "roi_size": [6, 6, 6]}
    assert own(crop)(sample(), 1, "a")["image"].shape == (1, 6, 6, 6)


def test_a_transform_that_fails_is_one_sentence_with_the_case():
    with pytest.raises(TransformError) as caught:
        own({**NOISE, "keys": "imgae"})(sample(), 1, "seoul-7")
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in ("transforms.sample", "imgae", "seoul-7"))


def test_a_place_that_is_none_is_refused():
    with pytest.raises(TransformError.__mro__[1], match=r"transforms\.smaple is no place"):
        transforms_of({"smaple": {"noise": NOISE}})


def test_in_a_batch_a_sample_is_transformed_as_it_would_be_alone():
    together = transform_batch(batch(), own(NOISE, FLIP, where="batch"), KEYS)
    for place in range(3):
        one = {key: value[place : place + 1] for key, value in batch().items()}
        alone = transform_batch(one, own(NOISE, FLIP, where="batch"), KEYS)
        assert torch.equal(together["image_bcxyz"][place], alone["image_bcxyz"][0])
        assert torch.equal(together["mask_bcxyz"][place], alone["mask_bcxyz"][0])
    assert not torch.equal(together["image_bcxyz"], batch()["image_bcxyz"])


def test_one_that_takes_batches_gets_the_batch_and_is_seeded_too():
    one, other = (transform_batch(batch(), own(SHIFT, where="batch"), KEYS) for _ in range(2))
    assert torch.equal(one["image_bcxyz"], other["image_bcxyz"])
    shift = (one["image_bcxyz"] - batch()["image_bcxyz"]).flatten(1)
    assert torch.allclose(shift, shift[:, :1].expand_as(shift), atol=1e-6)
    assert len(set(shift[:, 0].tolist())) == 3


def test_a_patient_who_lacks_an_image_is_passed_over_and_a_mistyped_name_is_not():
    noise = {**NOISE, "keys": ["ct", "cxr"], "prob": 1.0}
    patient = {
        **{"ct_bcxyz": torch.zeros(1, 4, 4, 4), "ct_known_b": torch.tensor(False)},
        **{"cxr_bcxy": torch.ones(1, 4, 4), "cxr_known_b": torch.tensor(True), "sample_seed": 5, "case_id": "a"},
    }
    done = transformed_images(patient, own(noise))
    assert set(done) == {"cxr_bcxy"}
    assert not torch.equal(done["cxr_bcxy"], patient["cxr_bcxy"])
    with pytest.raises(TransformError, match=r"names xcr; there are ct and cxr"):
        transformed_images(patient, own({**noise, "keys": "xcr"}))


SPIKE = {"_target_": "monai.transforms.RandTorchIOd", "keys": "image", "name": "RandomSpike"}
TURN = {"_target_": "monai.transforms.RandTorchIOd", "keys": BOTH, "name": "RandomAffine"}


def test_torchio_through_monais_adapter_is_seeded_by_place_and_leaves_the_shared_generators():
    pytest.importorskip("torchio")
    chain = own(NOISE, SPIKE, TURN)
    chain.check(sample(), "a")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = [chain(sample(), seed, "a") for seed in range(3)]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(9), np.random.seed(9), random.seed(9)
    again = [own(NOISE, SPIKE, TURN)(sample(), seed, "a") for seed in range(3)]
    assert all(torch.equal(one[key], other[key]) for one, other in zip(first, again, strict=True) for key in BOTH)
    assert len({one["image"].sum().item() for one in first}) == 3
    assert not torch.equal(first[0]["mask"], sample()["mask"])


def test_torchio_is_seeded_within_a_compose_and_refused_of_volumes():
    pytest.importorskip("torchio")
    both = {"_target_": "monai.transforms.Compose", "transforms": [FLIP, SPIKE]}
    done = [own(both)(sample(), 4, "a")["image"] for _ in range(2)]
    assert torch.equal(*done)
    with pytest.raises(TransformError, match="RandTorchIOd is random, and volumes are kept"):
        _ = own(SPIKE, where="volume").compose


def test_a_package_behind_an_adapter_is_named_with_that_of_the_adapter():
    pytest.importorskip("torchio")
    assert set(describe_packages([SPIKE], ())) == {"monai", "torchio"}
    with pytest.raises(NotTrusted, match="--trust torchio"):
        refuse_untrusted([SPIKE], (), ["monai"], describe_packages([SPIKE], ()))
