"""The clinical rows of patients to predict, found by the patient ID of their scans."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kicc_ml.cohort.clinical_table import features, read_clinical
from kicc_ml.cohort.id_mismatch import differs_by
from kicc_ml.cohort.index_image import IndexRule
from kicc_ml.cohort.public.layouts import published_patients
from kicc_ml.cohort.repository import case_id
from kicc_ml.cohort.temporal_guard import guarded
from kicc_ml.core.errors import UserError
from kicc_ml.core.pseudonym import load_repository_key, make_pseudonym
from kicc_ml.core.types import Case

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PatientTable:
    """Features by (site, patient ID), as the hospital writes them; they stay in memory."""

    values: Mapping[tuple[str, str], Mapping[str, float]]

    def of(self, path: Path, patient_id: str) -> Mapping[str, float]:
        """The features of a patient, none where the table has no such row. The ID is enough where it is at one site.

        Raises UserError where the ID is at several sites and the scan's ``path`` runs through the folder of none.
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
            cause = differs_by(patient_id, known)
            logger.warning(
                "%s: the clinical table has no row of the scan's patient, so that nothing of it is known%s",
                path.name,
                f"; a row differs only in this: {cause}" if cause else "; patient_id is that of the DICOM files",
            )
        return rows.get(site) or next(iter(rows.values()), {})


def read_patients(path: Path) -> PatientTable:
    """A table as a repository has it, less what was dated too late (:mod:`kicc_ml.cohort.temporal_guard`), or as a
    public set is published (:mod:`kicc_ml.cohort.public.layouts`).

    Raises TableError for a missing column or a bad cell.
    """
    published = published_patients(path)
    if published is not None:
        return PatientTable({(case.site, case.person): case.clinical for case in published})
    return PatientTable(_values(path))


def read_table_cases(path: Path) -> list[Case]:
    """The patients of such a table as cases without images, their ids as those of the cohort.

    Pseudonyms are under the key of the folder that the table lies in, as of a repository there.
    """
    published = published_patients(path)
    if published is not None:
        return published
    key = load_repository_key(path.resolve().parent)
    found = []
    for (site, patient_id), clinical in _values(path).items():
        patient = make_pseudonym(key, site, patient_id)
        found.append(Case(case_id(site, patient), site, patient, clinical=clinical))
    return found


def _values(path: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Features by site and patient ID."""
    table = read_clinical(path)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    values: list[Any] = features(table).to_dict("records")
    known = [guarded(value, row, IndexRule())[0] for value, row in zip(values, rows, strict=True)]
    return {(row["site"], row["patient_id"]): value for row, value in zip(rows, known, strict=True)}
