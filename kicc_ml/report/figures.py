"""Draw the figures of the report as SVG, which prints sharply and needs no separate files."""

import io
import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from kicc_ml.core.shown import escape_for_plot
from kicc_ml.evaluation.rows import BinaryOutcomes, choose_plotted_models, make_binary_outcomes
from kicc_ml.evaluation.text import QUESTION_NAMES
from kicc_ml.pictures.fonts import list_font_families

#: Palette of Okabe & Ito, which colour-blind readers distinguish. Each model also has a marker, for grey prints.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8A8A8A"
PURPLE, YELLOW, SKY = "#CC79A7", "#E69F00", "#56B4E9"
MODEL_STYLE: dict[str, tuple[str, str]] = {"network": (BLUE, "o"), "clinical": (ORANGE, "s")}

#: Styles of models with other names, such as predictions made elsewhere.
OTHER_STYLES = ((GREEN, "^"), (PURPLE, "v"), (YELLOW, "P"), (SKY, "X"))

#: Number of groups of equal size in a calibration plot.
CALIBRATION_GROUPS = 8

#: Width of a forest plot: its letters can still be read where it is made as narrow as a telephone.
FOREST_INCHES = 4.8

#: Number of hospitals above which the rows of a forest plot lie closer together, so that it stays on one screen.
MAX_SPACED_SITES = 8

STYLE: Any = {
    "font.size": 9,
    "font.family": list_font_families(),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "kicc_ml",
}


def draw_dice_by_site(cases: pd.DataFrame, region: str, figures: Mapping[str, dict[str, Any]]) -> Figure:
    """Draw the Dice of a region: each case as a dot, and the mean of each hospital with its interval.

    ``figures`` maps a hospital to ``{mean, low, high, n}``; see
    :func:`kicc_ml.evaluation.multisite.collect_site_figures`.
    """
    axes = _make_axes(5.2, 0.9 + 0.3 * len(figures))
    generator = np.random.default_rng(0)  # spreads the dots so that they do not cover each other
    for row, (site, figure) in enumerate(figures.items()):
        dots = cases.loc[cases["site"].astype(str) == site, f"{region}_dice"].dropna().to_numpy(float)
        axes.scatter(dots, row + generator.uniform(-0.22, 0.22, dots.size), s=9, color=GREY, alpha=0.6, lw=0)
        if figure["mean"] is not None:
            _draw_point(axes, figure["mean"], figure, row, BLUE, "o")
    _name_rows(axes, [f"{site} (n={figure['n']})" for site, figure in figures.items()])
    axes.set(xlim=(0, 1.02), xlabel=f"Dice, {region.replace('_', ' ')}")
    return _get_figure(axes)


