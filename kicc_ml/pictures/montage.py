"""Draw one picture per CT: axial slices and a coronal slice with the findings, in radiological orientation.

Radiological convention: the patient's right is on the image's left, the patient is seen from the feet.
Colours are those of Okabe & Ito, which colour-blind readers tell apart.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from nibabel.orientations import apply_orientation, io_orientation
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from kicc_ml.core.boxes import Box, find_bounding_box, grow_box, make_whole_box, measure_box
from kicc_ml.core.files import whole_file
from kicc_ml.core.regions import find_region
from kicc_ml.core.shown import escape_for_picture
from kicc_ml.core.types import SeverityMap, Units
from kicc_ml.pictures.fonts import choose_font

AXIAL_SLICES = 8
AXIAL_COLUMNS = 4
TILE_PX = 210
GAP_PX = 4
HEADER_PX = 58
FOOTER_PX = 30
TITLE_PX = 20

LESION_RGB = (230, 159, 0)
CONSOLIDATION_RGB = (204, 70, 190)
LUNG_RGB = (86, 180, 233)
REFERENCE_RGB = (255, 255, 255)
LEGEND = {
    "lung": (LUNG_RGB, "lung"),
    "lesion": (LESION_RGB, "lesion"),
    "consolidation": (CONSOLIDATION_RGB, "consolidation"),
    "reference": (REFERENCE_RGB, "reference lesion"),
}
OPACITY = 0.45

#: Lung window, level -600 and width 1500 HU.
LUNG_WINDOW_HU = (-1350.0, 150.0)

#: Lung plus this share of its size on every side is shown, so that the chest wall orients the reader.
MARGIN_SHARE = 0.12

SCALE_BAR_MM = 50


def draw_montage(
    image_xyz: np.ndarray,
    masks: Mapping[str, np.ndarray],
    affine_ras: np.ndarray,
    title: str,
    severity: SeverityMap | None = None,
    units: Units = "hu",
    reference_lesion_xyz: np.ndarray | None = None,
    spacing_known: bool = True,
    orientation_known: bool = True,
) -> Image.Image:
    """Draw ``masks`` (boolean ``[x, y, z]``, see ``core.regions.REGIONS``) over the slices of a CT.

    Eight axial slices from head to foot and the coronal slice with most lesion; half as many slices where no mask is
    given. ``reference_lesion_xyz`` is drawn as a white outline. Where a file states no spacing its axes are not to be
    trusted either: no scale bar, no R and L. Where it states no orientation there is no R and L.
    """
    layers = make_layers(masks, reference_lesion_xyz)
    image, layers, spacing_mm = turn_upright(image_xyz, layers, affine_ras)
    box = find_field_of_view(layers, image.shape)
    grey, layers = apply_window(image[box], units), {name: layer[box] for name, layer in layers.items()}
    if not spacing_known:  # slices are thicker than pixels, by how much nobody knows: as high as wide
        spacing_mm = np.array([1.0, 1.0, grey.shape[0] / grey.shape[2]])
    sheet = _draw_sheet(grey, layers, spacing_mm, sides=spacing_known and orientation_known)
    draw_texts(sheet, title, _describe_severity(severity) if severity else "", layers)
    if spacing_known:
        _draw_scale_bar(sheet, TILE_PX / (grey.shape[0] * spacing_mm[0]))
    return sheet


def write_picture(sheet: Image.Image, path: Path, *, private: bool = False) -> None:
    """Write a picture as PNG, completely or not at all; ``private`` as in :func:`whole_file`."""
    with whole_file(path, private=private) as partial:
        sheet.save(partial, format="PNG")


def make_layers(masks: Mapping[str, np.ndarray], reference: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Make the layers to draw, from the bottom up: ``lung lesion consolidation reference``, as far as known."""
    layers = {region: find_region(masks, region) for region in ("lung", "lesion", "consolidation")}
    layers["reference"] = None if reference is None else np.asarray(reference, bool)
    return {name: layer for name, layer in layers.items() if layer is not None}


