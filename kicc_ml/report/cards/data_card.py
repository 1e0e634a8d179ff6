"""The data card of a run: whose data, how they were chosen, what is missing, and what nobody has written down."""

from collections.abc import Mapping, Sequence
from typing import Any

from kicc_ml.core.summary_items import SUMMARY_ITEMS
from kicc_ml.report.cards.card import (
    UNKNOWN,
    Card,
    CardTable,
    Section,
    format_small_count,
    hide_small_share,
    list_facts,
)
from kicc_ml.report.cards.card_tables import make_participant_table
from kicc_ml.report.cards.model_card import describe_flow, describe_snapshots, list_checklists
from kicc_ml.report.facts import collect_facts, describe_missing, parse_settings
from kicc_ml.report.feature_names import format_value, name_feature
from kicc_ml.report.leakage_text import describe_leakage
from kicc_ml.report.table_one import COUNTS

#: What a data card should say and a run folder does not hold.
NOT_RECORDED = ("Consent and ethics approval", "Dates of the admissions", "Who made the reference masks", "Licence")
#: Settings of a cohort that choose cases, with their words.
SELECTION = {
    "ct_window_days": "Days of the CT from admission",
    "cxr_window_days": "Days of the radiograph from admission",
    "person_conflict": "A person at two hospitals",
    "gaps": "A stack with gaps",
    "tilt": "A stack of a tilted gantry",
    "serial": "Of several images",
}


def make_data_card(
    summary: Mapping[str, Any],
    run: Mapping[str, str],
    participants: Sequence[Mapping[str, Any]],
    snapshots: Mapping[str, str],
) -> Card:
    """Make the data card of a run; arguments as of :func:`kicc_ml.report.cards.model_card.make_model_card`."""
    facts = collect_facts(summary, run)
    return Card(
        "Data card",
        run["name"],
        [
            _describe_source(facts),
            Section("Hospitals", [f"{facts['sites'].capitalize()}."], [make_participant_table(participants)]),
            describe_flow(summary),
            _describe_selection(run, facts),
            _describe_patients(summary),
            _describe_quality(summary),
            Section("Not recorded", [f"{what}: {UNKNOWN}." for what in NOT_RECORDED]),
            describe_snapshots(snapshots),
            list_checklists(summary, run),
        ],
    )


def _describe_source(facts: Mapping[str, str]) -> Section:
    wanted = (("cohort", "Cohort"), ("cases", "Cases"), ("reference", "Reference"), ("acquisition", "Acquisition"))
    private = "The run folder holds pseudonyms and digests of the cases; their key stays with the hospitals."
    links = [("Model card", "model_card.html", ""), ("Report with Table 1 by hospital", "report.html", "table-1")]
    return Section("Data", [*list_facts(facts, wanted), private], links=links)


def _describe_selection(run: Mapping[str, str], facts: Mapping[str, str]) -> Section:
    cohorts = [part.get("cohort") or {} for part in parse_settings(run)]
    stated = [
        f"{words}: {'any' if cohort[name] is None else cohort[name]}."
        for cohort in cohorts
        for name, words in SELECTION.items()
        if name in cohort
    ]
    guard = [f"{facts['guard']}."] if "guard" in facts else []
    return Section("Selection", list(dict.fromkeys(stated)) + guard or [f"Selection of the cases: {UNKNOWN}."])


def _describe_patients(summary: Mapping[str, Any]) -> Section:
    """Describe the patients as a table of all hospitals together, without the extremes, which are of one patient."""
    if "table_1" not in summary:
        return Section("Patients", [f"Table 1: {UNKNOWN}."])
    found = summary["table_1"]
    rows = [["Age in years, mean", UNKNOWN if found["age_mean"] is None else str(found["age_mean"])]]
    everybody = found["patients"]
    rows += [[SUMMARY_ITEMS[item], hide_small_share(found[item], found["known"][item], everybody)] for item in COUNTS]
    rows += [
        [name_feature(name), _format_feature(feature, everybody)]
        for name, feature in found.get("features", {}).items()
        if name not in COUNTS
    ]
    return Section("Patients", tables=[CardTable(["characteristic", "all hospitals"], rows)])


def _format_feature(feature: Mapping[str, Any], everybody: int) -> str:
    if "count" in feature:
        return hide_small_share(feature["count"], feature["known"], everybody)
    median, low, high = (format_value(feature[name]) for name in ("median", "low", "high"))
    return f"{median} (quartiles {low} to {high})"


def _describe_quality(summary: Mapping[str, Any]) -> Section:
    missing = f"Missing values: {UNKNOWN}"
    if "table_1" in summary:
        missing = describe_missing(summary["table_1"]["missing"], format_small_count)
    leakage = describe_leakage(summary.get("leakage", {}), format_small_count) or UNKNOWN
    return Section(
        "Quality",
        [f"{missing}.", f"Leakage: {leakage}."],
        links=[("Leakage in the report", "report.html", "leakage")],
    )
