"""Findings about the clinical table of a source, alone and compared with the images."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from unicodedata import normalize

import pandas as pd

from kicc_ml.cohort.clinical_table import read_clinical, read_clinical_cells
from kicc_ml.cohort.doctor.findings import Finding
from kicc_ml.cohort.id_mismatch import find_likely_cause
from kicc_ml.cohort.index_image import NO_DAY, OUTSIDE_WINDOW, IndexRule, explain_date_mismatch, index_image
from kicc_ml.cohort.persons import PersonConflictError
from kicc_ml.cohort.repository import NoHospitalsError, clinical_path, hospitals, join
from kicc_ml.cohort.table_file import TableError
from kicc_ml.cohort.units_apart import find_unit_mismatches
from kicc_ml.core.pseudonym import make_pseudonym
from kicc_ml.core.shown import format_count
from kicc_ml.dicom.index.build import SourceIndex

#: File names under which a clinical table is saved by mistake.
OTHER_TABLES = ("clinical.ods", "clinical.txt", "clinical.tsv")


def table_findings(found: SourceIndex) -> Iterator[Finding]:
    """Find faults in the clinical table of a folder; an invalid table is still compared with the images if readable."""
    path = clinical_path(found.root)
    if not path.is_file():
        if others := [name for name in OTHER_TABLES if (found.root / name).is_file()]:
            sentence = f"the clinical table is {others[0]}, and is not read"
            remedy = "save it as clinical.csv ('CSV UTF-8', separated by commas)"
            yield Finding("must mend", "table", "table_unreadable", sentence, 1, others[0], remedy)
            return
        yield Finding(
            "note", "table", "no_table", "there is no clinical.csv beside the images: only these were examined", 1
        )
        return
    try:
        sites = hospitals(found.root)
    except NoHospitalsError:
        sites = None
    try:
        yield from _of_cells(read_clinical(path, sites), found)
    except TableError as error:
        yield _unusable(error)
    try:
        cells = read_clinical_cells(path)
    except TableError:
        return
    if found.series and {"site", "patient_id"} <= set(cells):
        yield from _without_partner(cells, found)


def _unusable(error: TableError) -> Finding:
    if not error.bad_cells:
        what = str(error).partition(": ")[2] or str(error)
        return Finding("must mend", "table", "table_unreadable", f"the clinical table cannot be read: {what}", 1)
    where, allowed = error.bad_cells[0]
    count = len(error.bad_cells)
    cells = format_count(count, "bad cell")
    sentence = f"the clinical table cannot be used: {cells}, and no patient is read before they are right"
    return Finding("must mend", "table", "bad_cells", sentence, count, where, f"allowed there: {allowed}")


def _of_cells(table: pd.DataFrame, found: SourceIndex) -> Iterator[Finding]:
    """Find faults in a valid table."""
    if count := int(table["age_years"].isna().sum()):
        row = table.index[table["age_years"].isna()][0]
        sentence = f"{format_count(count, 'patient')} without an age in the table"
        yield Finding("should mend", "quality", "no_age", sentence, count, f"line {row}, age_years", "fill in the age")
    yield from _of_units(table)
    yield from _of_dates(table, found)
    rule = IndexRule(None, None, ())
    try:
        join(table, found.series, found.key, rule, {}, "refuse")
    except PersonConflictError as error:
        first, example, *_ = str(error).splitlines()
        remedy = "correct person_id, or leave one hospital's images out (cohort.person_conflict=drop does)"
        count = int(first.split()[0])
        yield Finding("must mend", "patients", "person_at_two_sites", first, count, example.strip(), remedy)


def _of_units(table: pd.DataFrame) -> Iterator[Finding]:
    """Report columns whose values at one hospital differ by a large factor from those of the other hospitals."""
    for one in find_unit_mismatches(table):
        remedy = (
            f"ask for the unit, and state it in columns.yaml: {one.column}: {{column: {one.column}, "
            f"unit: {{{one.site}: UNIT, ...}}}}; leave it where the patients differ so much"
        )
        sentence = f"{one.in_words}, as in another unit"
        yield Finding(
            "should mend", "quality", "units_apart", sentence, one.values, f"{one.column} at {one.site}", remedy
        )


def _of_dates(table: pd.DataFrame, found: SourceIndex) -> Iterator[Finding]:
    """Report images whose days do not fit the table, by the default windows of training.

    They are reported only if they are at least half of the images: a few late images are not an error.
    """
    left_out, images = Counter[str](), 0
    of_patient = defaultdict(list)
    for one in found.series:
        of_patient[one.patient].append(one)
    for row in table.astype(object).where(table.notna(), None).to_dict("records"):
        own = [one for one in of_patient[make_pseudonym(found.key, row["site"], row["patient_id"])] if one.usable]
        images += len(own)
        for modality in ("CT", "CXR"):
            left_out += index_image(modality, own, row, IndexRule())[1]
    unfit = {why: count for why, count in left_out.items() if why.endswith((NO_DAY, OUTSIDE_WINDOW))}
    if unfit and 2 * sum(unfit.values()) >= images:
        sentence, _, remedy = explain_date_mismatch(unfit).rpartition(": ")
        yield Finding("must mend", "images", "dates_do_not_fit", sentence, sum(unfit.values()), "", remedy)


def _without_partner(cells: pd.DataFrame, found: SourceIndex) -> Iterator[Finding]:
    folders = {normalize("NFC", one.site): one.site for one in found.series}  # macOS decomposes Hangul
    row_of = {
        make_pseudonym(found.key, folders.get(normalize("NFC", site), site), patient): line
        for line, site, patient in cells[["site", "patient_id"]].dropna().itertuples()
    }
    pictured = {one.patient for one in found.series}
    cause = find_likely_cause(cells, pictured - set(row_of), found.key)
    if alone := [line for patient, line in row_of.items() if patient not in pictured]:
        sentence = f"{format_count(len(alone), 'patient')} of the table without any image"
        remedy = cause or "send the images, or see that site and patient_id are those of the files"
        yield Finding("must mend", "patients", "no_image", sentence, len(alone), f"line {alone[0]}", remedy)
    if strangers := [one for one in found.series if one.patient not in row_of]:
        count = len({one.patient for one in strangers})
        sentence = f"{format_count(count, 'patient')} with images but without a row of the table, and so not used"
        remedy = cause or "add the row, with site and patient_id as in the files"
        example = found.name_file(strangers[0].files[0])
        yield Finding("must mend", "patients", "no_row", sentence, count, example, remedy)
