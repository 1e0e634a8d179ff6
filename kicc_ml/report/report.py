"""Write the report of a run: one HTML page that can be sent, printed and read without a network."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from kicc_ml.core.files import make_folder, write_table, write_text
from kicc_ml.core.locks import hold
from kicc_ml.core.pages import read_template
from kicc_ml.core.path_names import make_distinct_path_names, resolve_subfolder
from kicc_ml.evaluation import segmentation
from kicc_ml.evaluation.multisite import collect_site_figures, list_endpoints, list_regions, list_sites, select_site
from kicc_ml.evaluation.rows import choose_plotted_models
from kicc_ml.evaluation.subgroups import SUBGROUP_METRICS as SUBGROUP_METRICS
from kicc_ml.evaluation.summary import format_summary, list_models, list_numbers
from kicc_ml.evaluation.supported import choose_headline_question, describe_order
from kicc_ml.evaluation.text import (
    METRIC_NAMES,
    QUESTION_NAMES,
    format_bounds,
    format_estimate,
    format_p,
    make_heading,
    make_label,
    name_model,
)
from kicc_ml.evaluation.verdict import format_judgement, list_sentences, list_verdicts
from kicc_ml.report import figures
from kicc_ml.report.checklist import fill_checklists
from kicc_ml.report.flow_chart import draw_flow_chart, make_flow_steps
from kicc_ml.report.leakage_text import count_pictures
from kicc_ml.report.segmentation_verdict import write_segmentation_verdict
from kicc_ml.report.site_table import list_judged_models, make_site_columns
from kicc_ml.report.table_one import make_table_one, split_by_width

#: Quantities that are compared with the reference masks: their name in figures, and the maximum of the axis.
GRADED_QUANTITIES = {"severity_score": ("severity score", 24.0), "percent_involved": ("% of lung involved", 100.0)}

#: Parts of the page, by the name of their link: in the bar of contents, and where a checklist points to.
SECTION_NAMES = {
    "top": "first page",
    "verdict": "Verdict",
    "done": "What was done",
    "participants": "Participants",
    "table-1": "Table 1",
    "by-hospital": "By hospital",
    "segmentation": "Segmentation",
    "outcome": "Outcome",
    "subgroups": "Subgroups",
    "comparisons": "Which model is better",
    "leakage": "Leakage",
    "severity": "Severity",
    "worst": "Worst and median cases",
    "not-evaluated": "What could not be evaluated",
    "environment": "Environment",
}

#: Metrics over all cases, as grouped into tables; the AUC has its own table.
OUTCOME_TABLES = (
    ("auroc_pooled", "auprc", "brier", "scaled_brier"),
    ("observed_expected", "calibration_slope", "calibration_intercept"),
)

#: Lock that is held while a report is written. A fold in the same folder has its own lock.
LOCK = ".report.lock"

DUPLICATE_COLUMNS = ["image", "kind", "similarity", "one", "other", "site_one", "site_other"]


@dataclass(frozen=True)
class ShownCase:
    """Pictures of a case, as JPEG; if there are none, ``caption`` says why.

    ``predicted`` is the heading under which they appear: ``segmentation`` or an endpoint.
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
    """Write the page ``report.html`` with its numbers and figures into ``folder``, and return the path of the page.

    The other files are ``cases.csv summary.json summary.csv checklist.csv figures/*.svg`` and, if they are known,
    ``table_1.csv duplicates.csv``. Every file is written as a whole or not at all.

    Args:
        folder: the folder of the report.
        summary: that of :func:`kicc_ml.evaluation.summary.summarise` over the two tables.
        cases: a row for each case.
        predictions: a row for each case, endpoint and model.
        run: ``name``, ``description`` (what was done and how it was validated, in sentences), ``config`` (shown as a
            block), and any other facts (versions, seed, commit), each of which is a line under "Environment".
        shown: cases in pictures, grouped by what was predicted, worst first.

    Raises:
        UserError: a link in the place of ``figures`` leads out of the folder; nothing is written then.
    """
    pictures = resolve_subfolder(folder, "figures", "the folder of figures")
    filled = fill_checklists(summary | {"shown": [case.caption for case in shown if case.jpegs]}, run)
    drawn = draw_figures(summary, cases, predictions)
    file_names = make_distinct_path_names(drawn)
    page = render_page(summary, cases, predictions, run, shown, drawn, filled)
    with hold(
        make_folder(folder) / LOCK, f"the report in {folder}", wait=True
    ):  # files of two evaluations must not mix
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
    """Render the page as text with its CSS, figures and pictures, so that it requests nothing from a network."""
    filters: dict[str, Callable[..., Any]] = {
        "figure": format_estimate,
        "bounds": format_bounds,
        "words": make_label,
        "heading": make_heading,
        "p": format_p,
        "model": name_model,
        "judgement": format_judgement,
        "sentences": list_sentences,
        "headline_question": choose_headline_question,
        "order": describe_order,
        "pictures": count_pictures,
    }
    site_header, site_rows = make_site_columns(summary)
    participants, scored = count_participants(cases, predictions), _list_scored_endpoints(predictions)
    return read_template("kicc_ml.report", "report.html.j2", filters).render(
        summary=summary,
        verdicts=list_verdicts(summary),
        run=run,
        participants=participants,
        with_masks=any(row["with masks"] for row in participants),
        segmentation_verdict=write_segmentation_verdict(summary),
        site_header=site_header,
        site_rows=site_rows,
        regions=list_regions(cases),
        endpoints=scored,
        unknown_endpoints=[name for name in list_endpoints(predictions) if name not in scored],
        models=list_models(predictions),
        segmentation_tables=(segmentation.AGREEMENT_METRICS, segmentation.VOLUME_METRICS),
        detection_metrics=segmentation.DETECTION_METRICS,
        in_pieces=segmentation.MULTIFOCAL_REGIONS,
        outcome_tables=OUTCOME_TABLES,
        judged=list_judged_models(summary),
        questions=QUESTION_NAMES,
        subgroup_metrics=SUBGROUP_METRICS,
        metric_names=METRIC_NAMES,
        drawings={name: Markup(figures.strip_for_html(svg)) for name, svg in drawn.items()},
        shown=[(case.predicted, case.caption, [_make_data_uri(jpeg) for jpeg in case.jpegs]) for case in shown],
        table_one=split_by_width(make_table_one(summary["table_1"])) if "table_1" in summary else [],
        checklists=filled,
        section_names=SECTION_NAMES,
    )


