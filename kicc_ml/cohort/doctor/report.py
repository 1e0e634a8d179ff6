"""Report of what a hospital should mend before it sends its data, in plain words, the worst first."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from kicc_ml.cohort.doctor.findings import Finding, worst_first
from kicc_ml.cohort.doctor.images import image_findings
from kicc_ml.cohort.doctor.masks import mask_findings
from kicc_ml.cohort.doctor.table import table_findings
from kicc_ml.cohort.repository import clinical_path, hospitals_with_images
from kicc_ml.core.pseudonym import load_repository_key
from kicc_ml.core.shown import escape_markup, format_count
from kicc_ml.dicom.index.build import SourceIndex, read_index


@dataclass(frozen=True)
class Diagnosis:
    """The result of an examination: the number of usable series and patients, and the findings, the worst first."""

    ct_series: int
    radiographs: int
    patients: int
    findings: Sequence[Finding]

    def as_dict(self) -> dict[str, Any]:
        """Convert the diagnosis to a dictionary for JSON."""
        return asdict(self)


def examine(source: str, *, decode: bool = False, true_paths: bool = False) -> Diagnosis:
    """Examine a folder, a zip file or a DICOMweb service.

    Args:
        source: the path or address of the source.
        decode: whether to decode every image too.
        true_paths: whether to show the real paths of the examples, which may identify patients.

    Raises:
        UserError: there is nothing to examine.
    """
    found = replace(_read(source, decode), true_paths=true_paths)
    in_folder = Path(source).is_dir()
    findings = [*image_findings(found, in_folder), *(table_findings(found) if in_folder else ())]
    findings += mask_findings(found) if in_folder else ()
    return _diagnosis(found, findings)


def _read(source: str, decode: bool) -> SourceIndex:
    """Read the index of a source; a folder with only a clinical table has an index without images."""
    root = Path(source)
    if clinical_path(root).is_file() and not hospitals_with_images(root):
        return SourceIndex(root, load_repository_key(root), (), ())
    (found,) = read_index([source], decode=decode, cached=True)
    return found


def _diagnosis(found: SourceIndex, findings: Sequence[Finding]) -> Diagnosis:
    usable = [one for one in found.series if one.usable]
    kinds = [one.modality for one in usable]
    patients = len({(one.site, one.patient) for one in usable})
    return Diagnosis(kinds.count("CT"), kinds.count("CXR"), patients, worst_first(findings))


def in_one_line(diagnosis: Diagnosis) -> str:
    """Summarise a diagnosis in one line: usable images and the number of faults; notes only if there are no faults."""
    used = (
        f"{format_count(diagnosis.ct_series, 'CT series', 'CT series')} and "
        f"{format_count(diagnosis.radiographs, 'radiograph')} of "
        f"{format_count(diagnosis.patients, 'patient')} can be used"
    )
    grave = [one for one in diagnosis.findings if one.severity != "note"]
    if grave:
        return f"{format_count(len(grave), 'thing')} to mend; {used}."
    notes = "; ".join(one.sentence for one in diagnosis.findings)
    return f"Nothing to mend: {used}." + (f" To note: {notes}." if notes else "")


def table(diagnosis: Diagnosis) -> Table:
    """Make a table of the findings for the terminal: severity, sentence, example and remedy."""
    shown = Table(box=None, show_header=False, pad_edge=False)
    shown.add_column(no_wrap=True)
    shown.add_column(overflow="fold")
    for one in diagnosis.findings:
        example = f"for example {one.example}" if one.example else ""
        lines = [one.sentence, example, one.remedy and f"-> {one.remedy}", ""]
        shown.add_row(
            f"[bold]{one.severity}[/bold]", "\n".join(escape_markup(line) for line in (*filter(None, lines), ""))
        )
    return shown
