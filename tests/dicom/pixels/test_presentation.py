"""Radiographs of several makers of one chest look alike, whatever their tags say of showing them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from kicc_ml.data.canonical import CanonicalCXR
from kicc_ml.dicom.index.build import index_sources
from kicc_ml.dicom.volume.read import read_volume
from tests.support.phantom_files import write_radiograph

SIDE = 64
#: Mean difference, of a range of 1, that two makers' versions of the picture may keep: a step of 8 bits is 0.004.
ALIKE = 0.01


def chest() -> np.ndarray:
    """Brightness 0..1 ``[row, column]``: two lungs in a body, bare background at the sides, a marker of metal."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    body = np.where(abs(x - 0.5) < 0.42, 0.75 + 0.1 * y, 0.0)
    lungs = np.hypot((abs(x - 0.5) - 0.19) / 0.13, (y - 0.5) / 0.3) < 1
    picture = np.where(lungs, 0.3 + 0.1 * np.sin(20 * y), body)
    picture[3:5, 3:5] = 1
    return picture


def stored(bits: int) -> np.ndarray:
    return np.round(chest() * (2**bits - 1)).astype(np.uint16)


def table(entries: np.ndarray, first: int, bits: int) -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return [item]


def shown(folder: Path, values: np.ndarray, bits: int = 12, **tags: Any) -> np.ndarray:
    """What is read of one radiograph."""
    write_radiograph(folder / "one", values, BitsStored=bits, HighBit=bits - 1, **tags)
    (series,), _ = index_sources([folder])
    return read_volume(series).array[..., 0].T


def canonical(folder: Path, values: np.ndarray, bits: int = 12, **tags: Any) -> np.ndarray:
    """What a network sees of it."""
    shown(folder, values, bits, **tags)
    (series,), _ = index_sources([folder])
    return CanonicalCXR(SIDE)(read_volume(series)).image_cxyz[0, ..., 0].numpy().T


WAYS: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "8 bit": (stored(8), {"bits": 8}),
    "MONOCHROME1": (4095 - stored(12), {"PhotometricInterpretation": "MONOCHROME1"}),
    "rescaled": (stored(12), {"RescaleSlope": 0.5, "RescaleIntercept": -100}),
    "falling rescale": (4095 - stored(12), {"RescaleSlope": -1, "RescaleIntercept": 4095}),
    "window": (stored(12), {"WindowCenter": 2048, "WindowWidth": 4096}),
    "several windows": (stored(12), {"WindowCenter": [2048, 100], "WindowWidth": [4096, 20]}),
    "window of another bit depth": (stored(12), {"WindowCenter": 127, "WindowWidth": 255}),
    "window of no width": (stored(12), {"WindowCenter": 127, "WindowWidth": 0}),
    "VOI LUT": (
        np.round(4095 * chest() ** 0.5).astype(np.uint16),
        {"VOILUTSequence": table(np.arange(4096) ** 2 / 4095, 0, 12)},
    ),
    "VOI LUT that leaves nothing": (stored(12), {"VOILUTSequence": table(np.zeros(16), 0, 12)}),
    "VOI LUT that is none": (stored(12), {"VOILUTSequence": [Dataset()]}),
    "MONOCHROME1 with window": (
        4095 - stored(12),
        {"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 2048, "WindowWidth": 4096},
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_one_chest_looks_alike_in_every_makers_coding(tmp_path: Path, way: str):
    values, tags = WAYS[way]
    plain, other = canonical(tmp_path / "plain", stored(12)), canonical(tmp_path / "other", values, **tags)
    assert np.abs(plain - other).mean() < ALIKE


def test_window_cuts_off_what_lies_beyond_it_and_nothing_of_the_lungs(tmp_path: Path):
    values = stored(12)
    values[:, :4] = 4095  # bare plate at the edge
    picture = shown(tmp_path, values, WindowCenter=2000, WindowWidth=3400)
    assert (picture.min(), picture.max()) == (300, 3700)
    inside = (values > 300) & (values < 3700)
    np.testing.assert_array_equal(picture[inside], values[inside])


def test_sigmoid_window_is_the_curve_of_the_standard(tmp_path: Path):
    values = stored(12)
    picture = shown(tmp_path, values, WindowCenter=2000, WindowWidth=2000, VOILUTFunction="SIGMOID")
    np.testing.assert_allclose(
        picture, 1 / (1 + np.exp(-4 * (values - 2000.0) / 2000)), atol=1e-6
    )  # PS3.3 C.11.2.1.3.1


def test_padding_is_the_darkest_value_of_the_picture(tmp_path: Path):
    values = stored(12)
    values[0] = 4095
    picture = shown(tmp_path, values, PixelPaddingValue=4095)
    assert (picture[0] == picture.min()).all()
