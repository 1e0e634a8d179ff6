"""One picture per radiograph: bare, and beside it with the findings drawn in."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from kicc_ml.montage import FOOTER_PX, GAP_PX, HEADER_PX, layers_of, overlay, window, write_words
from kicc_ml.records import SeverityMap

#: Width of each of the two.
PANEL_PX = 480


def radiograph_overlay(
    image_xy: np.ndarray,
    masks: Mapping[str, np.ndarray],
    path: Path,
    title: str,
    severity: SeverityMap,
    reference_lesion_xy: np.ndarray | None = None,
    sides: bool = True,
) -> Path:
    """Write a PNG of ``masks`` (boolean ``[x, y]``, see ``records.REGIONS``) beside and over the image; its path.

    As it hangs, the patient's right on the left, which is marked where ``sides``. ``reference_lesion_xy`` is drawn as a
    white outline. The file appears whole or not at all.
    """
    layers = layers_of(masks, reference_lesion_xy)
    grey_xy = window(image_xy, "arbitrary")
    panel = (PANEL_PX, max(1, round(PANEL_PX * image_xy.shape[1] / image_xy.shape[0])))
    sheet = Image.new("RGB", (2 * PANEL_PX + GAP_PX, HEADER_PX + panel[1] + FOOTER_PX), "black")
    sheet.paste(overlay(grey_xy, {}, panel, sides=False), (0, HEADER_PX))
    sheet.paste(overlay(grey_xy, layers, panel, sides), (PANEL_PX + GAP_PX, HEADER_PX))
    write_words(sheet, title, in_words(severity), layers)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    sheet.save(partial, format="PNG")
    os.replace(partial, path)
    return path


def in_words(severity: SeverityMap) -> str:
    """What the reader is to remember; what is not known is left out."""
    if severity.percent_involved is None:
        return "no lung found"
    parts = [f"{severity.percent_involved:.0f} % of the lung fields opacified"]
    parts += [f"{side} {share:.0f} %" for side, share in severity.lung_percent.items() if share is not None]
    if severity.geographic_extent is not None:
        parts.append(f"geographic extent {severity.geographic_extent} of 8")
    return "  |  ".join(parts)
