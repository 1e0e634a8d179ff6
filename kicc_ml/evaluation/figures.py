"""Figures of the report as inline SVG: they print sharply and need no file beside the page."""

import io
import re
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kicc_ml.evaluation.outcome import rows_of

#: Okabe & Ito's palette, told apart by colour-blind readers; with a marker each, also in grey print.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8A8A8A"
MODEL_STYLE: dict[Any, Any] = {"network": (BLUE, "o"), "clinical": (ORANGE, "s")}

#: Groups of a calibration plot; fewer where a model gives fewer distinct probabilities.
CALIBRATION_GROUPS = 8

STYLE: Any = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "kicc_ml"}


def dice_by_site(cases: pd.DataFrame, region: str, figures: Mapping[str, dict[str, Any]]) -> str:
    """Every case as a dot, the mean of each hospital with its interval beside it.

    ``figures`` maps a hospital to ``{mean, low, high}``, as ``multisite.site_figures`` gives it.
    """
    axes = _axes(6.4, 0.9 + 0.42 * len(figures))
    generator = np.random.default_rng(0)  # only spreads dots so that they do not hide each other
    for row, (site, figure) in enumerate(figures.items()):
        dots = cases.loc[cases["site"].astype(str) == site, f"{region}_dice"].dropna().to_numpy(float)
        axes.scatter(dots, row + generator.uniform(-0.22, 0.22, dots.size), s=9, color=GREY, alpha=0.6, lw=0)
        if figure["mean"] is not None:
            _point(axes, figure["mean"], figure, row, BLUE, "o")
    _name_rows(axes, [f"{site} (n={figure['n']})" for site, figure in figures.items()])
    axes.set(xlim=(0, 1.02), xlabel=f"Dice, {region.replace('_', ' ')}")
    return _svg(axes)


def forest(by_model: Mapping[str, Mapping[str, dict[str, Any]]], overall: Mapping[str, dict[str, Any]]) -> str:
    """AUC of each hospital with interval, and of all (within-site pairs) in the last row, by model."""
    sites = sorted({site for figures in by_model.values() for site in figures})
    axes = _axes(6.4, 1.1 + 0.36 * (len(sites) + 1))
    for shift, (model, figures) in zip(_shifts(len(by_model)), by_model.items(), strict=True):
        colour, marker = MODEL_STYLE.get(model, (GREEN, "^"))
        for row, figure in enumerate([*(figures.get(site) for site in sites), overall.get(model)]):
            if figure and figure["value"] is not None:
                _point(axes, figure["value"], figure, row + shift, colour, marker)
        axes.plot([], [], color=colour, marker=marker, label=model)
    axes.axhline(len(sites) - 0.5, color="black", lw=0.6)
    axes.axvline(0.5, color=GREY, lw=0.8, ls="--")
    _name_rows(axes, [*sites, "all hospitals"])
    axes.set(xlim=(0, 1.02), xlabel="AUC (95 % interval; no bar: not estimable)")
    axes.legend(loc="upper left", fontsize=8, frameon=False, bbox_to_anchor=(1.0, 1.0))
    return _svg(axes)


def calibration(predictions: pd.DataFrame) -> str:
    """Observed against predicted risk in groups of equal size, for one endpoint."""
    axes = _axes(3.6, 3.4)
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--")
    for model, (colour, marker) in MODEL_STYLE.items():
        rows = rows_of(predictions[predictions["model"] == model])
        if rows.label_n.size:
            groups = np.array_split(np.argsort(rows.probability_n, kind="stable"), CALIBRATION_GROUPS)
            predicted = [rows.probability_n[group].mean() for group in groups if group.size]
            observed = [rows.label_n[group].mean() for group in groups if group.size]
            axes.plot(predicted, observed, color=colour, marker=marker, ms=4, lw=1, label=model)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="predicted risk", ylabel="observed share")
    if len(axes.lines) > 1:  # beside the diagonal
        axes.legend(fontsize=8, frameon=False, loc="upper left")
    return _svg(axes)


def agreement(cases: pd.DataFrame, column: str, label: str, top: float) -> str:
    """Graded against true value, one dot per case, with the line of identity."""
    known = cases[[column, f"{column}_truth"]].apply(pd.to_numeric).dropna()
    axes = _axes(3.4, 3.3)
    axes.plot([0, top], [0, top], color=GREY, lw=0.8, ls="--")
    axes.scatter(known[f"{column}_truth"], known[column], s=14, color=BLUE, alpha=0.6, lw=0)
    axes.set(xlabel=f"{label}, true masks", ylabel=f"{label}, predicted", aspect="equal")
    axes.set(xlim=(-0.03 * top, 1.03 * top), ylim=(-0.03 * top, 1.03 * top))
    return _svg(axes)


def _axes(width: float, height: float) -> Axes:
    with mpl.rc_context(STYLE):
        return Figure(figsize=(width, height), layout="constrained").add_subplot()


def _point(axes: Axes, value: float, interval: Mapping[str, Any], row: float, colour: str, marker: str) -> None:
    if interval["low"] is not None:
        axes.plot([interval["low"], interval["high"]], [row, row], color=colour, lw=1.6)
    axes.plot(value, row, color=colour, marker=marker, ms=5)


def _shifts(models: int) -> np.ndarray:
    return np.linspace(-0.16, 0.16, models) if models > 1 else np.zeros(models)


def _name_rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def _svg(axes: Axes) -> str:
    """The figure without prologue, metadata and name spaces, which HTML does without."""
    text = io.StringIO()
    with mpl.rc_context(STYLE):
        axes.get_figure().savefig(  # type: ignore[union-attr]
            text, format="svg", metadata={"Creator": None, "Date": None, "Format": None, "Type": None}
        )
    drawing = text.getvalue()[text.getvalue().index("<svg") :]
    return re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", drawing)
