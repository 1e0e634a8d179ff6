"""Write in plain sentences what was shown of outcomes: of the network, or of each model from outside.

A sentence speaks of hospitals like these where they tell enough, else of these hospitals
(:mod:`kicc_ml.evaluation.three_answers`), and says of which. "Better" and "worse" only where the 95 % interval of the
paired difference excludes 0; otherwise the sentence says how large a difference the data leave room for. Slope and
observed / expected say whether the risks themselves can be used.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kicc_ml.evaluation.calibration_verdict import describe_calibration
from kicc_ml.evaluation.multisite import collect_site_figures
from kicc_ml.evaluation.rows import list_outside_models
from kicc_ml.evaluation.supported import TOO_NARROW, find_side, find_supported_side
from kicc_ml.evaluation.text import QUESTION_NAMES, capitalize, format_bounds, name_model

#: Keys of a verdict that hold its sentences, in the order in which they are shown.
SENTENCES = ("discrimination", "new_hospital", "comparison", "calibration")

#: Models of a run of which the first is judged, and those of which the first is compared with a judged model.
JUDGED = ("network", "clinical", "age_sex")
OPPONENTS = ("clinical", "age_sex", "network")

#: Minimum number of events for which intervals were tested by simulation; with fewer, the sentence says so.
MIN_SIMULATED_EVENTS = 20

#: Maximum width of the 95 % interval of a difference of AUC; a wider one contains nearly all possible values.
MAX_INTERVAL_WIDTH = 1.0

#: A figure of a model: its value, interval, question and the three answers.
Figure = Mapping[str, Any]


def write_verdicts(summary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Write the verdict of every judged model: each model from outside, or else the first of ``JUDGED``.

    Args:
        summary: the content of ``summary.json`` so far.

    Returns:
        ``verdict``, that of the first judged model as ``<endpoint>.{model,against,verdict,question,discrimination,
        new_hospital,comparison,calibration}``, and if there are more judged models ``other_verdicts``, a list of the
        same by endpoint. ``verdict`` is ``better``, ``worse``, ``not shown to differ``, ``cannot be judged``, or
        ``not compared`` where there is no model to compare with: ``against``, ``question`` and ``comparison`` are then
        empty. Endpoints without a judged model, or whose outcome nobody knows, are left out.
    """
    found = {}
    for endpoint, models in summary["outcome"].items():
        outside = list_outside_models(models)
        judged = outside or [name for name in JUDGED if name in models][:1]
        verdicts = [
            _write_verdict(summary, endpoint, model, _find_opponent(model, models, outside))
            for model in judged
            if models[model]["brier"].get("n")
        ]
        if verdicts:
            found[endpoint] = verdicts
    others = {endpoint: verdicts[1:] for endpoint, verdicts in found.items() if verdicts[1:]}
    first = {endpoint: verdicts[0] for endpoint, verdicts in found.items()}
    return {"verdict": first} | ({"other_verdicts": others} if others else {})


def list_verdicts(summary: Mapping[str, Any]) -> dict[str, list[dict[str, str]]]:
    """List the verdicts of all judged models by endpoint.

    Args:
        summary: the content of ``summary.json``.

    Returns:
        the verdicts, that of the first judged model first.
    """
    others = summary.get("other_verdicts", {})
    return {endpoint: [first, *others.get(endpoint, [])] for endpoint, first in summary.get("verdict", {}).items()}


def list_sentences(found: Mapping[str, str]) -> list[str]:
    """List the sentences of a verdict in the order in which they are shown, without those that are empty.

    Args:
        found: the verdict of one model.

    Returns:
        the sentences.
    """
    return [found[name] for name in SENTENCES if found[name]]


def _find_opponent(model: str, models: Mapping[str, Any], outside: Sequence[str]) -> str:
    """Find the model to compare with: one of ``OPPONENTS``, else another from outside; "" if there is none."""
    possible = [name for name in (*OPPONENTS, *outside) if name in models and name != model]
    return next(iter(possible), "")


