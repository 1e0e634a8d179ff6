"""The report of a run: one HTML page that can be sent, printed and read without a network."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

from kicc_ml.core.files import make_folder, write_table, write_text
from kicc_ml.core.locks import hold
from kicc_ml.core.pages import read_template
from kicc_ml.core.path_names import make_distinct_path_names, resolve_subfolder
from kicc_ml.core.shown import escape_markup
from kicc_ml.evaluation import segmentation
from kicc_ml.evaluation.multisite import collect_site_figures, list_endpoints, list_regions, list_sites, select_site
from kicc_ml.evaluation.rows import choose_plotted_models
from kicc_ml.evaluation.subgroups import SUBGROUP_METRICS as SUBGROUP_METRICS
from kicc_ml.evaluation.summary import format_summary, list_models, list_numbers
from kicc_ml.evaluation.text import (
    METRIC_NAMES,
    QUESTION_NAMES,
    format_bounds,
    format_estimate,
    format_number,
    format_p,
    make_heading,
    make_label,
)
from kicc_ml.report import figures
from kicc_ml.report.checklist import fill_checklists
from kicc_ml.report.flow_chart import draw_flow_chart, make_flow_steps
from kicc_ml.report.table_one import make_table_one, split_by_width

#: Graded quantities that have a true value beside them: their name in figures and the top of the axis.
GRADED_QUANTITIES = {"severity_score": ("severity score", 24.0), "percent_involved": ("% of lung involved", 100.0)}


#: Parts of the page that a checklist may point to.
SECTION_NAMES = {
    "top": "first page",
    "done": "What was done",
    "participants": "Participants",
    "table-1": "Table 1",
    "by-hospital": "By hospital",
    "outcome": "Outcome",
    "verdict": "Verdict",
    "subgroups": "Subgroups",
    "leakage": "Leakage",
    "worst": "Worst and median cases",
    "not-evaluated": "What could not be evaluated",
    "environment": "Environment",
}

#: Figures of all cases, as the report puts them together; the AUC has a table of its own.
OUTCOME_TABLES = (
    ("auroc_pooled", "auprc", "brier", "scaled_brier"),
    ("observed_expected", "calibration_slope", "calibration_intercept"),
)

#: Held while a report is written; not that of a fold, which may lie in the same folder.
LOCK = ".report.lock"

DUPLICATE_COLUMNS = ["image", "kind", "similarity", "one", "other", "site_one", "site_other"]


@dataclass(frozen=True)
class ShownCase:
    """A case in pictures (``jpegs``; none where they cannot be had, which ``caption`` then says), under the heading of
    what was ``predicted``: ``segmentation`` or an endpoint.
    """

    predicted: str
    caption: str
    jpegs: tuple[bytes, ...] = ()


def write_report(
    folder: Path,
    summary: dict[str, Any],
    cases: pd.DataFrame,
    predictions: pd.DataFrame,
    run: Mapping[str, str],
    shown: Sequence[ShownCase] = (),
) -> Path:
    """Write the page, its numbers and figures into ``folder``: ``report.html``; return its path.

    Beside it ``cases.csv summary.json summary.csv checklist.csv figures/*.svg`` and, of what is known, ``table_1.csv
    duplicates.csv``.

    ``summary`` is that of :func:`kicc_ml.evaluation.summary.summarise` over the two tables. ``run`` holds
    ``name``, ``description`` (what was done and how it was validated, in words), ``config`` (shown as a
    block) and anything else worth telling (versions, seed, commit ...), each a line under "Environment".
    ``shown`` are together by what was predicted, worst first. Every file appears whole or not at all.

    Raises:
        UserError: a link in the place of ``figures`` leads out of the folder; nothing is written then.
    """
    pictures = resolve_subfolder(folder, "figures", "the folder of figures")
    filled = fill_checklists(summary | {"shown": [one.caption for one in shown if one.jpegs]}, run)
    drawn = draw_figures(summary, cases, predictions)
    file_names = make_distinct_path_names(drawn)
    page = render_page(summary, cases, predictions, run, shown, drawn, filled)
    with hold(make_folder(folder) / LOCK, f"the report in {folder}", wait=True):  # two evaluations never mix
        write_table(folder / "cases.csv", cases)
        write_text(folder / "summary.json", format_summary(summary))
        write_table(folder / "summary.csv", list_numbers(summary))
        for name, table in make_tables(summary, filled).items():
            write_table(folder / f"{name}.csv", table)
        for name, svg in drawn.items():
            write_text(pictures / f"{file_names[name]}.svg", svg)
        write_text(folder / "report.html", page)
    return folder / "report.html"


def render_page(
    summary: dict[str, Any],
    cases: pd.DataFrame,
    predictions: pd.DataFrame,
    run: Mapping[str, str],
    shown: Sequence[ShownCase],
    drawn: Mapping[str, str],
    filled: Sequence[Mapping[str, Any]],
) -> str:
    """The page as text: CSS, figures and pictures inside, nothing requested from anywhere."""
    filters: dict[str, Callable[..., str]] = {
        "figure": format_estimate,
        "bounds": format_bounds,
        "words": make_label,
        "heading": make_heading,
        "p": format_p,
    }
    site_header, site_rows = _make_site_columns(summary)
    return read_template("kicc_ml.report", "report.html.j2", filters).render(
        summary=summary,
        run=run,
        participants=count_participants(cases, predictions),
        site_header=site_header,
        site_rows=site_rows,
        regions=list_regions(cases),
        endpoints=_list_scored_endpoints(predictions),
        unknown_endpoints=[
            name for name in list_endpoints(predictions) if name not in _list_scored_endpoints(predictions)
        ],
        models=list_models(predictions),
        segmentation_tables=(segmentation.AGREEMENT_METRICS, segmentation.VOLUME_METRICS),
        detection_metrics=segmentation.DETECTION_METRICS,
        in_pieces=segmentation.MULTIFOCAL_REGIONS,
        outcome_tables=OUTCOME_TABLES,
        judged=_list_scored_models(summary),
        questions=QUESTION_NAMES,
        subgroup_metrics=SUBGROUP_METRICS,
        metric_names=METRIC_NAMES,
        drawings={name: Markup(figures.strip_for_html(svg)) for name, svg in drawn.items()},
        shown=[(one.predicted, one.caption, [_make_data_uri(jpeg) for jpeg in one.jpegs]) for one in shown],
        table_one=split_by_width(make_table_one(summary["table_1"])) if "table_1" in summary else [],
        checklists=filled,
        section_names=SECTION_NAMES,
    )


def _list_scored_endpoints(predictions: pd.DataFrame) -> list[str]:
    """Of the endpoints that were predicted, those of which the outcome of anybody is known."""
    known = predictions.dropna(subset=["label"]) if "label" in predictions else predictions
    return list_endpoints(known)


def make_tables(summary: dict[str, Any], filled: Sequence[Mapping[str, Any]]) -> dict[str, pd.DataFrame]:
    """What is in the page as a table and not in ``summary.csv``, by the name of its file."""
    items = [{"standard": one["standard"]} | item for one in filled for item in one["items"]]
    found = {"checklist": pd.DataFrame(items, columns=["standard", "item", "topic", "state", "answer", "see"])}
    if "table_1" in summary:
        found["table_1"] = make_table_one(summary["table_1"])
    if "leakage" in summary:
        found["duplicates"] = pd.DataFrame(summary["leakage"]["duplicates"], columns=DUPLICATE_COLUMNS)
    return found


def make_site_table(summary: dict[str, Any]) -> Table:
    """The same table of hospitals for the terminal."""
    table = Table(title="By hospital", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    header, rows = _make_site_columns(summary)
    for position, column in enumerate(header):
        table.add_column(escape_markup(column), justify="right" if position else "left")
    for row in rows:
        table.add_row(*map(escape_markup, row))
    return table


def count_participants(cases: pd.DataFrame, predictions: pd.DataFrame) -> list[dict[str, Any]]:
    """Per hospital: cases, cases with reference masks, and ``events / known`` of each endpoint."""
    counted = []
    for site in list_sites(cases, predictions):
        segmented, predicted = select_site(cases, site), select_site(predictions, site)
        people = {*segmented.get("case_id", ()), *predicted.get("case_id", ())}
        row: dict[str, Any] = {"site": site, "cases": len(people), "with masks": _count_with_masks(segmented)}
        for endpoint in list_endpoints(predictions):
            label = predicted[predicted["endpoint"] == endpoint].drop_duplicates("case_id")["label"].dropna()
            row[endpoint] = f"{int(label.sum())} / {len(label)}"
        counted.append(row)
    return counted


def _count_with_masks(cases: pd.DataFrame) -> int:
    return int(cases["distance_unit"].notna().sum()) if "distance_unit" in cases else 0


def _list_scored_models(summary: dict[str, Any]) -> dict[str, list[str]]:
    """Per endpoint the models that stand side by side, of those that have a figure."""
    judged = {
        endpoint: choose_plotted_models([name for name in models if models[name]["brier"]["value"] is not None])
        for endpoint, models in summary["outcome"].items()
    }
    return {endpoint: models for endpoint, models in judged.items() if models}


def _make_site_columns(summary: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of hospitals, without columns in which no hospital has anything."""
    judged = _list_scored_models(summary)
    aucs = [f"{make_label(endpoint)} AUC, {' / '.join(models)}" for endpoint, models in judged.items()]
    header = ["hospital", "n", "lesion Dice", "severity ±2", *aucs]
    parts = [*summary["sites"].items(), ("all", summary)]
    rows = [[site, *_make_site_cells(figures_of, judged)] for site, figures_of in parts]
    shown = [column for column in range(len(header)) if column < 2 or any(row[column].strip("– /") for row in rows)]
    return [header[column] for column in shown], [[row[column] for column in shown] for row in rows]


def _make_site_cells(figures_of: dict[str, Any], judged: dict[str, list[str]]) -> list[str]:
    within_2 = figures_of["severity"]["score"]["within_2"]
    return [
        str(figures_of["n"]),
        format_number(figures_of["segmentation"]["lesion"]["dice"]["mean"]),
        "–" if within_2 is None else f"{100 * within_2:.0f} %",
        *(
            " / ".join(format_number(_get_auroc(figures_of["outcome"][endpoint], model)) for model in models)
            for endpoint, models in judged.items()
        ),
    ]


def _get_auroc(models: dict[str, Any], model: str) -> float | None:
    return models[model]["auroc"]["value"] if model in models else None


def draw_figures(summary: dict[str, Any], cases: pd.DataFrame, predictions: pd.DataFrame) -> dict[str, str]:
    """Every figure as SVG by name: ``dice_<region>``, ``forest_<endpoint>`` and so on."""
    found = {
        f"dice_{region}": figures.draw_dice_by_site(
            cases, region, collect_site_figures(summary, "segmentation", region, "dice")
        )
        for region in list_regions(cases)
    }
    for one in summary.get("flow", []):
        steps = make_flow_steps(one["flow"], len(summary.get("quarantined", {})), one["held_out"])
        found[f"flow_{one['name']}"] = draw_flow_chart(steps)
    for endpoint in _list_scored_endpoints(predictions):
        rows = predictions[predictions["endpoint"] == endpoint]
        found[f"forest_{endpoint}"] = _draw_forest(summary, endpoint, list_models(rows))
        found[f"calibration_{endpoint}"] = figures.draw_calibration(rows, summary["calibration_curve"][endpoint])
        found[f"decision_{endpoint}"] = figures.draw_decision_curve(summary["decision_curve"][endpoint])
    for column, (label, top) in GRADED_QUANTITIES.items():
        both = [column, f"{column}_truth"]
        if set(both) <= set(cases.columns) and not cases[both].dropna().empty:
            found[f"agreement_{column}"] = figures.draw_agreement(cases, column, label, top)
    if "agreement_percent_involved" in found:
        limits = summary["severity"]["percent_involved"]["bland_altman"]
        found["bland_altman"] = figures.draw_bland_altman(
            cases, "percent_involved", GRADED_QUANTITIES["percent_involved"][0], limits
        )
    return {name: figures.to_svg(figure) for name, figure in found.items()}


def _draw_forest(summary: dict[str, Any], endpoint: str, models: list[str]) -> Figure:
    shown = choose_plotted_models(models)
    by_model = {model: collect_site_figures(summary, "outcome", endpoint, model, "auroc") for model in shown}
    overall = {model: summary["outcome"][endpoint][model]["auroc"] for model in shown}
    return figures.draw_forest(by_model, overall)


def _make_data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