def _list_scored_endpoints(predictions: pd.DataFrame) -> list[str]:
    """List the predicted endpoints for which at least one outcome is known."""
    known = predictions.dropna(subset=["label"]) if "label" in predictions else predictions
    return list_endpoints(known)


def make_tables(summary: dict[str, Any], filled: Sequence[Mapping[str, Any]]) -> dict[str, pd.DataFrame]:
    """Make the tables of the page that are not in ``summary.csv``, by the name of their file."""
    items = [{"standard": checklist["standard"]} | item for checklist in filled for item in checklist["items"]]
    tables = {"checklist": pd.DataFrame(items, columns=["standard", "item", "topic", "state", "answer", "see"])}
    if "table_1" in summary:
        tables["table_1"] = make_table_one(summary["table_1"])
    if "leakage" in summary:
        tables["duplicates"] = pd.DataFrame(summary["leakage"]["duplicates"], columns=DUPLICATE_COLUMNS)
    return tables


def count_participants(cases: pd.DataFrame, predictions: pd.DataFrame) -> list[dict[str, Any]]:
    """Count, for each hospital, cases, cases with reference masks, and ``events / known`` of each endpoint."""
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


def draw_figures(summary: dict[str, Any], cases: pd.DataFrame, predictions: pd.DataFrame) -> dict[str, str]:
    """Draw every figure as SVG, by name: ``dice_<region>``, ``forest_<endpoint>`` and so on."""
    drawn = {
        f"dice_{region}": figures.draw_dice_by_site(
            cases, region, collect_site_figures(summary, "segmentation", region, "dice")
        )
        for region in list_regions(cases)
    }
    for run in summary.get("flow", []):
        steps = make_flow_steps(run["flow"], len(summary.get("quarantined", {})), run["held_out"])
        drawn[f"flow_{run['name']}"] = draw_flow_chart(steps)
    for endpoint in _list_scored_endpoints(predictions):
        rows = predictions[predictions["endpoint"] == endpoint]
        drawn[f"forest_{endpoint}"] = _draw_forest(summary, endpoint, list_models(rows))
        drawn[f"calibration_{endpoint}"] = figures.draw_calibration(rows, summary["calibration_curve"][endpoint])
        drawn[f"decision_{endpoint}"] = figures.draw_decision_curve(summary["decision_curve"][endpoint])
    for column, (label, top) in GRADED_QUANTITIES.items():
        both = [column, f"{column}_truth"]
        if set(both) <= set(cases.columns) and not cases[both].dropna().empty:
            drawn[f"agreement_{column}"] = figures.draw_agreement(cases, column, label, top)
    if "agreement_percent_involved" in drawn:
        limits = summary["severity"]["percent_involved"]["bland_altman"]
        drawn["bland_altman"] = figures.draw_bland_altman(
            cases, "percent_involved", GRADED_QUANTITIES["percent_involved"][0], limits
        )
    return {name: figures.to_svg(figure) for name, figure in drawn.items()}


def _draw_forest(summary: dict[str, Any], endpoint: str, models: list[str]) -> Figure:
    shown = choose_plotted_models(models)
    by_model = {model: collect_site_figures(summary, "outcome", endpoint, model, "auroc") for model in shown}
    overall = {model: summary["outcome"][endpoint][model]["auroc"] for model in shown}
    return figures.draw_forest(by_model, overall)


def _make_data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
