"""Table 1 of a repository: patients, findings, outcomes and images, overall and by hospital, with missingness."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from kicc_ml.data.clinical import read_clinical
from kicc_ml.data.cohort import clinical_path, hospitals
from kicc_ml.dicom.index import index_repository
from kicc_ml.pseudonym import pseudonym, repository_key
from kicc_ml.records import Series, UserError


@dataclass(frozen=True)
class Cutoffs:
    """From when a laboratory value counts as a finding. KICC-19 published none: settings, in common use."""

    lymphocyte_below_1e9_l: float = 1.0
    platelet_below_1e9_l: float = 150.0
    crp_from_mg_l: float = 10.0


#: Keys of the summary in words, in the order they are shown; INTERFACES relies on the keys.
ITEMS = {
    "patients": "Patients",
    "sites": "Hospitals",
    "men": "Men",
    "women": "Women",
    "age_mean": "Age, mean (years)",
    "age_min": "Age, youngest",
    "age_max": "Age, oldest",
    "underlying_disease": "Underlying disease",
    "fever": "Fever",
    "cough": "Cough",
    "lymphocytopenia": "Lymphocytopenia",
    "thrombocytopenia": "Thrombocytopenia",
    "elevated_crp": "Elevated CRP",
    "oxygen_or_ventilation": "Oxygen or mechanical ventilation",
    "mechanical_ventilation": "Mechanical ventilation",
    "icu": "Intensive care",
    "died": "Died",
    "ct_patients": "Patients with CT",
    "ct_scans": "CT scans",
    "cxr_patients": "Patients with radiograph",
    "cxr_images": "Radiographs",
    "both_modalities": "CT and radiograph",
    "ct_only": "CT only",
    "cxr_only": "Radiograph only",
}
#: Shown without a percentage of the patients.
NOT_SHARES = {"patients", "sites", "age_mean", "age_min", "age_max", "ct_scans", "cxr_images"}
FOR_SITES = ("patients", "men", "age_mean", "oxygen_or_ventilation", "icu", "died", "ct_scans", "cxr_images")


def summary(
    root: str | Path, *, cutoffs: Cutoffs = Cutoffs(), index_cache: str | Path | None = None  # noqa: B008 (frozen)
) -> dict[str, Any]:
    """Summarise a repository.

    Images are counted from the index where hospital folders hold any, else from the table's columns ``ct_scans``
    and ``cxr_images``. A scan is a study with a usable CT, a radiograph a usable image.

    Returns:
        the keys of ``ITEMS``, ``missing`` (empty cells per column), ``images_from`` (``index``, ``table`` or None),
        ``disagreement`` (hospital, what, in the table, in the index), ``reason`` (why a key is None), and the same
        keys under ``by_site.<site>``. Counts are over the known cells.

    Raises:
        UserError: no table or a bad one, hospitals named in it that are not there beside others that are.
    """
    root = Path(root)
    sites, series = _images(root, Path(index_cache) if index_cache else None)
    table = read_clinical(clinical_path(root), sites)
    counted = image_counts(table, series, repository_key(root)) if series else None
    return summarise(table, counted, cutoffs)


def summarise(table: pd.DataFrame, counted: pd.DataFrame | None, cutoffs: Cutoffs) -> dict[str, Any]:
    """The summary of a read clinical table; ``counted`` as of :func:`image_counts`, None where there are no images."""
    by_site = {
        str(site): _describe(rows, None if counted is None else counted.loc[rows.index], cutoffs)
        for site, rows in table.groupby("site")
    }
    return {**_describe(table, counted, cutoffs), "by_site": by_site}


def image_counts(table: pd.DataFrame, series: Iterable[Series], key: bytes) -> pd.DataFrame:
    """``ct_scans`` and ``cxr_images`` per row of the table, from the usable series of an index."""
    usable = pd.DataFrame(
        [(one.patient, one.modality, one.study, len(one.files)) for one in series if one.usable],
        columns=["patient", "modality", "study", "files"],
    )
    scans = usable[usable["modality"] == "CT"].groupby("patient")["study"].nunique()
    radiographs = usable[usable["modality"] == "CXR"].groupby("patient")["files"].sum()
    patients = pd.Series(
        [pseudonym(key, *pair) for pair in zip(table["site"], table["patient_id"], strict=True)], table.index
    )
    counts = {"ct_scans": patients.map(scans), "cxr_images": patients.map(radiographs)}
    return pd.DataFrame(counts).fillna(0).astype(int)


def _images(root: Path, cache: Path | None) -> tuple[list[str] | None, list[Series]]:
    """Hospital folders and index; no folders and no series for a repository of tables only."""
    ...
