"""Encode a scan and its map for a page: slices as JPEG, masks as run lengths.

Slices are companded: most of the 256 grey levels lie where the lung and the mediastinal window need them, and the page
converts them back to HU. The page makes the coronal plane from the axial slices.
"""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from kicc_ml.core.types import Volume
from kicc_ml.pictures.montage import find_field_of_view, make_layers, turn_upright

#: HU values of the grey levels :data:`LEVELS`, with linear interpolation between them. A level is about 8 HU in
#: aerated lung (6 HU on screen in the lung window) and 3 HU in soft tissue (1.6 HU in the mediastinal window); the rest
#: is bone.
KNOTS_HU = (-1024.0, -160.0, 240.0, 1200.0)
LEVELS = (0.0, 110.0, 245.0, 255.0)

#: Maximum pixels of a radiograph in each direction: 0.4 mm, about the resolution of a screen.
MAX_RADIOGRAPH_PIXELS = 1024
#: Maximum voxels of the display grid. 384 pixels over the lungs of an adult are 0.9 mm; 200 slices are 1.6 mm.
MAX_PIXELS = 384
MAX_SLICES = 200
JPEG_QUALITY = 82

#: Values of the map. A run is one little-endian uint16: the label in the upper two bits, the length in the others.
UNCERTAIN = "uncertain"  # a map of its own, of zeros and ones
LABELS = {"lung": 1, "lesion": 2, "consolidation": 3}
MAX_RUN_LENGTH = (1 << 14) - 1


@dataclass(frozen=True)
class DisplayScan:
    """A scan as the viewer of the page needs it.

    ``label_zyx`` is the map (``LABELS``). ``uncertain_zyx`` is 1 where the model is uncertain, and None if that is not
    known. Axes run to the patient's left, back and feet. If ``sides`` is False, left and right are not known, and
    ``sides_because`` is the key of the text that says why. If text is ``burned_in``, the slices are empty.
    """

    slices: tuple[str, ...]
    label_zyx: np.ndarray
    spacing_mm: tuple[float, float, float]
    sides: bool
    hounsfield: bool
    uncertain_zyx: np.ndarray | None = None
    sides_because: str = "no_sides"
    burned_in: bool = False

    def make_payload(self) -> dict[str, Any]:
        """Return the values that the viewer reads as JSON."""
        return {
            "slices": self.slices,
            "shape": self.label_zyx.shape,
            "runs": encode_runs(self.label_zyx),
            "uncertain": None if self.uncertain_zyx is None else encode_runs(self.uncertain_zyx),
            "spacing": self.spacing_mm,
            "sides": self.sides,
            "hounsfield": self.hounsfield,
            "knots": KNOTS_HU,
            "levels": LEVELS,
            "involved": compute_involved_percent(self.label_zyx),
        }


def make_ct_display(volume: Volume, masks: Mapping[str, np.ndarray]) -> DisplayScan:
    """Crop a CT to the lungs, downsample it to the display grid, and encode it.

    Args:
        volume: the scan ``[x, y, z]``.
        masks: bool ``[x, y, z]`` by region (see ``core.regions.REGIONS``), on the same grid.
    """
    layers = make_layers(masks) | {name: mask for name, mask in masks.items() if name == UNCERTAIN}
    image, layers, spacing_mm = turn_upright(volume.array, layers, volume.affine_ras)
    box = find_field_of_view(layers, image.shape)
    image, layers = image[box], {name: layer[box] for name, layer in layers.items()}
    if not volume.spacing_known:  # the slice distance is unknown, so the scan is shown as high as it is wide
        spacing_mm = np.array([1.0, 1.0, image.shape[0] / image.shape[2]])
    grid = (MAX_PIXELS, MAX_PIXELS, MAX_SLICES)
    sides = volume.spacing_known and volume.orientation_known
    display = _downsample(replace(volume, array=image), layers, spacing_mm, grid, sides)
    return replace(display, sides_because="no_orientation") if volume.spacing_known and not sides else display


