"""A summary shown: as tables in the terminal, and as a frame for CSV."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.table import Table

from kicc_ml.data.summary import ITEMS

#: Shown without a percentage of the patients.
NOT_SHARES = {"patients", "sites", "age_mean", "age_min", "age_max", "ct_scans", "cxr_images"}
FOR_SITES = ("patients", "men", "age_mean", "oxygen_or_ventilation", "icu", "died", "ct_scans", "cxr_images")


def to_frame(summarised: Mapping[str, Any]) -> pd.DataFrame:
    """For CSV: a row per key of ``ITEMS``, then of missing cells; a column overall and one per hospital."""
    columns = {"overall": summarised, **summarised["by_site"]}
    rows = {item: [one[item] for one in columns.values()] for item in ITEMS}
    missing = {
        f"missing {name}": [one["missing"][name] for one in columns.values()]
        for name in summarised["missing"]
    }
    return pd.DataFrame.from_dict({**rows, **missing}, orient="index", columns=list(columns), dtype=object)


def to_tables(summarised: Mapping[str, Any]) -> list[Table]:
    """For the terminal: the whole cohort (count, share, missing cells), then the hospitals side by side."""
    overall = Table("", "n", "%", title="Cohort")
    for item, words in ITEMS.items():
        value = summarised[item]
        share = "" if value is None or item in NOT_SHARES else f"{100 * value / summarised['patients']:.1f}"
        overall.add_row(words, _shown(value), share)
    for item, count in summarised["missing"].items():
        if count and not item.endswith("_date"):  # most patients have no event, and so no date of one
            overall.add_row(f"  empty: {item}", str(count), f"{100 * count / summarised['patients']:.1f}")
    sites = Table("Hospital", *(ITEMS[item] for item in FOR_SITES), title="Hospitals")
    for site, one in summarised["by_site"].items():
        sites.add_row(site, *(_shown(one[item]) for item in FOR_SITES))
    return [overall, sites]


def _shown(value: float | None) -> str:
    return "–" if value is None else str(value)
