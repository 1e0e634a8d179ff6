"""What was shown of outcomes, in plain sentences: the network, or a model from outside, against the baseline to beat.

A sentence speaks of hospitals like these where they tell enough, else of these hospitals
(:mod:`kicc_ml.evaluation.three_answers`), and says of which. "Better" and "worse" only where the 95 % interval of the
paired difference excludes 0; otherwise the sentence says how large a difference the data leave room for. Slope and
observed / expected say whether the risks themselves can be used.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kicc_ml.evaluation.multisite import site_figures
from kicc_ml.evaluation.rows import outside
from kicc_ml.evaluation.text import QUESTION_NAMES, capital, format_bounds, format_number

#: Who is judged, against whom: the first pair of which both predicted the endpoint. The first model from outside, if
#: there is one, is judged in the place of the network.
PAIRS = (("network", "clinical"), ("network", "age_sex"), ("clinical", "age_sex"))

#: Below this number of events no interval was tried by simulation; the sentence says so.
FEW_EVENTS = 20

#: A 95 % interval of a difference of AUC that is wider holds nearly all there can be, and decides nothing.
TOO_WIDE = 1.0

NAMES = {"network": "network", "clinical": "clinical model", "age_sex": "model of age and sex"}

#: A figure of a model: its value, interval, question and the three answers.
Figure = Mapping[str, Any]


def verdicts(summary: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """``<endpoint>.{model,against,verdict,question,discrimination,new_hospital,comparison,calibration}`` of a summary.

    ``verdict`` is ``better``, ``worse``, ``not shown to differ`` or ``cannot be judged``, ``question`` that which it
    answers; the last four are sentences. Endpoints that none of ``PAIRS`` predicted, or whose outcome nobody knows, are
    left out.
    """
    found = {}
    for endpoint, models in summary["outcome"].items():
        judged = [(next(iter(outside(models)), one) if one == "network" else one, other) for one, other in PAIRS]
        pair = next((pair for pair in judged if set(pair) <= set(models)), None)
        if pair and models[pair[0]]["brier"].get("n"):
            model, against = pair
            row = _row(summary["comparisons"], endpoint, model, against)
            verdict, comparison = _comparison(row, model, against)
            sites = site_figures(summary, "outcome", endpoint, model, "auroc")
            found[endpoint] = {
                **{"model": model, "against": against, "verdict": verdict},
                "question": (row or {}).get("question", ""),
                "discrimination": _discrimination(models[model]["auroc"], list(sites.values()), model),
                "new_hospital": _new_hospital(models[model]["auroc"]),
                "comparison": comparison + _few_events(models[model]["brier"]),
                "calibration": _calibration(models[model], model),
            }
    return found


def _name(model: str) -> str:
    return NAMES.get(model, f"model {model}")


def _row(comparisons: list[dict[str, Any]], endpoint: str, model: str, against: str) -> Mapping[str, Any] | None:
    for row in comparisons:
        if (row["endpoint"], row["metric"]) == (endpoint, "auroc") and {row["model"], row["against"]} == {
            model,
            against,
        }:
            return row if row["model"] == model else _turned(row)
    return None


def _turned(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same comparison as seen from the other model."""
    answers = {name: _negative(row[name]) for name in QUESTION_NAMES}
    return {**row, **_negative(row), **answers}


def _negative(figure: Figure) -> dict[str, Any]:
    less = {key: None if figure.get(key) is None else -figure[key] for key in ("difference", "value", "low", "high")}
    turned = {"difference": less["difference"], "value": less["value"], "low": less["high"], "high": less["low"]}
    return {key: value for key, value in turned.items() if key in figure} | {"reason": figure.get("reason")}


def _discrimination(auroc: Figure, sites: Sequence[Figure], model: str) -> str:
    who = f"the {_name(model)}"
    if auroc["value"] is None:
        return f"Whether {who} tells patients apart cannot be judged: {auroc['reason']}."
    these, like = auroc["these_hospitals"], auroc["hospitals_like_these"]
    if like["low"] is None:
        return f"{capital(_against_chance(these, 'these_hospitals', who))} {_why_no_more(like)}"
    if not like["low"] <= 0.5 <= like["high"]:
        return f"{capital(_against_chance(like, 'hospitals_like_these', who))} At these hospitals: {_area(these)}."
    own = [site for site in sites if site["value"] is not None]
    if own and all(site["low"] is not None and site["low"] > 0.5 for site in own):
        values = sorted(site["value"] for site in own)
        return (
            f"At each of these {len(own)} hospitals {who} orders patients better than chance (AUC {values[0]:.2f} to "
            f"{values[-1]:.2f}). They are too few, or differ too much, to say how well it does on average at hospitals "
            f"like these ({_area(like)})."
        )
    said = capital(_against_chance(these, "these_hospitals", who))
    return f"{said} At hospitals like these it is not shown ({_area(like)}): these differ too much, or are too few."


def _against_chance(figure: Figure, question: str, who: str) -> str:
    where = QUESTION_NAMES[question]
    if figure["low"] is None:
        return f"{where} {who} has an AUC of {figure['value']:.2f}, without an interval: {figure['reason']}."
    if figure["low"] > 0.5:
        pairs = round(100 * figure["value"])
        return (
            f"{where} {who} orders patients better than chance: of a patient with the event and one without, the first "
            f"has the higher risk in {pairs} of 100 pairs ({_area(figure)})."
        )
    if figure["high"] < 0.5:
        return f"{where} {who} orders patients worse than chance ({_area(figure)})."
    return f"{where} {who} is not shown to order patients better than chance ({_area(figure)})."


