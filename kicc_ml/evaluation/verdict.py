"""Write in plain sentences what was shown of outcomes: the network, or an outside model, against its baseline.

A sentence speaks of hospitals like these where they tell enough, else of these hospitals
(:mod:`kicc_ml.evaluation.three_answers`), and says of which. "Better" and "worse" only where the 95 % interval of the
paired difference excludes 0; otherwise the sentence says how large a difference the data leave room for. Slope and
observed / expected say whether the risks themselves can be used.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kicc_ml.evaluation.multisite import collect_site_figures
from kicc_ml.evaluation.rows import list_outside_models
from kicc_ml.evaluation.text import QUESTION_NAMES, capitalize, format_bounds, format_number

#: Keys of a verdict that hold its sentences, in the order in which they are shown.
SENTENCES = ("discrimination", "new_hospital", "comparison", "calibration")

#: Who is judged, against whom: the first pair of which both predicted the endpoint. The first model from outside, if
#: there is one, is judged in the place of the network.
PAIRS = (("network", "clinical"), ("network", "age_sex"), ("clinical", "age_sex"))

#: Minimum number of events for which intervals were tested by simulation; with fewer, the sentence says so.
MIN_SIMULATED_EVENTS = 20

#: Maximum width of the 95 % interval of a difference of AUC; a wider one contains nearly all possible values.
MAX_INTERVAL_WIDTH = 1.0

NAMES = {"network": "network", "clinical": "clinical model", "age_sex": "model of age and sex"}

#: A figure of a model: its value, interval, question and the three answers.
Figure = Mapping[str, Any]


def write_verdicts(summary: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Write ``<endpoint>.{model,against,verdict,question,discrimination,new_hospital,comparison,calibration}``.

    ``verdict`` is ``better``, ``worse``, ``not shown to differ`` or ``cannot be judged``, ``question`` that which it
    answers; the last four are sentences. Endpoints that none of ``PAIRS`` predicted, or whose outcome nobody knows, are
    left out.
    """
    found = {}
    for endpoint, models in summary["outcome"].items():
        judged = [
            (next(iter(list_outside_models(models)), one) if one == "network" else one, other) for one, other in PAIRS
        ]
        pair = next((pair for pair in judged if set(pair) <= set(models)), None)
        if pair and models[pair[0]]["brier"].get("n"):
            model, against = pair
            row = _find_comparison(summary["comparisons"], endpoint, model, against)
            verdict, comparison = _describe_comparison(row, model, against)
            sites = collect_site_figures(summary, "outcome", endpoint, model, "auroc")
            found[endpoint] = {
                **{"model": model, "against": against, "verdict": verdict},
                "question": (row or {}).get("question", ""),
                "discrimination": _describe_discrimination(models[model]["auroc"], list(sites.values()), model),
                "new_hospital": _describe_new_hospital(models[model]["auroc"]),
                "comparison": comparison + _warn_of_few_events(models[model]["brier"]),
                "calibration": _describe_calibration(models[model], model),
            }
    return found


def name_model(model: str) -> str:
    """Return how sentences call a model: ``clinical model``, and a model of another name ``model NAME``."""
    return NAMES.get(model, f"model {model}")


