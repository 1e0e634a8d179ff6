"""Findings about the images of a source."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kicc_ml.cohort.doctor.findings import Finding, Severity, Stake
from kicc_ml.core.shown import format_count
from kicc_ml.core.types import Series
from kicc_ml.dicom.header.identity_checks import find_identity_faults
from kicc_ml.dicom.header.shown_path import decode_path
from kicc_ml.dicom.header.stated_tags import find_faulty_tags
from kicc_ml.dicom.index.build import SourceIndex
from kicc_ml.dicom.index.summary import NOTES
from kicc_ml.dicom.series.reasons import REASONS
from kicc_ml.dicom.series.remedies import REMEDIES

#: Ground glass may be smaller than a slice of this thickness (Fleischner Society: 1.5 mm or thinner).
THICK_MM = 5.0
#: Reasons for files that were left out or series that were split. They are only notes, with these remedies.
HARMLESS = {
    "duplicate_slice": "send each image once",
    "dose_page": "leave dose pages and screenshots out: they often show the patient's name",
    "secondary_capture": "leave screenshots out: they often show the patient's name",
    "linked_twice": "remove the link, or move the folder to the hospital that it belongs to",
    "split_kernel": "send each reconstruction as a series of its own",
}
#: Faults of the patient identity in a header: severity, stake, sentence and remedy.
IDENTITY: Mapping[str, tuple[Severity, Stake, str, str]] = {
    "no_patient_id": (
        "must mend",
        "patients",
        "Patient ID is empty, so that no row of the table can be found",
        "export with the Patient ID of the table",
    ),
    "burned_in": ("must mend", "privacy", REASONS["burned_in"], REMEDIES["burned_in"]),
    "wrong_charset": (
        "should mend",
        "quality",
        "the patient's name is not in the Specific Character Set that is stated",
        "state the character set: ISO 2022 IR 149 or ISO_IR 192 for Korean",
    ),
}
#: Reasons of left-out images that may show text; the identity in their headers is checked too.
PICTURES = {"dose_page", "secondary_capture"}


def image_findings(found: SourceIndex, names_are_paths: bool) -> Iterator[Finding]:
    """Find faults in the images of one indexed source.

    Args:
        found: the index of the source.
        names_are_paths: whether its files are in a folder, not in an archive.
    """
    yield from _lost_patients(found)
    codes = {code for one in found.series for code in one.reasons} | {row.reason for row in found.file_rows}
    for code in sorted(codes - {"burned_in"}):
        yield from _of_reason(found, code)
    yield from _of_identity(found)
    yield from _of_faulty_tags(found)
    if names_are_paths:
        yield from _of_paths(found)
    yield from _thick(found)


def _patients(series: Iterable[Series]) -> set[tuple[str, str]]:
    return {(one.site, one.patient) for one in series}


def _lost_patients(found: SourceIndex) -> Iterator[Finding]:
    lost = _patients(found.series) - _patients(one for one in found.series if one.usable)
    if not lost:
        return
    theirs = [one for one in found.series if (one.site, one.patient) in lost]
    why = ", ".join(sorted({code for one in theirs for code in _why(one)}))
    sentence = f"{format_count(len(lost), 'patient')} lost: not one image can be used ({why})"
    example = found.name_file(theirs[0].files[0])
    yield Finding("must mend", "patients", "patient_lost", sentence, len(lost), example, "see these reasons below")


def _of_reason(found: SourceIndex, code: str) -> Iterator[Finding]:
    refused = [one for one in found.series if not one.usable and code in _why(one)]
    if refused:
        yield _refused(found, code, refused)
    else:
        yield from _left_out_or_said(found, code)


def _why(refused: Series) -> list[str]:
    """Select the reasons why a series was refused: those with a remedy, else all. Notes never count."""
    reasons = [code for code in refused.reasons if code not in NOTES]
    return [code for code in reasons if code in REMEDIES] or reasons


def _refused(found: SourceIndex, code: str, refused: Sequence[Series]) -> Finding:
    whose = format_count(len(_patients(refused)), "patient")
    words = f"{REASONS[code]}{_how_many_missing(code, refused)}"
    sentence = f"{format_count(len(refused), 'series', 'series')} of {whose} refused: {words}"
    severity: Severity = "must mend" if code in REMEDIES else "note"  # nothing is wrong with a lateral view
    example = found.name_file(refused[0].files[0])
    return Finding(severity, "images", code, sentence, len(refused), example, REMEDIES.get(code, ""))


def _left_out_or_said(found: SourceIndex, code: str) -> Iterator[Finding]:
    """Report a reason that made no series unusable: it concerns left-out files or usable series."""
    files = [row.path for row in found.file_rows if row.reason == code]
    said = [one.files[0] for one in found.series if one.usable and code in one.reasons]
    paths, what = (
        (files, format_count(len(files), "file")) if files else (said, format_count(len(said), "series", "series"))
    )
    remedy = HARMLESS.get(code) or REMEDIES.get(code)
    if not paths or not remedy:
        return
    severity: Severity = "note" if code in HARMLESS else "should mend"
    stake: Stake = "quality" if code in (*HARMLESS, "lossy_compression") else "images"
    yield Finding(severity, stake, code, f"{what}: {REASONS[code]}", len(paths), found.name_file(paths[0]), remedy)


def _how_many_missing(code: str, refused: Sequence[Series]) -> str:
    if code != "missing_slice":
        return ""
    missing = sum(
        round(one.coverage_mm / one.spacing_mm[2]) - one.slices
        for one in refused
        if one.coverage_mm and one.spacing_mm and one.spacing_mm[2]
    )
    return f" ({format_count(missing, 'slice')} in all)" if missing > 0 else ""


def _of_identity(found: SourceIndex) -> Iterator[Finding]:
    """Report faults of the patient identity, from the first file of each series and each left-out picture."""
    looked_at = [one.files[0] for one in found.series]
    looked_at += [row.path for row in found.file_rows if row.reason in PICTURES]
    held = defaultdict(list)
    burned_in = {one.files[0] for one in found.series if "burned_in" in one.reasons}  # in any slice
    for path in dict.fromkeys(looked_at):
        for code in find_identity_faults(path) | ({"burned_in"} if path in burned_in else set()):
            held[code].append(path)
    for code, (severity, stake, words, remedy) in IDENTITY.items():
        if paths := held.get(code):
            sentence = f"{format_count(len(paths), 'series', 'series')}: {words}"
            yield Finding(severity, stake, code, sentence, len(paths), found.name_file(paths[0]), remedy)


def _of_faulty_tags(found: SourceIndex) -> Iterator[Finding]:
    """Report invalid patient and study tags, from each series' first file. Objects made from the series omit them."""
    faulty = {one.files[0]: tags for one in found.series if one.usable and (tags := find_faulty_tags(one.files[0]))}
    if faulty:
        keywords = ", ".join(sorted({keyword for tags in faulty.values() for keyword in tags}))
        sentence = (
            f"{format_count(len(faulty), 'series', 'series')}: values against the rules of DICOM ({keywords}); "
            "DICOM objects of results are written without them"
        )
        remedy = "correct these tags, lest the archive cannot file the results under their patient"
        example = found.name_file(next(iter(faulty)))
        yield Finding("should mend", "quality", "faulty_tag", sentence, len(faulty), example, remedy)


