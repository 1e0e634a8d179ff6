"""The model card of an evaluated run: what it is for, what was shown of it, where it fails, what is not known.

Every figure is that of ``summary.json``, in the format of the report, and every claim is a sentence of the report.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from kicc_ml.core.schemas.versions import load_schema
from kicc_ml.core.shown import format_count
from kicc_ml.evaluation.text import capitalize, make_heading, make_label
from kicc_ml.evaluation.verdict import list_sentences, list_verdicts
from kicc_ml.report.cards.card import (
    HIDDEN,
    MIN_SHOWN_PATIENTS,
    NOT_MEASURED,
    NOTICE,
    UNKNOWN,
    Card,
    CardTable,
    Section,
    format_small_count,
    hide_small_counts,
    list_facts,
)
from kicc_ml.report.cards.card_tables import (
    make_calibration_table,
    make_hospital_table,
    make_outcome_table,
    make_participant_table,
    make_score_table,
    make_segmentation_table,
    make_subgroup_table,
)
from kicc_ml.report.checklist import fill_checklists
from kicc_ml.report.facts import collect_facts, parse_settings
from kicc_ml.report.segmentation_verdict import write_segmentation_verdict
from kicc_ml.severity.domain_shift import MIN_HOSPITALS, MIN_LUNG_ML
from kicc_ml.severity.image_features import FEATURES

#: The list that a run cannot fill in, beside those of the report.
NO_PROBAST = "PROBAST+AI: no list is filled in; its questions about bias are for the authors of a study"


def make_model_card(
    summary: Mapping[str, Any],
    run: Mapping[str, str],
    cases: pd.DataFrame,
    participants: Sequence[Mapping[str, Any]],
    snapshots: Mapping[str, str],
) -> Card:
    """Make the model card of a run.

    Args:
        summary: the content of ``summary.json``.
        run: that of :func:`kicc_ml.report.report.write_report`.
        cases: the rows of ``cases.csv``.
        participants: the rows of :func:`kicc_ml.report.report.count_participants`.
        snapshots: the digest of the cohort's snapshot, by name of the run.
    """
    facts = collect_facts(summary, run)
    return Card(
        "Model card",
        run["name"],
        [
            _describe_model(facts, run),
            _describe_use(facts),
            Section(
                "Training hospitals", [_end(run.get("description", UNKNOWN))], [make_participant_table(participants)]
            ),
            describe_flow(summary),
            *_list_claims(summary),
            _list_figures(summary),
            _describe_subgroups(summary),
            _describe_calibration(summary),
            _describe_domain(cases),
            _describe_failures(summary),
            _describe_software(run),
            describe_snapshots(snapshots),
            _describe_cost(run, cases),
            list_checklists(summary, run),
        ],
    )


def _end(sentence: str) -> str:
    return f"{sentence.rstrip('.')}."


def _describe_model(facts: Mapping[str, str], run: Mapping[str, str]) -> Section:
    wanted = [
        *(("cohort", "Cohort"), ("task", "Task"), ("technology", "Kind"), ("model", "Model"), ("preparation", "Input")),
        *(("training", "Training"), ("split", "Validation"), ("seed", "Seed"), ("kicc_ml", "Release of kicc_ml")),
    ]
    links = [("Report with all figures", "report.html", ""), ("Data card", "data_card.html", "")]
    return Section("Model", list_facts(facts, wanted), links=[*links, ("Figures as JSON", "summary.json", "")])


def _describe_use(facts: Mapping[str, str]) -> Section:
    task = facts.get("task", "")
    return Section(
        "Intended use",
        [
            f"Intended use: research on patients like those of the data card. {_end(task or f'Task: {UNKNOWN}')}",
            "Intended users: researchers, and clinicians who take part in their research.",
            f"Not intended: any decision about a patient. {NOTICE}",
            "Not intended: images or patients unlike those of the data card, of which this run shows nothing.",
        ],
    )


def describe_flow(summary: Mapping[str, Any]) -> Section:
    """Describe the participant flow: rows, exclusions with their reasons, and cases that were set aside.

    Args:
        summary: the content of ``summary.json``.

    Returns:
        the section; no count of patients from 1 to 4 can be told from it.
    """
    flows = dict.fromkeys(tuple(_describe_flow(run["flow"])) for run in summary.get("flow", []))  # parts may share one
    sentences = [sentence for flow in flows for sentence in flow] or [f"Participant flow: {UNKNOWN}."]
    aside = format_small_count(len(summary.get("quarantined", {})), "case")
    sentences.append(f"Set aside, because they could not be read or predicted: {aside}.")
    return Section("Cohort flow", sentences, links=[("Flow chart", "report.html", "participants")])


def _describe_flow(flow: Mapping[str, Any]) -> list[str]:
    """Describe one flow; where the number of the excluded is too small, the rows are not shown either."""
    excluded = flow.get("excluded", {})
    total, unit = sum(excluded.values()), flow.get("unit", "rows of the table")
    rows = f"{unit}: {HIDDEN}" if 0 < total < MIN_SHOWN_PATIENTS else f"{flow['rows']} {unit}"
    counts = hide_small_counts(list(excluded.values()))
    first = f"{rows}, {format_small_count(total)} excluded, {format_count(flow['cases'], 'case')}."
    return [
        first,
        *(f"Excluded: {reason}: {count}." for reason, count in zip(excluded, counts, strict=True)),
        *_list_changed(flow),
    ]


def _list_changed(flow: Mapping[str, Any]) -> list[str]:
    """List what was converted or not used; how many cases have which images is left out, it is in the report."""
    counts = {what: count for what, count in flow.get("counts", {}).items() if count}
    return [
        f"{capitalize(what)}: {format_small_count(count)}."
        for what, count in counts.items()
        if not what.startswith("cases with ")
    ]


def _list_claims(summary: Mapping[str, Any]) -> list[Section]:
    """List the sentences of the report's verdict, as they are there, a section for each endpoint."""
    claims = {
        make_heading(endpoint): [sentence for found in verdicts for sentence in list_sentences(found)]
        for endpoint, verdicts in list_verdicts(summary).items()
    }
    if segmentation := write_segmentation_verdict(summary):
        claims["Segmentation"] = segmentation
    found = [Section(f"What was shown: {about}", sentences) for about, sentences in claims.items()]
    return found or [Section("What was shown", ["The report states no verdict for this run."])]