def _write_verdict(summary: Mapping[str, Any], endpoint: str, model: str, against: str) -> dict[str, str]:
    models = summary["outcome"][endpoint]
    row = _find_comparison(summary["comparisons"], endpoint, model, against) if against else None
    verdict, comparison = _describe_comparison(row, model, against) if against else ("not compared", "")
    sites = collect_site_figures(summary, "outcome", endpoint, model, "auroc")
    discrimination = _describe_discrimination(models[model]["auroc"], list(sites.values()), model)
    few = _warn_of_few_events(models[model]["brier"])
    return {
        **{"model": model, "against": against, "verdict": verdict},
        "question": (row or {}).get("question", ""),
        "discrimination": discrimination if against else discrimination + few,
        "new_hospital": _describe_new_hospital(models[model]["auroc"]),
        "comparison": comparison + few if against else "",
        "calibration": describe_calibration(models[model], model),
    }


def format_judgement(found: Mapping[str, str]) -> str:
    """Format ``verdict`` so that it stands between the names of two models, of which there must be two."""
    words = {"better": "is better than", "worse": "is worse than", "not shown to differ": "is not shown to differ from"}
    return words.get(found["verdict"], "cannot be compared with")


def _find_comparison(
    comparisons: list[dict[str, Any]], endpoint: str, model: str, against: str
) -> Mapping[str, Any] | None:
    for row in comparisons:
        if (row["endpoint"], row["metric"]) == (endpoint, "auroc") and {row["model"], row["against"]} == {
            model,
            against,
        }:
            return row if row["model"] == model else _reverse_comparison(row)
    return None


def _reverse_comparison(row: Mapping[str, Any]) -> dict[str, Any]:
    """Reverse a comparison, so that it is seen from the other model."""
    answers = {name: _negate_figure(row[name]) for name in QUESTION_NAMES}
    return {**row, **_negate_figure(row), **answers}


def _negate_figure(figure: Figure) -> dict[str, Any]:
    less = {key: None if figure.get(key) is None else -figure[key] for key in ("difference", "value", "low", "high")}
    turned = {"difference": less["difference"], "value": less["value"], "low": less["high"], "high": less["low"]}
    return {key: value for key, value in turned.items() if key in figure} | {"reason": figure.get("reason")}


def _describe_discrimination(auroc: Figure, sites: Sequence[Figure], model: str) -> str:
    who = f"the {name_model(model)}"
    if auroc["value"] is None:
        return f"Whether {who} tells patients apart cannot be judged: {auroc['reason']}."
    these, like = auroc["these_hospitals"], auroc["hospitals_like_these"]
    if like["low"] is None:
        return f"{capitalize(_describe_against_chance(these, 'these_hospitals', who))} {_describe_missing_answer(like)}"
    if find_supported_side(auroc, "hospitals_like_these", 0.5, "logit"):
        sentence = capitalize(_describe_against_chance(like, "hospitals_like_these", who))
        return f"{sentence} At these hospitals it is {round(100 * these['value'])} ({_format_area(these)})."
    own = [site for site in sites if site["value"] is not None]
    if own and all(site["low"] is not None and site["low"] > 0.5 for site in own):
        values = sorted(site["value"] for site in own)
        return (
            f"At each of these {len(own)} hospitals {who} orders patients better than chance (AUC {values[0]:.2f} to "
            f"{values[-1]:.2f}). They are too few, or differ too much, to say how well it does on average at hospitals "
            f"like these ({_format_area(like)})."
        )
    said = capitalize(_describe_against_chance(these, "these_hospitals", who))
    if find_side(like, 0.5):
        return f"{said} Nothing is claimed of hospitals like these ({_format_area(like)}): {TOO_NARROW}."
    return (
        f"{said} At hospitals like these it is not shown ({_format_area(like)}): these differ too much, or are too few."
    )


def _describe_against_chance(figure: Figure, question: str, who: str) -> str:
    where = QUESTION_NAMES[question]
    if figure["low"] is None:
        return f"{where} {who} has an AUC of {figure['value']:.2f}, without an interval: {figure['reason']}."
    if figure["low"] > 0.5:
        return (
            f"{where} {who} orders patients better than chance. Take one patient with the event and one without it, of "
            f"the same hospital: in about {round(100 * figure['value'])} of 100 such pairs {who} gives the first the "
            f"higher risk, where chance gives 50 ({_format_area(figure)})."
        )
    if figure["high"] < 0.5:
        return f"{where} {who} orders patients worse than chance ({_format_area(figure)})."
    return f"{where} {who} is not shown to order patients better than chance ({_format_area(figure)})."