def _of_paths(found: SourceIndex) -> Iterator[Finding]:
    below = ((path, shown) for path, shown in found.shown.items() if path.is_relative_to(found.root))  # not in a zip
    renamed = [path for path, shown in below if shown != decode_path(str(path.relative_to(found.root)))]
    if renamed:
        count, example = len(renamed), found.name_path(renamed[0])
        sentence = f"{format_count(count, 'file')} named after the patient, or in such a folder (here with a pseudonym)"
        remedy = "rename files and folders before they leave the hospital"
        yield Finding("should mend", "privacy", "identifying_path", sentence, count, example, remedy)


def _thick(found: SourceIndex) -> Iterator[Finding]:
    distances_mm = defaultdict(list)
    for one in found.series:
        if one.usable and one.modality == "CT" and one.spacing_mm:
            distances_mm[one.patient, one.study].append(one.spacing_mm[2])
    thick = [study for study, of_series in distances_mm.items() if min(of_series) > THICK_MM]
    if thick:
        example = next(one.files[0] for one in found.series if (one.patient, one.study) == thick[0])
        sentence = f"{format_count(len(thick), 'CT study', 'CT studies')} without slices at {THICK_MM:g} mm or nearer"
        remedy = "send the thin reconstruction too, where there is one"
        yield Finding("note", "quality", "thick_slices", sentence, len(thick), found.name_file(example), remedy)
