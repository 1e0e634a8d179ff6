"""The tables of a model card: figures of ``summary.json`` with their intervals, in the format of the report."""

from collections.abc import Mapping, Sequence
from typing import Any

from kicc_ml.evaluation.calibration_verdict import SCALES
from kicc_ml.evaluation.outcome import CALIBRATION
from kicc_ml.evaluation.text import (
    METRIC_NAMES,
    QUESTION_NAMES,
    format_bounds,
    format_estimate,
    make_heading,
    make_label,
)
from kicc_ml.report.cards.card import CardTable, hide_small_counts
from kicc_ml.report.score_table import HEADINGS, make_score_rows
from kicc_ml.report.site_table import list_judged_models

#: Of masks: shown overall.
MASK_METRICS = {"dice": 2, "nsd_2mm": 2, "hd95_mm": 1, "volume_error_ml": 1}
#: Groups that a card shows; the others are in the report.
PATIENT_GROUPS = ("sex", "age_band")
NONE = "–"
#: What the figures of a table answer.
AT_THESE = "For patients like these at these hospitals."
UNLESS = "For patients like these at these hospitals, unless a heading names another question."
AT_EACH = "For patients like these at each hospital."


def make_participant_table(participants: Sequence[Mapping[str, Any]]) -> CardTable:
    """Make the table of hospitals with their cases; a count that is too small is hidden."""
    endpoints = [
        name for name in (participants[0] if participants else {}) if name not in ("site", "cases", "with masks")
    ]
    columns = {"cases": [row["cases"] for row in participants]}
    if any(row["with masks"] for row in participants):
        columns["with reference masks"] = [row["with masks"] for row in participants]
    for endpoint in endpoints:
        columns[f"{make_label(endpoint)}, events"] = [int(row[endpoint].split(" / ")[0]) for row in participants]
        columns[f"{make_label(endpoint)}, known"] = [int(row[endpoint].split(" / ")[1]) for row in participants]
    cells = [hide_small_counts(counts) for counts in columns.values()]
    rows = [[str(row["site"]), *of_site] for row, of_site in zip(participants, zip(*cells, strict=True), strict=False)]
    return CardTable(["hospital", *columns], rows)


def make_segmentation_table(summary: Mapping[str, Any]) -> CardTable:
    """Make the table of regions with the metrics of masks over all cases, and Dice at hospitals like these."""
    rows = [
        [make_label(region), str(scored["dice"]["n"])]
        + [format_estimate(scored[metric], digits) for metric, digits in MASK_METRICS.items()]
        + [format_estimate(scored["dice"]["hospitals_like_these"]), format_bounds(scored["dice"]["new_hospital"])]
        for region, scored in summary["segmentation"].items()
        if scored["dice"]["mean"] is not None
    ]
    these = [f"{METRIC_NAMES[metric]} {QUESTION_NAMES['these_hospitals']}" for metric in MASK_METRICS]
    further = [f"Dice {QUESTION_NAMES[name]}" for name in ("hospitals_like_these", "new_hospital")]
    return CardTable(["region", "n", *these, *further], rows, UNLESS)


def make_outcome_table(summary: Mapping[str, Any]) -> CardTable:
    """Make the table of endpoints and models with the three answers on the AUC, and the Brier score."""
    rows = [
        [make_heading(endpoint), make_label(model), _count_events(scored["brier"])]
        + [format_estimate(scored["auroc"].get(name)) for name in ("these_hospitals", "hospitals_like_these")]
        + [format_bounds(scored["auroc"]["new_hospital"]), format_estimate(scored["brier"], 3)]
        for endpoint, models in list_judged_models(summary).items()
        for model, scored in ((model, summary["outcome"][endpoint][model]) for model in models)
    ]
    answers = [f"AUC {name}" for name in QUESTION_NAMES.values()]
    return CardTable(["endpoint", "model", "events / n", *answers, METRIC_NAMES["brier"]], rows, UNLESS)


def make_score_table(summary: Mapping[str, Any]) -> CardTable:
    """Make the table of a radiologist's scores of radiographs."""
    return CardTable(HEADINGS, make_score_rows(summary.get("image_scores", {})), "For images of persons like these.")


def make_hospital_table(summary: Mapping[str, Any]) -> CardTable:
    """Make the table of hospitals with the mean Dice of lesions and each AUC."""
    sites = summary["sites"]
    columns: dict[str, list[str]] = {}
    if summary["segmentation"]["lesion"]["dice"]["mean"] is not None:
        columns["lesion Dice"] = [format_estimate(of["segmentation"]["lesion"]["dice"]) for of in sites.values()]
    for endpoint, models in list_judged_models(summary).items():
        for model in models:
            scored = [of["outcome"].get(endpoint, {}).get(model) for of in sites.values()]
            columns[f"{make_label(endpoint)} AUC, {make_label(model)}"] = [
                format_estimate(one["auroc"]) if one else NONE for one in scored
            ]
    rows = [list(row) for row in zip(sites, *columns.values(), strict=True)] if columns else []
    return CardTable(["hospital", *columns], [[str(cell) for cell in row] for row in rows], AT_EACH)


def make_subgroup_table(summary: Mapping[str, Any]) -> CardTable:
    """Make the table of sexes and age bands; counts that are too small are hidden."""
    judged = list_judged_models(summary)
    chosen = [
        row
        for row in summary["subgroups"]
        if row["grouping"] in PATIENT_GROUPS and row["model"] in judged.get(row["endpoint"], ()) and row["n"]
    ]
    shown: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in chosen:
        shown.setdefault((row["endpoint"], row["model"], row["grouping"]), []).append(row)
    rows = [cells for group in shown.values() for cells in _make_group_rows(group)]
    header = [
        "endpoint",
        "model",
        "group",
        "events",
        "n",
        *(METRIC_NAMES[name] for name in ("auroc", "observed_expected")),
    ]
    return CardTable(header, rows, AT_THESE)


def _make_group_rows(group: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    events, n = (hide_small_counts([row[name] for row in group]) for name in ("events", "n"))
    return [
        [make_heading(row["endpoint"]), make_label(row["model"]), f"{make_label(row['grouping'])}: {row['group']}"]
        + [events[place], n[place]]
        + [
            format_estimate(row[metric].get("these_hospitals", row[metric]))
            for metric in ("auroc", "observed_expected")
        ]
        for place, row in enumerate(group)
    ]


def make_calibration_table(summary: Mapping[str, Any]) -> CardTable:
    """Make the table of endpoints and models with the figures of calibration."""
    wanted = [name for name in CALIBRATION if name not in ("brier", "scaled_brier")]
    asked = [
        *((name, "these_hospitals") for name in wanted),
        *((name, "hospitals_like_these") for name in SCALES),  # of which the verdict speaks where it can
    ]
    rows = [
        [make_heading(endpoint), make_label(model)]
        + [
            format_estimate(_get_answer(summary["outcome"][endpoint][model][name], question))
            for name, question in asked
        ]
        for endpoint, models in list_judged_models(summary).items()
        for model in models
    ]
    headings = [f"{METRIC_NAMES[name]} {QUESTION_NAMES[question]}" for name, question in asked]
    return CardTable(["endpoint", "model", *headings], rows, UNLESS)


def _get_answer(figure: Mapping[str, Any], question: str) -> Mapping[str, Any] | None:
    """Get the answer to a question; a figure without answers is of these hospitals."""
    return figure.get(question, figure if question == "these_hospitals" else None)


def _count_events(brier: Mapping[str, Any]) -> str:
    return " / ".join(hide_small_counts([count])[0] for count in (brier.get("events", 0), brier.get("n", 0)))
