"""Collect the facts of a run as short phrases by name, for the reporting checklists.

A fact that is not known is left out and never guessed. Facts about the method are stated only if the settings are
known.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kicc_ml.core.received import parse_yaml_documents
from kicc_ml.core.shown import format_count
from kicc_ml.evaluation.text import capitalize, format_bounds, format_estimate, make_label
from kicc_ml.evaluation.verdict import list_verdicts
from kicc_ml.report.feature_names import name_feature
from kicc_ml.report.leakage_text import describe_leakage
from kicc_ml.report.preparation import describe_preparation

#: Maximum number of columns with missing values that are named; the others are counted.
MAX_MISSING_NAMED = 8

#: What is said wherever a synthetic cohort is named.
SYNTHETIC_PATIENTS = "its patients are synthetic, none is a real person"

#: Keys of the settings that describe the training, and their names in the checklist.
TRAINING_LIMITS = {"max_time": "time limit", "max_epochs": "epochs", "max_steps": "steps", "precision": "precision"}


def collect_facts(summary: Mapping[str, Any], run: Mapping[str, str]) -> dict[str, str]:
    """Collect the known facts by name.

    Args:
        summary: that of :func:`kicc_ml.evaluation.summary.summarise`.
        run: that of :func:`kicc_ml.report.report.write_report`; its ``config`` holds the settings.
    """
    facts = {
        **_describe_participants(summary),
        **_describe_results(summary),
        "leakage": describe_leakage(summary.get("leakage", {})),
        **_describe_software(run),
        **_describe_settings(parse_settings(run), [one["flow"] for one in summary.get("flow", [])]),
    }
    return {name: fact for name, fact in facts.items() if fact}


def parse_settings(run: Mapping[str, str]) -> list[dict[str, Any]]:
    """Parse the settings of each part of a run; an empty list if they are not known."""
    return parse_yaml_documents(run["config"]) if "config" in run else []


def list_concerns(summary: Mapping[str, Any], run: Mapping[str, str]) -> set[str]:
    """List what a run is about: ``outcome`` if outcomes were predicted, ``images`` unless it surely used no images."""
    settings = parse_settings(run)
    concerns = set()
    if _list_endpoints(summary):
        concerns.add("outcome")
    if not settings or any(_uses_images(part) for part in settings):
        concerns.add("images")
    return concerns


def _describe_participants(summary: Mapping[str, Any]) -> dict[str, str]:
    sites = list(summary["sites"])
    flows = [run["flow"] for run in summary.get("flow", [])]
    return {
        "cases": format_count(summary["n"], "case"),
        "sites": f"{len(sites)} {'hospital' if len(sites) == 1 else 'hospitals'}",
        "site_names": ", ".join(sites),
        "flow": "; ".join(dict.fromkeys(map(_describe_flow, flows))),
        "table_1": "yes" if "table_1" in summary else "",
        "missing": describe_missing(summary["table_1"]["missing"]) if "table_1" in summary else "",
    }


def _describe_flow(flow: Mapping[str, Any]) -> str:
    excluded = sum(flow.get("excluded", {}).values())
    return f"{flow['rows']} {flow.get('unit', 'rows of the table')}, {excluded} excluded, {flow['cases']} cases"


def describe_missing(missing: Mapping[str, int], format_one: Callable[[int], str] = str) -> str:
    """Describe how many values are missing.

    Args:
        missing: the number of cases without a value, by column.
        format_one: how a number is written.

    Returns:
        a phrase that names the columns with the most.
    """
    empty = sorted(((count, name) for name, count in missing.items() if count), reverse=True)
    if not empty:
        return "No value is missing"
    named = "; ".join(f"{name_feature(name)}: {format_one(count)}" for count, name in empty[:MAX_MISSING_NAMED])
    rest = len(empty) - MAX_MISSING_NAMED
    return f"Missing: {named}" + (f"; and {rest} more columns" if rest > 0 else "")


def _describe_results(summary: Mapping[str, Any]) -> dict[str, str]:
    endpoints, regions = _list_endpoints(summary), _list_regions(summary)
    segmented, predicted = ", ".join(map(make_label, regions)), ", ".join(map(make_label, endpoints))
    tasks, references, metrics = [], [], []
    if regions:
        tasks.append(f"Segmentation of {segmented}")
        references.append("Masks stored with the images")
        metrics.append("Dice, surface Dice, HD95, volume error, lesion-wise detection")
    if endpoints:
        tasks.append(f"Prediction of {predicted}")
        references.append("Outcomes as the table states them")
        metrics.append("AUC, average precision, Brier, calibration, net benefit")
    first = {endpoint: next(iter(summary["outcome"][endpoint].values())) for endpoint in endpoints}
    groupings = list(dict.fromkeys(make_label(row["grouping"]) for row in summary["subgroups"]))
    return {
        "task": "; ".join(tasks),
        "models": ", ".join(
            dict.fromkeys(make_label(model) for name in endpoints for model in summary["outcome"][name])
        ),
        "events": "; ".join(f"{make_label(name)}: {_format_events(figures)}" for name, figures in first.items()),
        "regions": segmented,
        "reference": "; ".join(references),
        "metrics": "; ".join(metrics),
        "performance": "; ".join([*_list_dice(summary, regions), *_list_aucs(summary, endpoints)]),
        "heterogeneity": "; ".join(_list_heterogeneity(summary)),
        "subgroups": f"Figures by {', '.join(groupings)}" if groupings else "",
        "acquisition": _describe_acquisition(summary),
        "not_evaluable": _describe_not_evaluable(len(summary["not_evaluable"])),
        "verdict": " ".join(
            found["comparison"]
            for verdicts in list_verdicts(summary).values()
            for found in verdicts
            if found["comparison"]
        ),
        "failures": _describe_failures(summary),
    }


def _describe_not_evaluable(count: int) -> str:
    if not count:
        return "Every hospital could be judged"
    return f"in {format_count(count, 'instance')} a hospital cannot be judged for something"


def _list_endpoints(summary: Mapping[str, Any]) -> list[str]:
    """List the endpoints for which any model has results."""
    return [
        name
        for name, models in summary["outcome"].items()
        if any("n" in metrics["brier"] for metrics in models.values())
    ]


def _list_regions(summary: Mapping[str, Any]) -> list[str]:
    return [region for region, figures in summary["segmentation"].items() if figures["dice"]["n"]]


def _format_events(figures: Mapping[str, Any]) -> str:
    return f"{figures['brier'].get('events', 0)} events among {figures['brier'].get('n', 0)}"


def _list_dice(summary: Mapping[str, Any], regions: Iterable[str]) -> list[str]:
    return [
        f"Dice of {make_label(region)} {format_estimate(summary['segmentation'][region]['dice'])}" for region in regions
    ]


def _list_aucs(summary: Mapping[str, Any], endpoints: Iterable[str]) -> list[str]:
    return [
        f"AUC for {make_label(endpoint)} {format_estimate(figures['auroc'])} ({make_label(model)})"
        for endpoint in endpoints
        for model, figures in list(summary["outcome"][endpoint].items())[:1]
    ]


def _list_heterogeneity(summary: Mapping[str, Any]) -> Iterable[str]:
    for endpoint, models in summary["meta_analysis"].items():
        pooled = next(iter(models.values()))["reml"]
        if pooled["mean"] is None:
            yield f"{make_label(endpoint)}: {pooled['reason']}"
        else:
            new = {"low": pooled["predicted_low"], "high": pooled["predicted_high"]}
            auc = pooled["reason"] if new["low"] is None else f"AUC at a new hospital {format_bounds(new)}"
            yield f"{make_label(endpoint)}: I² {100 * pooled['i_squared']:.0f} %, {auc}"


def _describe_acquisition(summary: Mapping[str, Any]) -> str:
    groups = {row["group"] for row in summary["subgroups"] if row["grouping"] in ("vendor", "projection", "dose_class")}
    return f"As the files state: {', '.join(sorted(groups))}" if groups else ""


def _describe_failures(summary: Mapping[str, Any]) -> str:
    failures = []
    if summary.get("shown"):
        failures.append("Worst and median cases are shown as pictures")
    if "quarantined" in summary:
        failures.append(f"{len(summary['quarantined'])} cases set aside, with the reason")
    return "; ".join(failures)


def _describe_software(run: Mapping[str, str]) -> dict[str, str]:
    packages = ("torch", "monai", "pytorch-lightning", "scikit-learn")
    return {
        **{name: run.get(name, "") for name in ("kicc_ml", "seed")},
        "commit": f"commit {run['commit']}" if "commit" in run else "",
        "software": ", ".join(f"{name} {run[name]}" for name in packages if name in run),
    }


def _describe_settings(settings: list[dict[str, Any]], flows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Describe what the software does under the settings of a run."""
    if not settings:
        return {}
    each = [_describe_part(part, flows) for part in settings]
    joined = {name: "; ".join(dict.fromkeys(part[name] for part in each if part[name])) for name in each[0]}
    return joined | {"settings": "yes", "disjoint": "The person: nobody is in two subsets of a fold"}