def _area(figure: Figure) -> str:
    if figure["low"] is None:
        return f"AUC {figure['value']:.2f}"
    return f"AUC {figure['value']:.2f}, 95 % interval {format_bounds(figure)}"


def _why_no_more(like: Figure) -> str:
    return f"Nothing is said of other hospitals: {like['reason']}."


def _new_hospital(auroc: Figure) -> str:
    new = auroc["new_hospital"]
    if new["low"] is None:
        return f"For a single new hospital no range is given: {new['reason']}."
    return f"At a single new hospital the AUC may lie anywhere from {format_bounds(new)}."


def _comparison(row: Mapping[str, Any] | None, model: str, against: str) -> tuple[str, str]:
    who, other = f"the {_name(model)}", f"the {_name(against)}"
    if row is None or row["low"] is None:
        reason = row.get("reason") if row else ""
        return "cannot be judged", (
            f"Whether {who} is better than {other} cannot be judged: {reason or 'no case that both predicted'}."
        )
    where = QUESTION_NAMES[row["question"]]
    low, high = max(-1.0, row["low"]), min(1.0, row["high"])
    figure = f"difference of AUC {row['difference']:+.2f}, 95 % interval {_signed(low)} to {_signed(high)}"
    if row["low"] > 0:
        return "better", f"{capital(where)} {who} is better than {other} ({figure})."
    if row["high"] < 0:
        return "worse", f"{capital(where)} {who} is worse than {other} ({figure})."
    if high - low > TOO_WIDE:
        return "cannot be judged", (
            f"Whether {who} is better than {other} {where} cannot be judged: the interval holds nearly all that is "
            f"possible ({figure}).{_at_these(row, who)}"
        )
    room = (
        f"the data leave room for {who} being worse by up to {max(0, -low):.2f}, or better by up to {max(0, high):.2f}"
    )
    said = f"{capital(where)} {who} is not shown to differ from {other} ({figure}): {room}."
    return "not shown to differ", said + _at_these(row, who)


def _at_these(row: Mapping[str, Any], who: str) -> str:
    """What holds at these hospitals, where hospitals like these leave open which of the two is better."""
    these = row["these_hospitals"]
    if row["question"] == "these_hospitals" or these["low"] is None or these["low"] <= 0 <= these["high"]:
        return ""
    word = "better" if these["low"] > 0 else "worse"
    figure = f"{these['value']:+.2f}, {_signed(these['low'])} to {_signed(these['high'])}"
    return f" At these very hospitals {who} is {word} ({figure})."


def _signed(bound: float) -> str:
    """Two digits, and three where these would not tell on which side of 0 the bound lies."""
    return f"{bound:+.3f}" if 0 < abs(bound) < 0.005 else f"{bound:+.2f}"


def _few_events(brier: Mapping[str, Any]) -> str:
    events = brier.get("events")
    if events is None or events >= FEW_EVENTS:
        return ""
    return f" There are {events} events only; with fewer than {FEW_EVENTS} intervals may hold the truth less often."


def _calibration(scored: Mapping[str, Any], model: str) -> str:
    who = f"the risks of the {_name(model)}"
    question = next(
        (question for question in ("hospitals_like_these", "these_hospitals") if _tells(scored, question)), ""
    )
    if not question:
        return f"{capital(who)} cannot be checked for calibration: {_why_unchecked(scored)}."
    slope, ratio = scored["calibration_slope"][question], scored["observed_expected"][question]
    faults = [*_slope_fault(slope), *_level_fault(ratio)]
    figure = f"slope {_figure(slope)}, observed / expected {_figure(ratio)}"
    said = " and ".join(faults) if faults else "not shown to be miscalibrated"
    return f"{capital(QUESTION_NAMES[question])} {who} are {said} ({figure})."


def _tells(scored: Mapping[str, Any], question: str) -> bool:
    """Whether both have an interval, and that of the slope leaves out no relation at all (0) or the ideal (1)."""
    if scored["calibration_slope"]["value"] is None or scored["observed_expected"]["value"] is None:
        return False
    slope, ratio = scored["calibration_slope"][question], scored["observed_expected"][question]
    return slope["low"] is not None and ratio["low"] is not None and not (slope["low"] < 0 and slope["high"] > 1)


def _why_unchecked(scored: Mapping[str, Any]) -> str:
    slope, ratio = scored["calibration_slope"], scored["observed_expected"]
    if slope["low"] is None or ratio["low"] is None:
        return str(slope.get("reason") or ratio.get("reason"))
    return f"the slope may be anything from none to ideal ({_figure(slope)})"


def _slope_fault(slope: Mapping[str, Any]) -> list[str]:
    if slope["high"] < 1:
        return ["too extreme"]
    return ["too close to the mean"] if slope["low"] > 1 else []


def _level_fault(ratio: Mapping[str, Any]) -> list[str]:
    if ratio["high"] < 1:
        return ["too high on the whole"]
    return ["too low on the whole"] if ratio["low"] > 1 else []


def _figure(figure: Mapping[str, Any]) -> str:
    """Within brackets, where an estimate can have none of its own."""
    return f"{format_number(figure['value'])}, {format_bounds(figure)}"
