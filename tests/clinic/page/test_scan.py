"""The page gets slices that keep HU, an exact map, and the axes of a radiologist."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from kicc_ml.clinic.page.scan import (
    KNOTS_HU,
    LEVELS,
    MAX_PIXELS,
    MAX_SLICES,
    compute_involved_percent,
    encode_runs,
    make_ct_display,
)
from kicc_ml.core.types import Volume


def decode_runs(text: str, size: int) -> np.ndarray:
    """Runs by the rule in the module's words: label in the upper two bits, length below."""
    runs = np.frombuffer(base64.b64decode(text), "<u2")
    labels = np.repeat(runs >> 14, runs & 0x3FFF)
    assert len(labels) == size
    return labels


def decode_hu(jpeg: str) -> np.ndarray:
    levels = np.asarray(Image.open(io.BytesIO(base64.b64decode(jpeg))), float)
    return np.interp(levels, LEVELS, KNOTS_HU)


def test_runs_give_back_every_voxel_even_of_runs_longer_than_one_number_holds():
    label = np.zeros((3, 200, 200), np.uint8)
    label[1, 50:60, 70:90] = 3
    label[2, :, :] = 1
    np.testing.assert_array_equal(decode_runs(encode_runs(label), label.size), label.ravel())


def test_slices_run_from_head_to_foot_and_columns_to_the_patients_left(chest):
    volume, masks = chest
    scan = make_ct_display(volume, masks)
    z, _, x = np.nonzero(scan.label_zyx > 1)
    depth, _, columns = scan.label_zyx.shape
    assert z.mean() > depth * 2 / 3  # lower zone
    assert x.mean() < columns / 2  # the patient's right, on the picture's left


def test_axes_do_not_depend_on_how_the_volume_is_stored(chest):
    volume, masks = chest
    flip = np.diag([-1.0, 1, -1, 1])
    flip[:3, 3] = [63, 0, 29]
    turned = Volume(volume.array[::-1, :, ::-1], volume.affine_ras @ flip, "hu")
    one = make_ct_display(volume, masks)
    other = make_ct_display(turned, {name: mask[::-1, :, ::-1] for name, mask in masks.items()})
    np.testing.assert_array_equal(one.label_zyx, other.label_zyx)
    assert one.slices == other.slices


def test_both_windows_survive_the_picture(chest):
    volume, masks = chest
    scan = make_ct_display(volume, masks)
    middle = scan.label_zyx.shape[0] // 2
    hu = decode_hu(scan.slices[middle])
    lung = scan.label_zyx[middle] == 1
    assert np.median(hu[lung]) == pytest.approx(-850, abs=8)
    assert np.median(hu[scan.label_zyx[middle] == 0]) == pytest.approx(40, abs=3)


def test_a_large_scan_is_thinned_to_the_display_grid_and_keeps_its_size_in_millimetres():
    volume = Volume(np.zeros((400, 500, 230), np.int16), np.diag([-0.7, -0.7, 1.0, 1.0]), "hu")
    scan = make_ct_display(volume, {"lung": np.zeros(volume.array.shape, bool)})
    assert scan.label_zyx.shape == (MAX_SLICES, MAX_PIXELS, MAX_PIXELS)
    size_mm = np.array(scan.spacing_mm) * scan.label_zyx.shape[::-1]
    np.testing.assert_allclose(size_mm, [280, 350, 230])


def test_a_scan_without_geometry_has_neither_sides_nor_hu(chest):
    _, masks = chest
    grey = Volume(np.arange(64 * 48 * 30, dtype=np.float32).reshape(64, 48, 30), np.eye(4), "arbitrary", False)
    scan = make_ct_display(grey, masks)
    assert (scan.sides, scan.hounsfield) == (False, False)


def test_share_involved_is_of_the_lung_of_that_slice_and_zero_without_lung():
    label = np.zeros((2, 2, 4), np.uint8)
    label[0, 0] = [1, 1, 2, 3]
    assert compute_involved_percent(label) == [50.0, 0.0]
