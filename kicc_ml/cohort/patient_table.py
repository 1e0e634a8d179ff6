"""Clinical values of patients to predict, looked up by the patient id of their scans."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kicc_ml.cohort.clinical_table import features, read_clinical
from kicc_ml.cohort.id_mismatch import find_cause_of_id
from kicc_ml.cohort.index_image import IndexRule
from kicc_ml.cohort.public.layouts import published_patients
from kicc_ml.cohort.repository import make_case_id
from kicc_ml.cohort.temporal_guard import remove_late_values
from kicc_ml.core.errors import UserError
from kicc_ml.core.pseudonym import load_repository_key, make_pseudonym
from kicc_ml.core.types import Case

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PatientTable:
    """The features of patients, by site and patient id as the hospital writes them; they stay in memory."""

    values: Mapping[tuple[str, str], Mapping[str, float]]

    def of(self, path: Path, patient_id: str) -> Mapping[str, float]:
        """Look up the features of a patient; none if the table has no such row.

        An id that occurs at one site only is enough to find the row. If it occurs at several sites, the site is the
        part of the scan's ``path`` that names one of them.

        Raises:
            UserError: the id occurs at several sites and ``path`` names none of them.
        """
        rows = {where: row for (where, one), row in self.values.items() if one == patient_id}
        site = next((part for part in path.parts if part in rows), "")
        if len(rows) > 1 and not site:
            raise UserError(
                f"the scan's patient ID stands at {len(rows)} sites of the clinical table ({', '.join(sorted(rows))}); "
                "lay the scan into a folder named after its site"
            )
        if not rows:
            known = {one for _, one in self.values}
            cause = find_cause_of_id(patient_id, known)
            logger.warning(
                "%s: the clinical table has no row of the scan's patient, so that nothing of it is known%s",
                path.name,
                f"; a row differs only in this: {cause}" if cause else "; patient_id is that of the DICOM files",
            )
        return rows.get(site) or next(iter(rows.values()), {})


def read_patients(path: Path) -> PatientTable:
    """Read a clinical table of a repository, or of a public set in a known layout.

    Values of a repository's table that are dated too late are removed (:mod:`kicc_ml.cohort.temporal_guard`). Layouts
    are those of :mod:`kicc_ml.cohort.public.layouts`. Raises TableError for a missing column or an invalid cell.
    """
    published = published_patients(path)
    if published is not None:
        return PatientTable({(case.site, case.person): case.clinical for case in published})
    return PatientTable(_values(path))


def read_table_cases(path: Path) -> list[Case]:
    """Read the patients of a clinical table as cases without images; case ids are those of the cohort.

    Pseudonyms use the key of the folder of the table, as for a repository in that folder.
    """
    published = published_patients(path)
    if published is not None:
        return published
    key = load_repository_key(path.resolve().parent)
    found = []
    for (site, patient_id), clinical in _values(path).items():
        patient = make_pseudonym(key, site, patient_id)
        found.append(Case(make_case_id(site, patient), site, patient, clinical=clinical))
    return found


def _values(path: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Read the features by site and patient id."""
    table = read_clinical(path)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    values: list[Any] = features(table).to_dict("records")
    known = [remove_late_values(value, row, IndexRule())[0] for value, row in zip(values, rows, strict=True)]
    return {(row["site"], row["patient_id"]): value for row, value in zip(rows, known, strict=True)}
