"""Table 1 of a repository: patients, findings, outcomes and images, overall and by hospital."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from kicc_ml.cohort.clinical_table import IMAGE_COUNTS, read_clinical
from kicc_ml.cohort.repository import NoHospitalsError, clinical_path, hospitals
from kicc_ml.core.pseudonym import load_repository_key, make_pseudonym
from kicc_ml.core.summary_items import SUMMARY_ITEMS
from kicc_ml.core.types import Series
from kicc_ml.dicom.index.build import index_repository


@dataclass(frozen=True)
class Cutoffs:
    """Limits from which a laboratory value counts as a finding. KICC-19 published none; these are in common use."""

    lymphocyte_below_1e9_l: float = 1.0
    platelet_below_1e9_l: float = 150.0
    crp_from_mg_l: float = 10.0


#: The columns that an item is computed from, for items not computed from images.
NEEDS = {
    **{item: ("sex",) for item in ("men", "women")},
    **{item: ("age_years",) for item in ("age_mean", "age_min", "age_max")},
    **{item: (item,) for item in ("underlying_disease", "fever", "cough", "icu")},
    "lymphocytopenia": ("lymphocyte_1e9_l",),
    "thrombocytopenia": ("platelet_1e9_l",),
    "elevated_crp": ("crp_mg_l",),
    "oxygen_or_ventilation": ("oxygen", "ventilation"),
    "mechanical_ventilation": ("ventilation",),
    "died": ("death",),
}


def summary(
    root: str | Path,
    *,
    cutoffs: Cutoffs = Cutoffs(),
    index_cache: str | Path | None = None,
) -> dict[str, Any]:
    """Summarise a repository.

    Images are counted from the index if hospital folders hold any, else from the columns ``ct_scans`` and
    ``cxr_images`` of the table. A CT scan is a study with a usable CT; a radiograph is a usable image.

    Returns:
        The keys of ``SUMMARY_ITEMS``, ``known`` (the number of patients with a known value, by item), ``missing`` (the
        number of empty cells, by column), ``images_from`` (``index``, ``table`` or None), ``disagreement`` (items for
        which the table states another number of images), ``reason`` (the reason for each None), and the same keys under
        ``by_site.<site>``. Counts include known cells only.

    Raises:
        UserError: ``root`` is not a folder; there is no table, or it is invalid.
    """
    root = Path(root)
    sites, series = _images(root, Path(index_cache) if index_cache else None)
    table = read_clinical(clinical_path(root), sites)
    counted = image_counts(table, series, load_repository_key(root)) if series else None
    return summarise(table, counted, cutoffs)


def summarise(table: pd.DataFrame, counted: pd.DataFrame | None, cutoffs: Cutoffs) -> dict[str, Any]:
    """Summarise a clinical table; ``counted`` is the result of :func:`image_counts`, or None without images."""
    by_site = {
        str(site): _describe(rows, None if counted is None else counted.loc[rows.index], cutoffs)
        for site, rows in table.groupby("site")
    }
    return {**_describe(table, counted, cutoffs), "by_site": by_site}


def image_counts(table: pd.DataFrame, series: Iterable[Series], key: bytes) -> pd.DataFrame:
    """Count the usable CT scans and radiographs of each row: columns ``ct_scans`` and ``cxr_images``."""
    usable = pd.DataFrame(
        [(one.patient, one.modality, one.study, len(one.files)) for one in series if one.usable],
        columns=["patient", "modality", "study", "files"],
    )
    scans = usable[usable["modality"] == "CT"].groupby("patient")["study"].nunique()
    radiographs = usable[usable["modality"] == "CXR"].groupby("patient")["files"].sum()
    patients = pd.Series(
        [make_pseudonym(key, *pair) for pair in zip(table["site"], table["patient_id"], strict=True)], table.index
    )
    counts = {"ct_scans": patients.map(scans), "cxr_images": patients.map(radiographs)}
    return pd.DataFrame(counts).fillna(0).astype(int)


def _describe(table: pd.DataFrame, counted: pd.DataFrame | None, cutoffs: Cutoffs) -> dict[str, Any]:
    images = counted if counted is not None else _stated_counts(table)
    flags = {**_findings(table, cutoffs), **_imaged(images, table.index)}
    values: dict[str, Any] = {
        "patients": len(table),
        "sites": int(table["site"].nunique()),
        **_ages(table["age_years"].dropna()),
        **{item: int(flag.sum()) if flag.notna().any() else None for item, flag in flags.items()},
    }
    return {
        **{item: values[item] for item in SUMMARY_ITEMS},
        "known": {item: int(flag.notna().sum()) for item, flag in flags.items()},
        "reason": {item: _reason(item) for item in SUMMARY_ITEMS if values[item] is None},
        "missing": {str(column): int(count) for column, count in table.isna().sum().items()},
        "images_from": None if images is None else "table" if counted is None else "index",
        "disagreement": _disagreement(table, counted),
    }


def _ages(ages: pd.Series) -> dict[str, float | None]:
    """Compute mean, minimum and maximum age; the mean is rounded to one decimal, whole years are ints."""
    if ages.empty:
        return dict.fromkeys(("age_mean", "age_min", "age_max"))
    return {
        "age_mean": round(float(ages.mean()), 1),
        **{
            item: int(age) if age == int(age) else age
            for item, age in (("age_min", ages.min()), ("age_max", ages.max()))
        },
    }


def _findings(table: pd.DataFrame, cutoffs: Cutoffs) -> dict[str, pd.Series]:
    """Compute 1.0, 0.0 or NaN for each item and patient; all NaN if the column is absent."""

    def column(name: str) -> pd.Series:
        return table[name] if name in table else pd.Series(float("nan"), table.index)

    lymphocytes, platelets, crp = (column(name) for name in ("lymphocyte_1e9_l", "platelet_1e9_l", "crp_mg_l"))
    return {
        "men": (table["sex"] == "M").where(table["sex"].notna()).astype(float),
        "women": (table["sex"] == "F").where(table["sex"].notna()).astype(float),
        **{name: column(name) for name in ("underlying_disease", "fever", "cough", "icu")},
        "lymphocytopenia": (lymphocytes < cutoffs.lymphocyte_below_1e9_l).where(lymphocytes.notna()).astype(float),
        "thrombocytopenia": (platelets < cutoffs.platelet_below_1e9_l).where(platelets.notna()).astype(float),
        "elevated_crp": (crp >= cutoffs.crp_from_mg_l).where(crp.notna()).astype(float),
        "oxygen_or_ventilation": pd.concat([column("oxygen"), column("ventilation")], axis=1).max(axis=1),
        "mechanical_ventilation": column("ventilation"),
        "died": column("death"),
    }


def _imaged(images: pd.DataFrame | None, rows: pd.Index) -> dict[str, pd.Series]:
    """Compute the number of images and the kinds of images of each patient; NaN if images are unknown."""
    known = images if images is not None else pd.DataFrame(float("nan"), rows, list(IMAGE_COUNTS))
    ct, cxr = known["ct_scans"], known["cxr_images"]
    unknown = ct.isna() & cxr.isna()
    has_ct, has_cxr = ct.fillna(0) > 0, cxr.fillna(0) > 0
    patients = {
        "ct_patients": has_ct,
        "cxr_patients": has_cxr,
        "both_modalities": has_ct & has_cxr,
        "ct_only": has_ct & ~has_cxr,
        "cxr_only": has_cxr & ~has_ct,
    }
    return {
        "ct_scans": ct,
        "cxr_images": cxr,
        **{item: flag.astype(float).mask(unknown) for item, flag in patients.items()},
    }


def _stated_counts(table: pd.DataFrame) -> pd.DataFrame | None:
    return table[list(IMAGE_COUNTS)] if set(IMAGE_COUNTS) <= set(table) else None


def _disagreement(table: pd.DataFrame, counted: pd.DataFrame | None) -> list[dict[str, Any]]:
    """List the items whose number differs between the table and the index, with the number of patients concerned."""
    if counted is None:
        return []
    stated = table[[item for item in IMAGE_COUNTS if item in table]]
    differing = {item: stated[item].notna() & (stated[item] != counted[item]) for item in stated}
    return [
        {
            "item": item,
            "table": int(stated[item].sum()),
            "index": int(counted[item].sum()),
            "patients": int(differs.sum()),
        }
        for item, differs in differing.items()
        if differs.any()
    ]


def _reason(item: str) -> str:
    """Explain why an item is None."""
    needs = NEEDS.get(item, ())
    if not needs:
        return f"no image under the hospital folders, and no {' and '.join(IMAGE_COUNTS)} in the table"
    return f"nothing in the table under {' or '.join(needs)}"


def _images(root: Path, cache: Path | None) -> tuple[list[str] | None, list[Series]]:
    """Find the hospital folders and index their images; None and no series for a repository of tables only."""
    try:
        sites = hospitals(root)
    except NoHospitalsError:
        return None, []
    return sites, index_repository(root, cache)