def draw_forest(
    by_model: Mapping[str, Mapping[str, dict[str, Any]]],
    overall: Mapping[str, dict[str, Any]],
) -> Figure:
    """Draw the AUC of each hospital with its interval, by model; below the line, the three answers for all hospitals.

    The prediction interval of a new hospital is dashed.

    Args:
        by_model: metrics of each hospital by model.
        overall: ``auroc`` of the summary by model.
    """
    sites = sorted({site for figures in by_model.values() for site in figures})
    axes = _make_axes(FOREST_INCHES, 1.3 + (0.3 if len(sites) <= MAX_SPACED_SITES else 0.24) * (len(sites) + 3))
    style = assign_styles(list(by_model))
    for shift, (model, figures) in zip(_spread_models(len(by_model)), by_model.items(), strict=True):
        colour, marker = style[model]
        answers = [overall[model][question] for question in ("these_hospitals", "hospitals_like_these")]
        for row, figure in enumerate([*(figures.get(site) for site in sites), *answers]):
            if figure and figure["value"] is not None:
                _draw_point(axes, figure["value"], figure, row + shift, colour, "D" if row > len(sites) else marker)
        if (new := overall[model]["new_hospital"])["low"] is not None:
            ends = [new["low"], new["high"]]
            axes.plot(ends, [len(sites) + 2 + shift] * 2, color=colour, lw=1.6, ls=(0, (3, 1.5)))
        axes.plot([], [], color=colour, marker=marker, label=escape_for_plot(model.replace("_", " ")))
    left = _find_left_edge(axes)
    axes.axhline(len(sites) - 0.5, color="black", lw=0.6)
    axes.axvline(0.5, color=GREY, lw=0.8, ls="--")
    counts = next(iter(by_model.values()), {})
    named = [f"{site} ({_format_count(counts.get(site))})" for site in sites]
    _name_rows(axes, [*named, *QUESTION_NAMES.values()])
    axes.set(xlim=(left, 1.02), xlabel="AUC (95 % interval; no bar: not estimable)")
    columns = 2 if len(by_model) > 2 else max(1, len(by_model))
    axes.legend(loc="upper center", fontsize=8, frameon=False, bbox_to_anchor=(0.5, 1.0), ncols=columns)
    axes.set_ylim(len(sites) + 2.6, -0.8 - 0.6 * -(-len(by_model) // columns))
    return _get_figure(axes)


def draw_calibration(predictions: pd.DataFrame, curves: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw observed against predicted risk of one endpoint: smooth curves, groups of equal size, and single risks.

    The upper ticks are the risks of patients with the event, the lower ticks those of patients without it, both by the
    first model.
    """
    axes = _make_axes(3.6, 3.5)
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--")
    known = predictions.dropna(subset=["label", "probability"])
    shown = assign_styles(choose_plotted_models(list(dict.fromkeys(known["model"]))))
    for position, (model, (colour, marker)) in enumerate(shown.items()):
        rows = make_binary_outcomes(known[known["model"] == model])
        groups = np.array_split(np.argsort(rows.probability_n, kind="stable"), CALIBRATION_GROUPS)
        points = [(rows.probability_n[group].mean(), rows.label_n[group].mean()) for group in groups if group.size]
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker, ms=3.5, lw=0, alpha=0.7)
        curve = curves.get(model, {"predicted": [], "observed": []})
        axes.plot(
            curve["predicted"], curve["observed"], color=colour, lw=1.6, label=escape_for_plot(model.replace("_", " "))
        )
        if position == 0:
            _draw_risk_ticks(axes, rows, colour)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.14, 1.02), xlabel="predicted risk", ylabel="observed share")
    if shown:
        axes.legend(fontsize=8, frameon=False, loc="upper left")
    return _get_figure(axes)


def draw_decision_curve(curves: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw the net benefit by threshold for one endpoint, with its interval, and those of treating all and none."""
    axes = _make_axes(3.9, 3.5)
    shown = {model: curves[model] for model in choose_plotted_models(list(curves)) if curves[model]["threshold"]}
    for (model, curve), (colour, _) in zip(shown.items(), assign_styles(list(shown)).values(), strict=True):
        low, high = (np.array(curve[end], float) for end in ("low", "high"))
        axes.fill_between(curve["threshold"], low, high, color=colour, alpha=0.12, lw=0)
        axes.plot(
            curve["threshold"],
            curve["net_benefit"],
            color=colour,
            lw=1.6,
            label=escape_for_plot(model.replace("_", " ")),
        )
    for curve in list(shown.values())[:1]:
        axes.plot(curve["threshold"], curve["treat_all"], color="black", lw=0.9, ls="--", label="treat all")
    axes.axhline(0, color=GREY, lw=0.9, label="treat none")
    top = max((max(curve["net_benefit"]) for curve in shown.values()), default=0.1)
    axes.set(
        ylim=(-0.35 * top - 0.005, 1.35 * top + 0.005), xlabel="threshold of risk", ylabel="net benefit per patient"
    )
    axes.legend(fontsize=8, frameon=False, loc="upper right")
    return _get_figure(axes)


def draw_bland_altman(cases: pd.DataFrame, column: str, label: str, limits: Mapping[str, Any]) -> Figure:
    """Draw the difference of predicted and reference values against their mean, with bias, limits and intervals."""
    known = cases[[column, f"{column}_truth"]].apply(pd.to_numeric).dropna()
    axes = _make_axes(4.2, 3.3)
    difference = known[column] - known[f"{column}_truth"]
    axes.scatter(known.mean(axis=1), difference, s=14, color=BLUE, alpha=0.6, lw=0)
    for name, style in (("lower", "--"), ("bias", "-"), ("upper", "--")):
        if name in limits:
            figure = limits[name]
            axes.axhspan(figure["low"], figure["high"], color=GREY, alpha=0.18, lw=0)
            axes.axhline(figure["value"], color="black", lw=0.9, ls=style)
            axes.annotate(
                f"{figure['value']:.1f}",
                (1.01, figure["value"]),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=8,
            )
    axes.set(xlabel=f"mean of both, {label}", ylabel="predicted minus reference")
    return _get_figure(axes)


def draw_agreement(cases: pd.DataFrame, column: str, label: str, top: float) -> Figure:
    """Draw predicted against reference values, a dot for each case, with the line of identity."""
    known = cases[[column, f"{column}_truth"]].apply(pd.to_numeric).dropna()
    axes = _make_axes(3.4, 3.3)
    axes.plot([0, top], [0, top], color=GREY, lw=0.8, ls="--")
    axes.scatter(known[f"{column}_truth"], known[column], s=14, color=BLUE, alpha=0.6, lw=0)
    axes.set(xlabel=f"{label}, reference masks", ylabel=f"{label}, predicted", aspect="equal")
    axes.set(xlim=(-0.03 * top, 1.03 * top), ylim=(-0.03 * top, 1.03 * top))
    return _get_figure(axes)


def _make_axes(width: float, height: float) -> Axes:
    with mpl.rc_context(STYLE):
        return Figure(figsize=(width, height), layout="constrained").add_subplot()


def _draw_point(axes: Axes, value: float, interval: Mapping[str, Any], row: float, colour: str, marker: str) -> None:
    if interval["low"] is not None:
        axes.plot([interval["low"], interval["high"]], [row, row], color=colour, lw=1.6)
    axes.plot(value, row, color=colour, marker=marker, ms=5)


def _find_left_edge(axes: Axes) -> float:
    """Find where an axis of AUC begins: at 0.4, or further left if anything was drawn there."""
    drawn = [line.get_xdata() for line in axes.lines]
    return max(0.0, min([0.4, *(float(np.min(ends)) - 0.02 for ends in drawn if np.size(ends))]))


def _spread_models(models: int) -> np.ndarray:
    return np.linspace(-0.16, 0.16, models) if models > 1 else np.zeros(models)


def _name_rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), [escape_for_plot(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def assign_styles(models: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Assign a colour and a marker to each model; ``network`` and ``clinical`` always have the same."""
    others = cycle(OTHER_STYLES)
    return {model: MODEL_STYLE.get(model) or next(others) for model in models}


def _draw_risk_ticks(axes: Axes, rows: BinaryOutcomes, colour: str) -> None:
    for label, bottom, top in ((1, -0.065, -0.03), (0, -0.105, -0.07)):
        axes.vlines(rows.probability_n[rows.label_n == label], bottom, top, color=colour, lw=0.4, alpha=0.6)
    axes.text(1.04, -0.047, "event", fontsize=6, va="center", color=GREY)
    axes.text(1.04, -0.087, "none", fontsize=6, va="center", color=GREY)


def _format_count(figure: Mapping[str, Any] | None) -> str:
    return f"{figure['events']}/{figure['n']}" if figure and "events" in figure else "0"


def _get_figure(axes: Axes) -> Figure:
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    return figure


def to_svg(figure: Figure) -> str:
    """Convert a figure to the text of an SVG file; the same figure always gives the same text."""
    text = io.StringIO()
    for label in figure.findobj(Text):  # labels that were made outside of the style have matplotlib's default fonts
        assert isinstance(label, Text)
        label.set_fontfamily(STYLE["font.family"])
    with mpl.rc_context(STYLE):
        figure.savefig(text, format="svg", metadata={"Creator": None, "Date": None, "Format": None, "Type": None})
    return text.getvalue()


def strip_for_html(svg: str) -> str:
    """Remove the prologue and the name spaces of an SVG file, which HTML does not need."""
    return re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", svg[svg.index("<svg") :])