def make_radiograph_display(volume: Volume, masks: Mapping[str, np.ndarray], sides: bool) -> DisplayScan:
    """Downsample and encode a radiograph and its masks ``[x, y, 1]`` as one slice, without cropping.

    ``sides`` says whether the file states left and right.
    """
    layers = make_layers(masks) | {name: mask for name, mask in masks.items() if name == UNCERTAIN}
    grid = (MAX_RADIOGRAPH_PIXELS, MAX_RADIOGRAPH_PIXELS, 1)
    return _downsample(volume, layers, np.array(volume.spacing_mm), grid, sides)


def _downsample(
    volume: Volume,
    layers: Mapping[str, np.ndarray],
    spacing_mm: np.ndarray,
    grid: tuple[int, int, int],
    sides: bool,
) -> DisplayScan:
    """Downsample an upright image to at most ``grid`` voxels, and encode it."""
    image = volume.array
    columns, rows, levels = (
        np.unique(np.linspace(0, size - 1, min(size, max_size)).round().astype(int))
        for size, max_size in zip(image.shape, grid, strict=True)
    )
    thin = np.ix_(columns, rows, levels)
    label_xyz = np.zeros((len(columns), len(rows), len(levels)), np.uint8)
    for name in (name for name in LABELS if name in layers):
        label_xyz[layers[name][thin]] = LABELS[name]
    uncertain_xyz = layers[UNCERTAIN][thin].astype(np.uint8) if UNCERTAIN in layers else None
    thinned_mm = spacing_mm * image.shape / np.array(label_xyz.shape)
    grey = _compute_grey_levels(image[:, :, levels], volume.units == "hu")
    return DisplayScan(
        slices=tuple(_encode_jpeg(grey[:, :, z].T, (len(columns), len(rows))) for z in range(len(levels))),
        label_zyx=_to_slices(label_xyz),
        spacing_mm=(float(thinned_mm[0]), float(thinned_mm[1]), float(thinned_mm[2])),
        sides=sides,
        hounsfield=volume.units == "hu",
        uncertain_zyx=None if uncertain_xyz is None else _to_slices(uncertain_xyz),
    )


def _to_slices(array_xyz: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array_xyz.transpose(2, 1, 0))


def _compute_grey_levels(image: np.ndarray, hounsfield: bool) -> np.ndarray:
    """Compute the grey levels of the page: HU are companded, other units are scaled between their percentiles."""
    if hounsfield:
        table = np.interp(np.arange(-1024, 1201), KNOTS_HU, LEVELS).round().astype(np.uint8)
        return table[np.clip(image, -1024, 1200).astype(np.int16) + 1024]
    low, high = np.percentile(image[::2, ::2], (1, 99))
    return np.clip((image - low) * (255 / max(high - low, 1e-6)), 0, 255).astype(np.uint8)


def _encode_jpeg(grey_yx: np.ndarray, size: tuple[int, int]) -> str:
    picture = Image.fromarray(grey_yx)
    stream = io.BytesIO()
    (picture if picture.size == size else picture.resize(size, Image.Resampling.BOX)).save(
        stream, "JPEG", quality=JPEG_QUALITY
    )
    return base64.b64encode(stream.getvalue()).decode()


def encode_runs(label_zyx: np.ndarray) -> str:
    """Encode the runs of equal labels of the flattened map as base64."""
    flat = label_zyx.ravel()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1])
    lengths = np.diff(np.append(starts, flat.size))
    pieces = -(-lengths // MAX_RUN_LENGTH)
    labels = np.repeat(flat[starts].astype(np.uint16), pieces)
    short = np.full(pieces.sum(), MAX_RUN_LENGTH, np.uint16)
    short[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * MAX_RUN_LENGTH
    return base64.b64encode((labels << 14 | short).astype("<u2").tobytes()).decode()


def compute_involved_percent(label_zyx: np.ndarray) -> list[float]:
    """Compute the percent of the lung that is involved in each slice; 0 for a slice without lung."""
    lung = (label_zyx > 0).sum(axis=(1, 2))
    lesion = (label_zyx > 1).sum(axis=(1, 2))
    return (100 * lesion / np.maximum(lung, 1)).round(1).tolist()
