"""Table 1 of the cases of a run: the data that the models used, for any cohort."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from kicc_ml.cohort.summary import Cutoffs, summarise
from kicc_ml.core.types import Case

SEX_NAMES = {1.0: "M", 0.0: "F"}


def summarise_cases(cases: Iterable[Case]) -> dict[str, Any]:
    """Summarise cases like :func:`kicc_ml.cohort.summary.summarise`; only index images are counted.

    Values that the temporal guard removed count as unknown.

    Returns:
        The summary, with an additional key ``features``, overall and by site. For each other clinical column it holds
        ``{known, count}`` if the column has only 0 and 1, else ``{known, median, low, high}`` with the quartiles.
    """
    cases = list(cases)
    values = [{"age_years": None, "sex": None, **case.clinical, **case.endpoints} for case in cases]
    table = pd.DataFrame([{"site": case.site} | row for case, row in zip(cases, values, strict=True)])
    table["sex"] = table["sex"].map(SEX_NAMES)
    table["age_years"] = pd.to_numeric(table["age_years"])
    images = [{"ct_scans": int(case.ct is not None), "cxr_images": int(case.cxr is not None)} for case in cases]
    summary = summarise(table, pd.DataFrame(images), Cutoffs())
    columns = {name: None for case in cases for name in case.clinical if name not in ("age_years", "sex")}
    summary["features"] = _features(table, list(columns))
    for site, rows in table.groupby("site"):
        summary["by_site"][str(site)]["features"] = _features(rows, list(columns), like=table)
    return summary


def _features(rows: pd.DataFrame, columns: list[str], like: pd.DataFrame | None = None) -> dict[str, dict[str, Any]]:
    """Describe each column of ``rows``. ``like`` decides which columns are 0/1, so one site cannot change the kind."""
    of_all = rows if like is None else like
    return {name: _feature(rows[name].dropna(), set(of_all[name].dropna()) <= {0.0, 1.0}) for name in columns}


def _feature(known: pd.Series, yes_or_no: bool) -> dict[str, Any]:
    if yes_or_no or known.empty:
        return {"known": len(known), "count": int(known.sum())}
    low, median, high = (float(value) for value in known.quantile([0.25, 0.5, 0.75]))
    return {"known": len(known), "median": median, "low": low, "high": high}