def _list_figures(summary: Mapping[str, Any]) -> Section:
    made = (make_segmentation_table(summary), make_outcome_table(summary), make_score_table(summary))
    tables = [table for table in (*made, make_hospital_table(summary)) if table.rows]
    said = "Values in brackets are 95 % intervals. n is the number of cases or images."
    return Section("Figures", [said if tables else f"Figures: {NOT_MEASURED}."], tables)


def _describe_subgroups(summary: Mapping[str, Any]) -> Section:
    table = make_subgroup_table(summary)
    present = {row["grouping"] for row in summary["subgroups"]}
    missing = [
        f"By {name}: {NOT_MEASURED}." for key, name in (("sex", "sex"), ("age_band", "age")) if key not in present
    ]
    masks = [f"Segmentation by subgroup: {NOT_MEASURED}."] if make_segmentation_table(summary).rows else []
    many = ["Many groups are compared, so a group that differs is a question and not a finding."] if table.rows else []
    return Section("Subgroups", many + missing + masks, [table] if table.rows else [])


def _describe_calibration(summary: Mapping[str, Any]) -> Section:
    table = make_calibration_table(summary)
    if not table.rows:
        return Section("Calibration", [f"Calibration of risks: {NOT_MEASURED}."])
    said = "Ideal calibration has slope 1, intercept 0 and observed / expected 1."
    return Section("Calibration", [said], [table], [("Calibration curves", "report.html", "outcome")])


def _describe_domain(cases: pd.DataFrame) -> Section:
    """Describe which features of a new scan are compared with those of the training hospitals."""
    known = [name for name in FEATURES if name in cases and cases[name].notna().any()]
    hospitals = cases.loc[cases[known].notna().any(axis=1), "site"].nunique() if known else 0
    if hospitals < MIN_HOSPITALS:
        why = f"features of images of {format_count(hospitals, 'hospital')} are known, and {MIN_HOSPITALS} are needed"
        return Section("Domain limits", [f"Domain shift of a new image: {NOT_MEASURED}: {why}."])
    meanings = load_schema("cases_table")["properties"]
    rows = [[name, meanings[name]["description"], meanings[name]["unit"]] for name in known]
    return Section(
        "Domain limits",
        [
            "A new image is marked if a feature of this table lies outside the range of the training hospitals.",
            f"A CT is refused if its values are not HU of a chest, or its lungs hold less than {MIN_LUNG_ML:.0f} mL.",
            "What no feature shows (another disease, an artefact within the lungs) is not found by this check.",
        ],
        [CardTable(["feature", "meaning", "unit"], rows)],
    )


def _describe_failures(summary: Mapping[str, Any]) -> Section:
    """Describe where to see failures; no case is named, and reasons stay in the report."""
    sentences = [
        f"Cannot be evaluated: {make_label(row['endpoint'])} at {row['site']}." for row in summary["not_evaluable"]
    ]
    links = [("Reasons, and pictures of the worst cases", "report.html", "not-evaluated")]
    said = "Failures are in the report as pictures of the worst cases. Which kinds of case fail together: "
    return Section("Failure cases", [f"{said}{NOT_MEASURED}.", *sentences], links=links)


def _describe_software(run: Mapping[str, str]) -> Section:
    left_out = ("name", "description", "config", "seed")
    return Section(
        "Software",
        [
            "These versions evaluated the run.",
            *(f"{name}: {value}" for name, value in run.items() if name not in left_out),
        ],
    )


def describe_snapshots(snapshots: Mapping[str, str]) -> Section:
    """Describe the digest of the file that records each run's cases."""
    found = [f"{name}: SHA-256 of cohort.json {digest}." for name, digest in snapshots.items()]
    return Section("Data snapshot", found or [f"Digest of the data: {UNKNOWN}."])


def _describe_cost(run: Mapping[str, str], cases: pd.DataFrame) -> Section:
    trained = [part for part in parse_settings(run) if part.get("network")]
    limits = [(part.get("trainer") or {}).get("max_time") for part in trained]
    limited = [f"Time limit of the training of one fold, by its settings: {limit}." for limit in limits if limit]
    predicted = f"Time of the prediction: {NOT_MEASURED}."
    if "seconds" in cases and cases["seconds"].notna().any():
        predicted = f"Time of the prediction, median: {cases['seconds'].median():.2g} s for one image."
    return Section(
        "Time and energy", [*limited, f"Time of the training: {NOT_MEASURED}.", predicted, f"Energy: {NOT_MEASURED}."]
    )


def list_checklists(summary: Mapping[str, Any], run: Mapping[str, str]) -> Section:
    """List the reporting checklists of the report with the counts of their items."""
    filled = fill_checklists(summary, run)
    links = [
        (f"{one['standard']}: {', '.join(f'{count} {state}' for state, count in one['counts'].items())}", place)
        for one, place in zip(filled, (f"checklist-{number}" for number in range(1, len(filled) + 1)), strict=True)
    ]
    return Section("Reporting checklists", [f"{NO_PROBAST}."], links=[(text, "report.html", at) for text, at in links])
