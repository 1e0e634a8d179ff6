"""One picture per image: of a CT a montage, of a radiograph itself and beside it the findings drawn in."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from PIL import Image

from kicc_ml.core.types import DisplayOrientation, SeverityMap, Volume
from kicc_ml.pictures.montage import (
    FOOTER_PX,
    GAP_PX,
    HEADER_PX,
    apply_window,
    draw_montage,
    draw_plane,
    draw_texts,
    make_layers,
)

#: Why an image is left out of a picture.
BURNED_IN = "text is burned into it"
#: Width of each of the two.
PANEL_PX = 480


def draw_case_picture(
    title: str,
    volume: Volume,
    masks: Mapping[str, np.ndarray],
    hanging: DisplayOrientation | None,
    severity: SeverityMap | None = None,
    reference_lesion: np.ndarray | None = None,
    *,
    burned_in: bool = False,
) -> Image.Image:
    """Draw an image with its findings: slices of a CT (``hanging`` None), a radiograph bare and with its map.

    ``masks`` are boolean on the grid of ``volume``, in which a radiograph is one slice. Without any the image stands
    alone. Of an image with text ``burned_in`` only the masks are drawn: the text may be a name.
    """
    if burned_in:
        volume, title = without_image(volume), f"{title}; image not shown: {BURNED_IN}"
    if hanging is None:
        return draw_montage(
            volume.array,
            masks,
            volume.affine_ras,
            title,
            severity,
            volume.units,
            reference_lesion,
            volume.spacing_known,
            volume.orientation_known,
        )
    flat = {region: mask[..., 0] for region, mask in masks.items()}
    reference_xy = None if reference_lesion is None else reference_lesion[..., 0]
    return draw_radiograph_overlay(volume.array[..., 0], flat, title, severity, reference_xy, sides=hanging == "stated")


def without_image(volume: Volume) -> Volume:
    """Return the volume without its image content, for a picture of its masks alone."""
    return replace(volume, array=np.full_like(volume.array, volume.array.min()))


def draw_radiograph_overlay(
    image_xy: np.ndarray,
    masks: Mapping[str, np.ndarray],
    title: str,
    severity: SeverityMap | None = None,
    reference_lesion_xy: np.ndarray | None = None,
    sides: bool = True,
) -> Image.Image:
    """Draw ``masks`` (boolean ``[x, y]``, by region) over a radiograph, beside the radiograph alone.

    As it hangs, the patient's right on the left, which is marked where ``sides``. ``reference_lesion_xy`` is drawn as a
    white outline.
    """
    layers = make_layers(masks, reference_lesion_xy)
    grey_xy = apply_window(image_xy, "arbitrary")
    panel = (PANEL_PX, max(1, round(PANEL_PX * image_xy.shape[1] / image_xy.shape[0])))
    panels = [draw_plane(grey_xy, layers, panel, sides)]
    if layers:
        panels.insert(0, draw_plane(grey_xy, {}, panel, sides=False))
    width = len(panels) * (PANEL_PX + GAP_PX) - GAP_PX
    sheet = Image.new("RGB", (width, HEADER_PX + panel[1] + FOOTER_PX), "black")
    for place, one in enumerate(panels):
        sheet.paste(one, (place * (PANEL_PX + GAP_PX), HEADER_PX))
    draw_texts(sheet, title, describe_radiograph_severity(severity) if severity else "", layers)
    return sheet


def describe_radiograph_severity(severity: SeverityMap) -> str:
    """Describe the severity of a radiograph in one line; unknown values are left out."""
    if severity.percent_involved is None:
        missing = "percent_involved: "
        stated = [reason.removeprefix(missing) for reason in severity.reasons if reason.startswith(missing)]
        return stated[0] if stated else "no lung found"
    parts = [f"{severity.percent_involved:.0f} % of the lung fields opacified"]
    parts += [f"{side} {share:.0f} %" for side, share in severity.lung_percent.items() if share is not None]
    if severity.geographic_extent is not None:
        parts.append(f"geographic extent {severity.geographic_extent} of 8")
    return "  |  ".join(parts)