def _describe_part(part: Mapping[str, Any], flows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    cohort, split = _name_target(part["cohort"]), _name_target(part["split"])
    own = cohort in ("repository", "synthetic")
    preset = f"{cohort} {part['cohort'].get('preset', '')}".strip()
    unseen = split in ("leave one site out", "site kfold")
    return {
        "cohort": f"{preset} ({SYNTHETIC_PATIENTS})" if cohort == "synthetic" else preset,
        "repository": "yes" if own else "",
        "split": f"{capitalize(split)}; what is fitted is fitted inside the fold",
        "external": "Each hospital is tested by models of the other hospitals, within one cohort" if unseen else "",
        "guard": _describe_guard(part) if own else "",
        "preparation": capitalize(describe_preparation(part, flows)),
        "technology": "deep learning" if part.get("network") else "regression and boosted trees",
        "model": _describe_model(part),
        "training": _describe_training(part),
    }


def _describe_guard(part: Mapping[str, Any]) -> str:
    window, endpoints = part.get("image_window_days"), part.get("guard_endpoints") or []
    days = f"Images of days {window[0]} to {window[1]} from admission" if window else "Images of any day"
    return f"{days}; none, and no dated value, after {', '.join(map(make_label, endpoints))}" if endpoints else days


def _describe_model(part: Mapping[str, Any]) -> str:
    if not part.get("network"):
        return "Baselines alone: ridge regressions and boosted trees"
    return f"{_name_target(part['network'])}, all parameters under settings"


def _describe_training(part: Mapping[str, Any]) -> str:
    if not part.get("network"):
        return "No network; regressions and boosted trees are fitted inside each fold"
    trainer = part.get("trainer") or {}
    facts = [f"{name} {trainer[key]}" for key, name in TRAINING_LIMITS.items() if trainer.get(key) not in (None, -1)]
    if rate := (part.get("model") or {}).get("learning_rate"):
        facts.insert(0, f"learning rate {rate}")
    return ", ".join(facts)


def _uses_images(part: Mapping[str, Any]) -> bool:
    data = part.get("data") or {}
    return any(data.get(name) for name in ("canonical", "canonical_ct", "canonical_cxr"))


def _name_target(part: Mapping[str, Any]) -> str:
    """Return the last part of a ``_target_`` as a label."""
    return make_label(str(part["_target_"]).rsplit(".", 1)[-1])
