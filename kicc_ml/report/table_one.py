"""Make Table 1: a row for each characteristic, a column for all cases and one for each hospital."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pandas as pd

from kicc_ml.core.summary_items import SUMMARY_ITEMS
from kicc_ml.report.feature_names import format_value, name_feature

#: Rows of counts, in this order; a row that is unknown or 0 for all cases is left out.
COUNTS = (
    "men",
    "underlying_disease",
    "fever",
    "cough",
    "lymphocytopenia",
    "thrombocytopenia",
    "elevated_crp",
    "oxygen_or_ventilation",
    "mechanical_ventilation",
    "icu",
    "died",
    "both_modalities",
    "ct_only",
    "cxr_only",
)


#: Maximum hospitals beside each other in one table, by the width of a printed page.
MAX_HOSPITALS_BESIDE = 7


def make_table_one(summarised: Mapping[str, Any]) -> pd.DataFrame:
    """Make the table of strings with the columns ``characteristic``, ``all`` and each hospital.

    A hospital that is called like one of the first two columns is named ``hospital all``, for example.

    ``summarised`` is that of :func:`kicc_ml.cohort.case_summary.summarise_cases`.
    """
    columns = {"all": summarised}
    for site, of_site in summarised["by_site"].items():
        others = set(summarised["by_site"]) - {site}
        columns[_name_column(site, {"characteristic", *columns} | others)] = of_site
    rows = [
        {"characteristic": name} | {column: cell for column, cell in zip(columns, cells, strict=True)}
        for name, cells in _make_rows(list(columns.values()))
        if any(cell != "–" for cell in cells)
    ]
    return pd.DataFrame(rows, columns=["characteristic", *columns])


def _name_column(site: str, taken: Collection[str]) -> str:
    """Name the column of a hospital, like no other column."""
    while site in taken:
        site = f"hospital {site}"
    return site


def split_by_width(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Split the table into parts that fit the width of a page, each with the column ``all``."""
    hospitals = list(table.columns[2:])
    starts = range(0, max(len(hospitals), 1), MAX_HOSPITALS_BESIDE)
    return [table[[*table.columns[:2], *hospitals[start : start + MAX_HOSPITALS_BESIDE]]] for start in starts]


def _make_rows(columns: list[Mapping[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    yield "Cases", [str(column["patients"]) for column in columns]
    yield "Age in years, mean (range)", [_format_age(column) for column in columns]
    for item in COUNTS:
        if columns[0][item]:
            yield SUMMARY_ITEMS[item], [_format_share(column[item], column["known"][item]) for column in columns]
    shown = {"fever", "cough", "underlying_disease"}
    for feature in columns[0].get("features", {}):
        if feature not in shown:
            yield name_feature(feature), [_format_feature(column["features"][feature]) for column in columns]


def _format_age(column: Mapping[str, Any]) -> str:
    if column["age_mean"] is None:
        return "–"
    return f"{column['age_mean']} ({column['age_min']:.3g}–{column['age_max']:.3g})"


def _format_share(count: int | None, known: int) -> str:
    return "–" if not known else f"{count}/{known} ({100 * (count or 0) / known:.0f} %)"


def _format_feature(feature: Mapping[str, Any]) -> str:
    if "count" in feature:
        return _format_share(feature["count"], feature["known"])
    median, low, high = (format_value(feature[name]) for name in ("median", "low", "high"))
    return f"{median} ({low}–{high})"