def apply_window(image: np.ndarray, units: Units) -> np.ndarray:
    """Convert an image to uint8: the lung window of HU, or the range from the 1st to the 99th percentile."""
    low, high = LUNG_WINDOW_HU
    if units != "hu":
        low, high = (float(bound) for bound in np.percentile(image[(slice(None, None, 2),) * image.ndim], (1, 99)))
    grey = np.subtract(image, low, dtype=np.float32)
    grey *= 255 / max(high - low, 1e-6)  # in place: a whole CT of thin slices has a GiB of these
    return np.clip(grey, 0, 255, out=grey).astype(np.uint8)


def turn_upright(
    image: np.ndarray, layers: Mapping[str, np.ndarray], affine_ras: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Reorient all arrays so that indices run to the patient's left, back and feet."""
    to_ras = io_orientation(affine_ras)
    spacing_mm = np.empty(3)
    spacing_mm[to_ras[:, 0].astype(int)] = np.linalg.norm(affine_ras[:3, :3], axis=0)
    to_lpi = to_ras * np.array([1, -1])
    turned = {name: apply_orientation(layer, to_lpi) for name, layer in layers.items()}
    return apply_orientation(image, to_lpi), turned, spacing_mm


def find_field_of_view(layers: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> Box:
    """Find the bounding box of the lung, else of the lesion, else of the image, with ``MARGIN_SHARE`` around it."""
    for name in ("lung", "lesion"):
        if name in layers and (box := find_bounding_box(layers[name])):
            margin = [int(np.ceil(MARGIN_SHARE * size)) for size in measure_box(box)]
            return grow_box(box, margin, shape)
    return make_whole_box(shape)


def _draw_sheet(grey: np.ndarray, layers: Mapping[str, np.ndarray], spacing_mm: np.ndarray, sides: bool) -> Image.Image:
    """Draw the axial slices from head to foot and the coronal slice beside them, below an empty header."""
    width_mm, depth_mm, height_mm = np.array(grey.shape) * spacing_mm
    tile = (TILE_PX, max(1, round(TILE_PX * depth_mm / width_mm)))
    levels = _choose_axial_slices(layers, grey.shape[2])
    axial_height = len(levels) // AXIAL_COLUMNS * (tile[1] + GAP_PX) - GAP_PX
    coronal = _fit_size(TILE_PX * 2, axial_height, width_mm / height_mm)
    coronal_left = AXIAL_COLUMNS * (TILE_PX + GAP_PX)
    size = (coronal_left + coronal[0], HEADER_PX + axial_height + FOOTER_PX)
    sheet = Image.new("RGB", size, "black")
    for place, z in enumerate(levels):
        row, column = divmod(place, AXIAL_COLUMNS)
        corner = (column * (TILE_PX + GAP_PX), HEADER_PX + row * (tile[1] + GAP_PX))
        plane = {name: layer[:, :, z] for name, layer in layers.items()}
        sheet.paste(draw_plane(grey[:, :, z], plane, tile, sides), corner)
    y = _choose_coronal_slice(layers, grey.shape[1])
    plane = {name: layer[:, y, :] for name, layer in layers.items()}
    sheet.paste(draw_plane(grey[:, y, :], plane, coronal, sides), (coronal_left, HEADER_PX))
    return sheet


def _fit_size(most_width: int, most_height: int, width_by_height: float) -> tuple[int, int]:
    """Compute the largest width and height in pixels with the given proportion."""
    width = min(most_width, most_height * width_by_height)
    return max(1, round(width)), max(1, round(width / width_by_height))


def _choose_axial_slices(layers: Mapping[str, np.ndarray], slices: int) -> np.ndarray:
    """Choose axial slices evenly over the lung, without its tips. One row only if there are no findings."""
    lung = layers.get("lung")
    levels = np.flatnonzero(lung.any(axis=(0, 1))) if lung is not None and lung.any() else np.arange(slices)
    shown = AXIAL_SLICES if layers else AXIAL_COLUMNS
    return np.rint(np.linspace(levels[0], levels[-1], shown + 2)[1:-1]).astype(int)


def _choose_coronal_slice(layers: Mapping[str, np.ndarray], rows: int) -> int:
    for name in ("lesion", "lung"):
        if name in layers and layers[name].any():
            return int(layers[name].sum(axis=(0, 2)).argmax())
    return rows // 2


def draw_plane(
    grey_xy: np.ndarray, layers_xy: Mapping[str, np.ndarray], size: tuple[int, int], sides: bool
) -> Image.Image:
    """Draw one plane at ``size`` (width, height) in pixels, with fills and outlines, and R and L if ``sides``."""
    picture = Image.fromarray(grey_xy.T).resize(size, Image.Resampling.BILINEAR)
    rgb = np.repeat(np.asarray(picture, np.float32)[..., None], 3, axis=2)
    drawn = {name: _enlarge(layer, size) for name, layer in layers_xy.items()}
    for name in ("lesion", "consolidation"):
        if name in drawn:
            rgb[drawn[name]] = (1 - OPACITY) * rgb[drawn[name]] + OPACITY * np.array(LEGEND[name][0])
    for name in ("lung", "reference"):
        if name in drawn:
            rgb[drawn[name] & ~ndimage.binary_erosion(drawn[name])] = LEGEND[name][0]
    tile = Image.fromarray(rgb.astype(np.uint8))
    words, font = ImageDraw.Draw(tile), ImageFont.load_default(13)
    for letter, left, anchor in (("R", 4, "la"), ("L", size[0] - 4, "ra")) if sides else ():
        words.text((left, 2), letter, "white", font, anchor, stroke_width=1, stroke_fill="black")
    return tile


def _enlarge(mask_xy: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(mask_xy.T.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)) > 0


def draw_texts(sheet: Image.Image, title: str, said: str, layers: Mapping[str, np.ndarray]) -> None:
    """Draw the title and the summary above the picture, and the legend of its layers below."""
    words = ImageDraw.Draw(sheet)
    shown = escape_for_picture(title)
    words.text((8, 6), shown, fill="white", font=choose_font(shown, TITLE_PX))
    small = ImageFont.load_default(14)
    words.text((8, 33), said, fill="white", font=small)
    left, top = 8, sheet.height - FOOTER_PX + 8
    for name in layers:
        colour, label = LEGEND[name]
        words.rectangle((left, top + 2, left + 12, top + 14), fill=colour)
        words.text((left + 18, top), label, fill="white", font=small)
        left += 42 + int(words.textlength(label, font=small))
    words.text((sheet.width - 8, top), "research use only", fill="white", font=small, anchor="ra")


def _describe_severity(severity: SeverityMap) -> str:
    """Describe the severity of a CT in one line; an unknown score is stated as not available."""
    score = "not available" if severity.score is None else f"{severity.score} of 24"
    parts = [f"severity score {score}"]
    if severity.percent_involved is not None:
        parts.append(f"{severity.percent_involved:.0f} % of the lung involved")
    if severity.percent_consolidated is not None:
        parts.append(f"{severity.percent_consolidated:.0f} % consolidated")
    if severity.lesion_ml is not None:
        parts.append(f"lesion {severity.lesion_ml:.0f} mL")
    return "  |  ".join(parts)


def _draw_scale_bar(sheet: Image.Image, px_per_mm: float) -> None:
    """Draw a bar of 5 cm at the scale of the axial slices."""
    words, length = ImageDraw.Draw(sheet), SCALE_BAR_MM * px_per_mm
    left, top = AXIAL_COLUMNS * (TILE_PX + GAP_PX) - GAP_PX - length - 6, sheet.height - FOOTER_PX - 12
    words.rectangle((left, top, left + length, top + 3), fill="white", outline="black")
    font, middle = ImageFont.load_default(12), left + length / 2
    words.text((middle, top - 3), "5 cm", "white", font, "mb", stroke_width=1, stroke_fill="black")
