"""Summarise an index: verdicts by site, and reasons by how many series and files they cost, for the terminal."""

from collections import Counter
from collections.abc import Iterator

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from kicc_ml.core.shown import escape_markup, format_count
from kicc_ml.dicom.series.reasons import REASONS
from kicc_ml.dicom.series.remedies import REMEDIES

PLURAL = {"file": "files", "series": "series"}
VERDICTS = ("usable", "repaired", "refused")
#: Codes that are only notes and cost no series.
NOTES = {"oblique", "coronal", "sagittal", "burned_in", "text_unstated", "lossy_compression"}
NOTES |= {"split_orientation", "split_matrix", "split_kernel", "split_acquisition"}
#: Maximum number of series that are listed one by one; more do not fit a screen.
MAX_LISTED_SERIES = 40


def count_by_site(frame: pd.DataFrame) -> pd.DataFrame:
    """Count the series of each verdict, and the files in no series, per site. Columns are named as they are printed."""
    series = frame[frame["kind"] == "series"]
    counts = pd.crosstab(series["site"], series["verdict"]).reindex(columns=list(VERDICTS), fill_value=0)
    files = frame.loc[frame["kind"] == "file", "site"].value_counts()
    return counts.join(files.rename("files in no series"), how="outer").fillna(0).astype(int).sort_index()


def count_by_reason(frame: pd.DataFrame) -> pd.DataFrame:
    """Count the series and files of each reason, and add its explanation and remedy, the worst reason first.

    The worst reason costs the most series, then the most files. Repairs and notes come last.
    """
    rows = frame[["kind", "verdict", "reasons"]].explode("reasons").dropna(subset=["reasons"])
    of_series = rows["kind"] == "series"
    lost = of_series & (rows["verdict"] == "refused") & ~rows["reasons"].isin(NOTES)
    groups = {"lost series": lost, "other series": of_series & ~lost, "files": ~of_series}
    counts = pd.DataFrame({name: rows.loc[chosen, "reasons"].value_counts() for name, chosen in groups.items()})
    counts = counts.fillna(0).astype(int).rename_axis("reason").reset_index()
    counts["in words"] = counts["reason"].map(REASONS)
    counts["remedy"] = counts["reason"].map(REMEDIES).fillna("")
    order = ["lost series", "files", "other series", "reason"]
    return counts.sort_values(order, ascending=[False, False, False, True], ignore_index=True)


def make_tables(frame: pd.DataFrame, all_series: bool = False) -> Iterator[Table]:
    """Make tables for the terminal: the series if they are few or ``all_series`` is set, then sites, then reasons."""
    series = frame[frame["kind"] == "series"]
    if all_series or len(series) <= MAX_LISTED_SERIES:
        yield _make_series_table(series)
    yield _make_table(count_by_site(frame).reset_index())
    if len(reasons := count_by_reason(frame)):
        yield _make_table(reasons[["lost series", "files", "other series", "in words", "reason"]])


def format_totals(frame: pd.DataFrame) -> str:
    """Format the number of series and files of each verdict as one line."""
    counts = Counter(zip(frame["kind"], frame["verdict"], strict=True))
    return ", ".join(
        f"{format_count(count, kind, PLURAL[kind])} {verdict}" for (kind, verdict), count in sorted(counts.items())
    )


def format_spacing(spacing_mm: list[float] | None) -> str:
    """Format a voxel spacing in mm for people."""
    return " x ".join(f"{mm:.3g}" for mm in spacing_mm) if spacing_mm is not None else "unknown"


def _make_series_table(series: pd.DataFrame) -> Table:
    shown = series[["site", "series", "modality", "plane", "slices", "spacing_mm", "verdict", "reasons"]].copy()
    shown["spacing_mm"] = shown["spacing_mm"].map(format_spacing)
    shown["reasons"] = shown["reasons"].map(", ".join)
    return _make_table(shown.rename(columns={"spacing_mm": "spacing, mm"}))


def _make_table(frame: pd.DataFrame) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in map(str, frame.columns):
        table.add_column(name, no_wrap=name == "reason", overflow="fold")
    for row in frame.astype(str).itertuples(index=False, name=None):
        table.add_row(*map(escape_markup, row))  # a folder may be called [red]
    return table
