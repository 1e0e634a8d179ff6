"""Coded words of the DICOM objects that are written and read: SNOMED CT, DCM, UCUM, or our own."""

from collections.abc import Mapping

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")

CONSOLIDATION = Code("9656002", "SCT", "Consolidation")
#: Region of :data:`kicc_ml.core.regions.REGIONS` (or ground glass) to label, category, type, laterality and colour.
SEGMENTS: Mapping[str, tuple[str, Code, Code, str, tuple[int, int, int]]] = {
    "right_lung": ("right lung", codes.SCT.AnatomicalStructure, codes.SCT.Lung, "right", (86, 180, 233)),
    "left_lung": ("left lung", codes.SCT.AnatomicalStructure, codes.SCT.Lung, "left", (0, 114, 178)),
    "lung": ("lungs", codes.SCT.AnatomicalStructure, codes.SCT.Lung, "", (86, 180, 233)),
    "ground_glass": (
        "ground glass and other lesion",
        codes.SCT.MorphologicallyAbnormalStructure,
        codes.DCM.GroundGlassOpacity,
        "",
        (230, 159, 0),
    ),
    "lesion": ("lesion", codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Lesion, "", (230, 159, 0)),
    "consolidation": (
        "consolidation",
        codes.SCT.MorphologicallyAbnormalStructure,
        CONSOLIDATION,
        "",
        (204, 70, 190),
    ),
}

#: The second as HL7's US Core 5.0.0 has it ("Plain chest X-ray", its name in earlier editions).
PROCEDURE = {
    "CT": Code("169069000", "SCT", "CT of chest"),
    "CXR": Code("399208008", "SCT", "Plain X-ray of chest"),
}
MASS = Code("118538004", "SCT", "Mass")
#: No standard scheme has these; the designator is of this project (PS3.16 section 8).
SHARE_INVOLVED = Code("INVOLVED", "99KICC", "Share of lung involved")
SHARE_CONSOLIDATED = Code("CONSOLIDATED", "99KICC", "Share of lung consolidated")
SHARE_UNCERTAIN = Code("UNCERTAIN", "99KICC", "Share of lung of which the model is unsure")
RISK = {
    "risk": Code("RISK", "99KICC", "Predicted risk"),
    "low": Code("RISK_LOW", "99KICC", "Predicted risk, lower bound of the 90 % interval"),
    "high": Code("RISK_HIGH", "99KICC", "Predicted risk, upper bound of the 90 % interval"),
    "clinical": Code("RISK_CLINICAL", "99KICC", "Predicted risk, clinical model"),
}
RADIOGRAPH_SCORE = Code("FILM_SCORE", "99KICC", "Predicted score of a radiologist")
ZONE_SCORE = Code("ZONE_SCORE", "99KICC", "Zone score 0-4 (Wang 2020)")
TOTAL_SCORE = Code("TOTAL_SCORE", "99KICC", "Severity score 0-24 (Wang 2020)")
MILLILITRE = Code("ml", "UCUM", "milliliter")
GRAM = Code("g", "UCUM", "gram")
PERCENT = Code("%", "UCUM", "Percent")
EXTENT = Code("EXTENT", "99KICC", "Geographic extent 0-8 (Wong 2020)")
POINTS = Code("{score}", "UCUM", "score")

SIDE = {"right": codes.SCT.Right, "left": codes.SCT.Left}
ZONE = {
    "upper": codes.SCT.UpperZoneOfLung,
    "middle": codes.SCT.MiddleZoneOfLung,
    "lower": codes.SCT.LowerZoneOfLung,
}
