"""Draw the participant flow of a run: from the rows of the table to the folds that predicted the cases."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kicc_ml.core.shown import escape_for_plot
from kicc_ml.report.figures import GREY, STYLE

#: Inches; as wide as an A4 page within its margins.
WIDTH, LEFT_WIDTH, GAP, LINE, PADDING = 7.2, 3.2, 0.35, 0.165, 0.09
#: Maximum characters in a line of a box on the left and on the right, at this font size.
MAX_LEFT_CHARACTERS, MAX_RIGHT_CHARACTERS, FONT = 46, 53, 8

NO_BREAK = "\N{NO-BREAK SPACE}"

#: Prefix of counts that describe the cases; the others count images or values that were not used.
DESCRIBES_CASES = "cases "


@dataclass(frozen=True)
class Step:
    """A box of the chart, and what was left out at its side (dashed if cases stay and only images or values leave)."""

    lines: list[str]
    aside: list[str]
    cases_stay: bool = False


def make_flow_steps(
    flow: Mapping[str, Any], set_aside: int = 0, held_out: Mapping[str, int] | None = None
) -> list[Step]:
    """Make the boxes of the chart.

    Args:
        flow: the content of a cohort's ``flow.json``.
        set_aside: number of cases that were set aside later.
        held_out: number of cases that each fold held out.
    """
    counts = {what: count for what, count in flow["counts"].items() if count}
    excluded = {what: count for what, count in flow.get("excluded", {}).items() if count}
    described = [f"{count} {what}" for what, count in counts.items() if what.startswith(DESCRIBES_CASES)]
    unused = [f"{count} {what}" for what, count in counts.items() if not what.startswith(DESCRIBES_CASES)]
    steps = [
        Step([f"{flow['rows']} {flow.get('unit', 'rows of the table')}"], _list_counts("excluded", excluded)),
        Step([f"{flow['cases']} cases", *described], unused, cases_stay=True),
    ]
    left_out = flow["cases"] - sum(held_out.values()) - set_aside if held_out else 0
    aside = []
    if set_aside > 0:
        aside.append(f"{set_aside} set aside, named at the end")
    if left_out > 0:
        aside.append(f"{left_out} without what this task needs (image, mask, outcome)")
    if aside:
        steps.append(Step(["Cases of this task"], aside))
    if held_out:
        steps.append(Step(_list_folds(held_out), []))
    return steps


def draw_flow_chart(steps: list[Step]) -> Figure:
    """Draw the boxes from top to bottom, with what was left out beside them."""
    steps = [
        Step(_wrap(step.lines, MAX_LEFT_CHARACTERS), _wrap(step.aside, MAX_RIGHT_CHARACTERS), step.cases_stay)
        for step in steps
    ]
    heights = [max(_compute_height(step.lines), _compute_height(step.aside)) for step in steps]
    total = sum(heights) + GAP * (len(steps) - 1) + 0.1
    with mpl.rc_context(STYLE):
        axes = Figure(figsize=(WIDTH, total)).add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, total))
    axes.axis("off")
    top = total - 0.05
    for position, (step, height) in enumerate(zip(steps, heights, strict=True)):
        _draw_step(axes, step, top, height)
        if position + 1 < len(steps):
            below = top - height / 2 - _compute_height(step.lines) / 2
            next_top = top - height - GAP - (heights[position + 1] - _compute_height(steps[position + 1].lines)) / 2
            _draw_arrow(axes, (LEFT_WIDTH / 2, below), (LEFT_WIDTH / 2, next_top))
        top -= height + GAP
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    return figure


def _list_counts(heading: str, counts: Mapping[str, int]) -> list[str]:
    if not counts:
        return []
    return [f"{sum(counts.values())} {heading}", *(f"   {count} {what}" for what, count in counts.items())]


def _list_folds(cases_of: Mapping[str, int]) -> list[str]:
    folds = "one fold" if len(cases_of) == 1 else f"{len(cases_of)} folds"
    named = ", ".join(f"{fold} {count}".replace(" ", NO_BREAK) for fold, count in cases_of.items())
    return [f"{sum(cases_of.values())} cases predicted, held out by {folds}", named]


def _wrap(lines: list[str], characters: int) -> list[str]:
    indent = {line: " " * (len(line) - len(line.lstrip()) + 2) for line in lines}
    return [part for line in lines for part in textwrap.wrap(line, characters, subsequent_indent=indent[line])]


def _compute_height(lines: list[str]) -> float:
    return LINE * len(lines) + 2 * PADDING


def _draw_step(axes: Axes, step: Step, top: float, height: float) -> None:
    middle = top - height / 2
    _draw_box(axes, 0.03, LEFT_WIDTH, middle, step.lines, "-")
    if step.aside:
        left = LEFT_WIDTH + GAP
        _draw_box(axes, left, WIDTH - left - 0.03, middle, step.aside, "--" if step.cases_stay else "-")
        _draw_arrow(axes, (LEFT_WIDTH + 0.03, middle), (left, middle))


def _draw_box(axes: Axes, left: float, width: float, middle: float, lines: list[str], style: str) -> None:
    height = _compute_height(lines)
    corner = (left, middle - height / 2)
    axes.add_patch(mpl.patches.Rectangle(corner, width, height, fill=False, ls=style, lw=0.9, ec="black"))
    for position, line in enumerate(lines):
        weight = "bold" if position == 0 and line[:1].isdigit() and style == "-" else "normal"
        y = middle + height / 2 - PADDING - LINE * (position + 0.5)
        axes.text(left + PADDING, y, escape_for_plot(line), fontsize=FONT, va="center", weight=weight)


def _draw_arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate(
        "", end, start, arrowprops={"arrowstyle": "-|>", "color": GREY, "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
    )
