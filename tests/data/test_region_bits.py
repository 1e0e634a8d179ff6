"""Several masks in the bits of one array."""

import numpy as np
import torch

from kicc_ml.core.regions import REGIONS
from kicc_ml.data.region_bits import exchange_sides, pack, unpack, unpack_array

MASK = (np.random.default_rng(0).random((len(REGIONS), 5, 4, 3)) > 0.5).astype(np.uint8)


def test_what_is_packed_comes_out_again() -> None:
    bits = pack(MASK)
    assert bits.shape == (5, 4, 3)
    assert bits.dtype == np.uint8
    np.testing.assert_array_equal(unpack_array(bits), MASK)
    mask = unpack(torch.from_numpy(bits)[None])
    assert mask.dtype == torch.float32
    np.testing.assert_array_equal(mask[0], MASK)
    np.testing.assert_array_equal(unpack(torch.from_numpy(bits[..., 0])[None])[0], MASK[..., 0])


def test_exchanging_sides_touches_no_other_region() -> None:
    expected = MASK.copy()
    left, right = REGIONS.index("left_lung"), REGIONS.index("right_lung")
    expected[[left, right]] = MASK[[right, left]]
    exchanged = exchange_sides(torch.from_numpy(pack(MASK))[None])
    np.testing.assert_array_equal(unpack(exchanged)[0], expected)
