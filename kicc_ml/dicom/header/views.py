"""Find the view of a radiograph and its orientation."""

import re
from pathlib import Path

import pydicom

from kicc_ml.core.types import DisplayOrientation
from kicc_ml.dicom.header.stated_tags import suppress_warnings
from kicc_ml.dicom.header.values import read_text

FRONTAL = {"AP": "AP", "PA": "PA"}
#: View Position (0018,5101) of views that are not frontal: lateral, oblique, decubitus.
NOT_FRONTAL = {"LL", "RL", "LLD", "RLD", "LLO", "RLO", "LAO", "RAO", "LPO", "RPO", "LAT", "LATERAL", "L"}
LATERAL_WORD = re.compile(r"\b(lat|lateral|ll|seitlich)\b", re.IGNORECASE)
FRONTAL_WORD = re.compile(r"\b(ap|pa|frontal)\b", re.IGNORECASE)


def find_view_position(view: str, *descriptions: str) -> str:
    """Find the view of a radiograph: ``AP``, ``PA``, ``lateral``, or "" if it is not known.

    Descriptions are used only if View Position is missing, and only if they do not name both views
    ("Chest PA and lateral" is written on both images of a study).

    Args:
        view: View Position (0018,5101).
        descriptions: descriptions of series and protocol.
    """
    view = view.upper()
    if view in FRONTAL:
        return FRONTAL[view]
    if view in NOT_FRONTAL:
        return "lateral"
    words = " ".join(descriptions).replace("_", " ")
    frontal = {word.upper() for word in FRONTAL_WORD.findall(words)}
    if LATERAL_WORD.search(words):
        return "" if frontal else "lateral"
    return frontal.pop() if len(frontal) == 1 and frontal <= FRONTAL.keys() else ""


def read_display_orientation(path: Path) -> DisplayOrientation:
    """Read whether Patient Orientation (0020,0020) of a DICOM radiograph states the usual orientation.

    Returns:
        ``stated`` if rows run to the patient's left and columns to the feet, as usual; ``otherwise`` if the file states
        another orientation; ``unstated`` if it states none.
    """
    with suppress_warnings():  # judged by the index
        tags = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=["PatientOrientation"])
    row, column = (*read_text(tags, "PatientOrientation").upper().split("\\"), "", "")[:2]
    if not row and not column:
        return "unstated"
    return "stated" if row.startswith("L") and column.startswith("F") else "otherwise"
