"""Metrics by hospital, and hospitals at which an endpoint cannot be evaluated."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from kicc_ml.core.regions import sort_regions
from kicc_ml.core.types import ENDPOINTS
from kicc_ml.evaluation.rows import NOT_LEARNT, find_one_class_reason, was_not_learnt


def list_sites(cases: pd.DataFrame, predictions: pd.DataFrame) -> list[str]:
    """List the hospitals that occur in either table, sorted."""
    return sorted({str(site) for table in (cases, predictions) if "site" in table for site in table["site"]})


def select_site(table: pd.DataFrame, site: str) -> pd.DataFrame:
    """Select the rows of one hospital; a table without rows and columns stays unchanged."""
    return table[table["site"].astype(str) == site] if "site" in table else table


def list_not_evaluable(cases: pd.DataFrame, predictions: pd.DataFrame) -> list[dict[str, str]]:
    """List ``{site, endpoint, reason}`` for every hospital at which an endpoint or region cannot be evaluated."""
    return [
        {"site": site, "endpoint": subject, "reason": reason}
        for site in list_sites(cases, predictions)
        for subject, reason in (
            *_list_silent_endpoints(select_site(predictions, site), list_endpoints(predictions)),
            *_list_silent_regions(select_site(cases, site), cases),
        )
    ]


def list_endpoints(predictions: pd.DataFrame) -> list[str]:
    """List the predicted endpoints in the order of ``ENDPOINTS``, others after them."""
    present = set(predictions["endpoint"]) if "endpoint" in predictions else set()
    return [name for name in ENDPOINTS if name in present] + sorted(present - set(ENDPOINTS))


def list_regions(cases: pd.DataFrame) -> list[str]:
    """List the regions that were scored: those of the chest in their order, others after them."""
    return sort_regions(str(column).removesuffix("_dice") for column in cases if str(column).endswith("_dice"))


def collect_site_figures(summary: Mapping[str, Any], *path: str) -> dict[str, dict[str, Any]]:
    """Collect the entry at ``path`` below ``summary["sites"][site]`` of every hospital that has it.

    ``collect_site_figures(summary, "outcome", "icu", "network", "auroc")`` is what a forest plot draws.
    """
    found = {}
    for site, figures in summary["sites"].items():
        for key in path:
            figures = figures.get(key, {})
        if figures:
            found[site] = figures
    return found


def _list_silent_endpoints(predictions: pd.DataFrame, endpoints: list[str]) -> Iterator[tuple[str, str]]:
    for endpoint in endpoints:
        rows = predictions[predictions["endpoint"] == endpoint]
        label = rows.drop_duplicates("case_id")["label"].dropna()
        if reason := find_one_class_reason(label.to_numpy(float)):
            yield endpoint, reason
        elif was_not_learnt(rows):
            yield endpoint, NOT_LEARNT


def _list_silent_regions(at_the_site: pd.DataFrame, cases: pd.DataFrame) -> Iterator[tuple[str, str]]:
    for region in list_regions(cases):
        if at_the_site[f"{region}_dice"].notna().any():
            continue
        yield (
            region,
            "no case with a reference in which it occurs" if len(at_the_site) else "no case with masks",
        )