def _format_area(figure: Figure) -> str:
    if figure["low"] is None:
        return f"AUC {figure['value']:.2f}"
    return f"AUC {figure['value']:.2f}, 95 % interval {format_bounds(figure)}"


def _describe_missing_answer(like: Figure) -> str:
    return f"Nothing is said of other hospitals: {like['reason']}."


def _describe_new_hospital(auroc: Figure) -> str:
    new = auroc["new_hospital"]
    if new["low"] is None:
        if new["reason"] == auroc["hospitals_like_these"].get("reason"):
            return "Nor is anything said of a single new hospital."
        return (
            f"For a single new hospital no range is given: {new['reason']}. That does not mean that it is like these."
        )
    said = f"At a single new hospital the AUC may lie anywhere from {format_bounds(new)}"
    if new["low"] <= 0.5 <= new["high"]:
        return f"{said}: there the order may be good, or no better than chance."
    return f"{said}."


def _describe_comparison(row: Mapping[str, Any] | None, model: str, against: str) -> tuple[str, str]:
    who, other = f"the {name_model(model)}", f"the {name_model(against)}"
    if row is None or row["low"] is None:
        reason = row.get("reason") if row else ""
        return "cannot be judged", (
            f"Whether {who} is better than {other} cannot be judged: {reason or 'no case that both predicted'}."
        )
    where = QUESTION_NAMES[row["question"]]
    low, high = max(-1.0, row["low"]), min(1.0, row["high"])
    figure = (
        f"difference of AUC {row['difference']:+.2f}, 95 % interval {_format_signed(low)} to {_format_signed(high)}"
    )
    side = find_supported_side(row, row["question"], 0.0)
    if side > 0:
        return "better", f"{capitalize(where)} {who} is better than {other} ({figure})."
    if side < 0:
        return "worse", f"{capitalize(where)} {who} is worse than {other} ({figure})."
    if high - low > MAX_INTERVAL_WIDTH:
        return "cannot be judged", (
            f"Whether {who} is better than {other} {where} cannot be judged: the interval holds nearly all that is "
            f"possible ({figure}).{_describe_these_hospitals(row, who)}"
        )
    if find_side(row, 0.0):
        return "not shown to differ", (
            f"It is not shown which is better, {who} or {other}: {where} the {figure}, but {TOO_NARROW} "
            f"({_format_difference(row['these_hospitals'])})."
        )
    said = (
        f"{capitalize(where)} it is not shown which is better, {who} or {other}: of 100 pairs {who} may order up to "
        f"{_format_pairs(-low)} fewer rightly, or up to {_format_pairs(high)} more ({figure})."
    )
    return "not shown to differ", said + _describe_these_hospitals(row, who)


def _format_pairs(difference: float) -> str:
    """Format a difference of AUC as pairs of 100, with a decimal if it would otherwise be shown as 0."""
    pairs = 100 * max(0.0, difference)
    return f"{pairs:.1f}" if 0 < pairs < 0.5 else f"{pairs:.0f}"


def _describe_these_hospitals(row: Mapping[str, Any], who: str) -> str:
    """Describe the result at these hospitals, if hospitals like these do not show which model is better."""
    these = row["these_hospitals"]
    if row["question"] == "these_hospitals" or these["low"] is None or these["low"] <= 0 <= these["high"]:
        return ""
    word = "better" if these["low"] > 0 else "worse"
    return f" At these very hospitals {who} is {word} ({_format_difference(these)})."


def _format_difference(these: Figure) -> str:
    if these["low"] is None:
        return "which has no interval"
    return f"{these['value']:+.2f}, {_format_signed(these['low'])} to {_format_signed(these['high'])}"


def _format_signed(bound: float) -> str:
    """Format a bound with sign and two decimals, or three if it would otherwise be shown as 0."""
    return f"{bound:+.3f}" if 0 < abs(bound) < 0.005 else f"{bound:+.2f}"


def _warn_of_few_events(brier: Mapping[str, Any]) -> str:
    events = brier.get("events")
    if events is None or events >= MIN_SIMULATED_EVENTS:
        return ""
    least = MIN_SIMULATED_EVENTS
    return f" There are {events} events only; with fewer than {least} intervals may hold the truth less often."
