"""The measures of a study as HL7 FHIR R4 Observations, with the codes and UCUM units of the DICOM report."""

import re
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from kicc_ml.dicom.results import codes
from kicc_ml.service.queue import CaseResult
from kicc_ml.service.web.rows import list_results
from kicc_ml.service.worklist import StudyEntry

UCUM, SNOMED = "http://unitsofmeasure.org", "http://snomed.info/sct"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
#: Code and unit of each column of ``predictions.csv`` that is a measure.
MEASURES: dict[str, tuple[Any, Any]] = {
    "severity_score": (codes.TOTAL_SCORE, codes.POINTS),
    "geographic_extent": (codes.EXTENT, codes.POINTS),
    "percent_involved": (codes.SHARE_INVOLVED, codes.PERCENT),
    "percent_consolidated": (codes.SHARE_CONSOLIDATED, codes.PERCENT),
    "uncertain_percent": (codes.SHARE_UNCERTAIN, codes.PERCENT),
    "lung_ml": ("Lung volume", codes.MILLILITRE),
    "lesion_ml": ("Lesion volume", codes.MILLILITRE),
    "lesion_g": ("Lesion weight", codes.GRAM),
}
NOTE = "Made by a model and read by nobody. Research use only; not for decisions about patients."


def make_bundle(entry: StudyEntry, *, identified: bool) -> dict[str, Any]:
    """Make a Bundle of one Observation for each measure of each result.

    Args:
        entry: the study.
        identified: patient, date and UID of the study are stated.

    Returns:
        a FHIR resource as JSON values.
    """
    common = _make_common(entry, identified)
    found = [
        {"resource": _make_observation(entry, number, name, result, common)}
        for number, result in enumerate(list_results(entry), 1)
        for name in MEASURES
        if result.severity.get(name) is not None
    ]
    return {"resourceType": "Bundle", "type": "collection", "entry": found} if found else _make_empty()


def _make_empty() -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "collection"}  # FHIR has no empty lists


def _make_common(entry: StudyEntry, identified: bool) -> dict[str, Any]:
    common: dict[str, Any] = {
        "status": "preliminary",
        "category": [{"coding": [{"system": CATEGORY, "code": "imaging"}]}],
        "bodySite": {"coding": [{"system": SNOMED, "code": "39607008", "display": "Lung structure"}]},
        "device": {"display": f"kicc_ml {version('kicc_ml')}"},
        "note": [{"text": NOTE}],
    }
    if entry.ended is not None:
        common["issued"] = datetime.fromtimestamp(entry.ended, UTC).isoformat(timespec="milliseconds")
    if identified:
        common |= _make_identity(entry)
    return common


def _make_identity(entry: StudyEntry) -> dict[str, Any]:
    study = {"system": "urn:dicom:uid", "value": f"urn:oid:{entry.uid}"}
    found: dict[str, Any] = {"derivedFrom": [{"type": "ImagingStudy", "identifier": study}]}
    subject: dict[str, Any] = {"type": "Patient"}
    if "ID" in entry.identity:
        subject["identifier"] = {"value": entry.identity["ID"]}
    if "Name" in entry.identity:
        subject["display"] = entry.identity["Name"]
    if len(subject) > 1:
        found["subject"] = subject
    day = re.fullmatch(r"(\d{4})(\d{2})(\d{2})", entry.identity.get("Study date", ""))
    if day:
        found["effectiveDateTime"] = "-".join(day.groups())
    return found


def _make_observation(
    entry: StudyEntry, number: int, name: str, result: CaseResult, common: dict[str, Any]
) -> dict[str, Any]:
    code, unit = MEASURES[name]
    told = {"text": code} if isinstance(code, str) else {"text": code.meaning, "coding": [_make_coding(code)]}
    quantity = {"value": result.severity[name], "unit": unit.meaning, "system": UCUM, "code": unit.value}
    identifier = {"value": f"kicc_ml-{entry.study}-{number}-{name}"}
    method = codes.PROCEDURE.get(result.modality)
    return {
        "resourceType": "Observation",
        "identifier": [identifier],
        **common,
        "code": told,
        **({"method": {"text": method.meaning}} if method else {}),
        "valueQuantity": quantity,
    }


def _make_coding(code: Any) -> dict[str, str]:
    """The scheme of our own codes has no address, so none is stated."""
    return {"code": code.value, "display": code.meaning}