def format_judgement(found: Mapping[str, str]) -> str:
    """Format ``verdict`` so that it stands between the names of two models."""
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
    if not like["low"] <= 0.5 <= like["high"]:
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
    if row["low"] > 0:
        return "better", f"{capitalize(where)} {who} is better than {other} ({figure})."
    if row["high"] < 0:
        return "worse", f"{capitalize(where)} {who} is worse than {other} ({figure})."
    if high - low > MAX_INTERVAL_WIDTH:
        return "cannot be judged", (
            f"Whether {who} is better than {other} {where} cannot be judged: the interval holds nearly all that is "
            f"possible ({figure}).{_describe_these_hospitals(row, who)}"
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
    figure = f"{these['value']:+.2f}, {_format_signed(these['low'])} to {_format_signed(these['high'])}"
    return f" At these very hospitals {who} is {word} ({figure})."


def _format_signed(bound: float) -> str:
    """Format a bound with sign and two decimals, or three if it would otherwise be shown as 0."""
    return f"{bound:+.3f}" if 0 < abs(bound) < 0.005 else f"{bound:+.2f}"


def _warn_of_few_events(brier: Mapping[str, Any]) -> str:
    events = brier.get("events")
    if events is None or events >= MIN_SIMULATED_EVENTS:
        return ""
    least = MIN_SIMULATED_EVENTS
    return f" There are {events} events only; with fewer than {least} intervals may hold the truth less often."


def _describe_calibration(scored: Mapping[str, Any], model: str) -> str:
    who = f"the risks of the {name_model(model)}"
    question = next(
        (
            question
            for question in ("hospitals_like_these", "these_hospitals")
            if _has_useful_intervals(scored, question)
        ),
        "",
    )
    if not question:
        return f"{capitalize(who)} cannot be checked for calibration: {_find_unchecked_reason(scored)}."
    slope, ratio = scored["calibration_slope"][question], scored["observed_expected"][question]
    said = f"{capitalize(QUESTION_NAMES[question])} {_describe_level(ratio, model)} {_describe_slope(slope)}"
    if question == "these_hospitals":
        return said
    these = [scored[name]["these_hospitals"] for name in ("observed_expected", "calibration_slope")]
    further = [
        fault
        for fault, elsewhere in zip(_find_faults(*these), _find_faults(ratio, slope), strict=True)
        if fault and not elsewhere
    ]
    return f"{said} At these very hospitals its risks are {' and '.join(further)}." if further else said


def _find_faults(ratio: Figure, slope: Figure) -> tuple[str, str]:
    """Find what the intervals show to be wrong with level and slope; "" for what they do not."""
    return (
        _name_side(ratio, "too high on the whole", "too low on the whole"),
        _name_side(slope, "too extreme", "too close to the mean"),
    )


def _name_side(figure: Figure, below: str, above: str) -> str:
    if figure["low"] is None:
        return ""
    return below if figure["high"] < 1 else (above if figure["low"] > 1 else "")


def _describe_level(ratio: Figure, model: str) -> str:
    """Describe observed / expected as events per 100 that the model expects."""
    said = _name_side(ratio, "its risks are too high on the whole", "its risks are too low on the whole")
    events, low, high = (round(100 * ratio[name]) for name in ("value", "low", "high"))
    return (
        f"{events} events happen for every 100 that the {name_model(model)} expects, by the interval {low} to {high}: "
        f"{said or 'not shown to be too few or too many'} (observed / expected {_format_figure(ratio)})."
    )


def _describe_slope(slope: Figure) -> str:
    said = _name_side(
        slope,
        "Its risks are too extreme: high ones are too high, and low ones too low",
        "Its risks are too close to the mean: high ones are too low, and low ones too high",
    )
    said = said or "That its high and low risks lie too far apart, or too close together, is not shown"
    return f"{said} (slope {_format_figure(slope)})."


def _has_useful_intervals(scored: Mapping[str, Any], question: str) -> bool:
    """Whether both metrics have an interval, and that of the slope excludes 0 (no relation) or 1 (the ideal)."""
    if scored["calibration_slope"]["value"] is None or scored["observed_expected"]["value"] is None:
        return False
    slope, ratio = scored["calibration_slope"][question], scored["observed_expected"][question]
    return slope["low"] is not None and ratio["low"] is not None and not (slope["low"] < 0 and slope["high"] > 1)


def _find_unchecked_reason(scored: Mapping[str, Any]) -> str:
    slope, ratio = scored["calibration_slope"], scored["observed_expected"]
    if slope["low"] is None or ratio["low"] is None:
        return str(slope.get("reason") or ratio.get("reason"))
    return f"the slope may be anything from none to ideal ({_format_figure(slope)})"


def _format_figure(figure: Mapping[str, Any]) -> str:
    """Within brackets, where an estimate can have none of its own."""
    return f"{format_number(figure['value'])}, {format_bounds(figure)}"
