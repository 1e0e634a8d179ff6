"""Output of a summary: tables for the terminal, and a frame for CSV."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.console import Group
from rich.table import Table

from kicc_ml.core.shown import escape_markup
from kicc_ml.core.summary_items import SUMMARY_ITEMS

#: Items shown without a percentage of the patients.
NOT_SHARES = {"patients", "sites", "age_mean", "age_min", "age_max", "ct_scans", "cxr_images"}
FOR_SITES = ("patients", "men", "age_mean", "oxygen_or_ventilation", "icu", "died", "ct_scans", "cxr_images")


def to_frame(summarised: Mapping[str, Any]) -> pd.DataFrame:
    """Make a frame for CSV: rows are ``SUMMARY_ITEMS`` and missing cells; columns are item, overall and hospitals."""
    columns = {"overall": summarised, **summarised["by_site"]}
    rows = {item: [one[item] for one in columns.values()] for item in SUMMARY_ITEMS}
    missing = {f"missing {name}": [one["missing"][name] for one in columns.values()] for name in summarised["missing"]}
    frame = pd.DataFrame.from_dict({**rows, **missing}, orient="index", columns=list(columns), dtype=object)
    return frame.rename_axis("item").reset_index()


def render(summarised: Mapping[str, Any]) -> Group:
    """Make tables for the terminal: the whole cohort, the hospitals side by side, and disagreements about images."""
    disagreement = [
        f"The table states {one['table']} {escape_markup(one['item'])}, the index found {one['index']}; "
        f"{one['patients']} patient(s) differ"
        for one in summarised["disagreement"]
    ]
    return Group(_cohort_table(summarised), _site_table(summarised["by_site"]), *disagreement)


def _cohort_table(summarised: Mapping[str, Any]) -> Table:
    """Make a table of count, percentage and missing cells of the whole cohort."""
    overall = Table("", "n", "%", title="Cohort")
    for item, words in SUMMARY_ITEMS.items():
        value = summarised[item]
        share = "" if value is None or item in NOT_SHARES else f"{100 * value / summarised['patients']:.1f}"
        overall.add_row(words, _shown(value), share)
    for item, count in summarised["missing"].items():
        if count and not item.endswith("_date"):  # most patients have no event and therefore no date
            overall.add_row(
                f"  empty: {escape_markup(item)}", str(count), f"{100 * count / summarised['patients']:.1f}"
            )
    return overall


def _site_table(by_site: Mapping[str, Any]) -> Table:
    sites = Table("Hospital", *(SUMMARY_ITEMS[item] for item in FOR_SITES), title="Hospitals")
    for site, one in by_site.items():
        sites.add_row(escape_markup(site), *(_shown(one[item]) for item in FOR_SITES))
    return sites


def _shown(value: float | None) -> str:
    return "–" if value is None else str(value)
