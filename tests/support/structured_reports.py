"""What a structured report says."""

from pydicom.dataset import Dataset


def items(dataset: Dataset, code: str) -> list[Dataset]:
    """Every item of a concept, at any depth."""
    found = []
    for child in dataset.get("ContentSequence", []):
        found += [child] if code_of(child) == code else []
        found += items(child, code)
    return found


def code_of(item: Dataset) -> str:
    """The code of an item's concept; empty without one."""
    return str(item.ConceptNameCodeSequence[0].CodeValue) if item.get("ConceptNameCodeSequence") else ""


def list_values(report: Dataset) -> list[str]:
    """The measured values of a report, in their order."""
    return [str(element.value) for element in report.iterall() if element.keyword == "NumericValue"]
