"""What was shown of outcomes, in plain sentences: the network, or a model from outside, against the baseline to beat.

"Better" and "worse" only where the 95 % interval of the paired difference excludes 0; otherwise the sentence says how
large a difference the data leave room for. Slope and observed / expected say whether the risks themselves can be used.
"""

from collections.abc import Mapping
from typing import Any

from kicc_ml.evaluation.rows import outside
from kicc_ml.evaluation.text import capital

#: Who is judged, against whom: the first pair of which both predicted the endpoint. The first model from outside, if
#: there is one, is judged in the place of the network.
PAIRS = (("network", "clinical"), ("network", "age_sex"), ("clinical", "age_sex"))

#: Below this number of events intervals are wide and may cover less than they claim; the sentence says so.
FEW_EVENTS = 50

#: A 95 % interval of a difference of AUC that is wider holds nearly all there can be, and decides nothing.
TOO_WIDE = 1.0

NAMES = {"network": "network", "clinical": "clinical model", "age_sex": "model of age and sex"}


def verdicts(summary: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """``<endpoint>.{model,against,verdict,discrimination,comparison,calibration}`` of a summary.

    ``verdict`` is ``better``, ``worse``, ``not shown to differ`` or ``cannot be judged``; the last three are sentences.
    Endpoints that none of ``PAIRS`` predicted, or whose outcome nobody knows, are left out.
    """
    found = {}
    for endpoint, models in summary["outcome"].items():
        judged = [(next(iter(outside(models)), one) if one == "network" else one, other) for one, other in PAIRS]
        pair = next((pair for pair in judged if set(pair) <= set(models)), None)
        if pair and models[pair[0]]["brier"].get("n"):
            model, against = pair
            verdict, comparison = _comparison(_row(summary["comparisons"], endpoint, model, against), model, against)
            found[endpoint] = {
                **{"model": model, "against": against, "verdict": verdict},
                "discrimination": _discrimination(models[model]["auroc"], model),
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
    less = {key: None if row[key] is None else -row[key] for key in ("difference", "low", "high")}
    return {**row, "difference": less["difference"], "low": less["high"], "high": less["low"]}


def _discrimination(auroc: Mapping[str, Any], model: str) -> str:
    who = f"the {_name(model)}"
    if auroc["value"] is None:
        return f"Whether {who} tells patients apart cannot be judged: {auroc['reason']}."
    if auroc["low"] is None:
        return f"Within hospitals {who} has an AUC of {auroc['value']:.2f}, without an interval: {auroc['reason']}."
    figure = f"AUC {auroc['value']:.2f}, 95 % interval {auroc['low']:.2f} to {auroc['high']:.2f}"
    if auroc["low"] > 0.5:
        return f"Within hospitals {who} orders patients better than chance ({figure})."
    if auroc["high"] < 0.5:
        return f"Within hospitals {who} orders patients worse than chance ({figure})."
    return f"Within hospitals {who} is not shown to order patients better than chance ({figure})."


def _comparison(row: Mapping[str, Any] | None, model: str, against: str) -> tuple[str, str]:
    who, other = f"the {_name(model)}", f"the {_name(against)}"
    if row is None or row["low"] is None:
        reason = row.get("reason") if row else ""
        return "cannot be judged", (
            f"Whether {who} is better than {other} cannot be judged: {reason or 'no case that both predicted'}."
        )
    low, high = max(-1.0, row["low"]), min(1.0, row["high"])
    figure = f"difference of AUC {row['difference']:+.2f}, 95 % interval {low:+.2f} to {high:+.2f}"
    if high - low > TOO_WIDE:
        return "cannot be judged", (
            f"Whether {who} is better than {other} cannot be judged: the interval holds nearly all that is possible "
            f"({figure})."
        )
    if row["low"] > 0:
        return "better", f"{capital(who)} is better than {other} ({figure})."
    if row["high"] < 0:
        return "worse", f"{capital(who)} is worse than {other} ({figure})."
    room = (
        f"the data leave room for {who} being worse by up to {max(0, -low):.2f}, or better by up to {max(0, high):.2f}"
    )
    return "not shown to differ", f"{capital(who)} is not shown to differ from {other} ({figure}): {room}."


def _few_events(brier: Mapping[str, Any]) -> str:
    events = brier.get("events")
    if events is None or events >= FEW_EVENTS:
        return ""
    return f" There are {events} events only; intervals of so few may cover less than they claim."


def _calibration(scored: Mapping[str, Any], model: str) -> str:
    slope, ratio = scored["calibration_slope"], scored["observed_expected"]
    who = f"The risks of the {_name(model)}"
    if slope["low"] is None or ratio["low"] is None:
        reason = slope.get("reason") or ratio.get("reason")
        return f"{who} cannot be checked for calibration: {reason}."
    if slope["low"] < 0 and slope["high"] > 1:
        return (
            f"{who} cannot be checked for calibration: the slope may be anything from none to ideal ({_figure(slope)})."
        )
    faults = [*_slope_fault(slope), *_level_fault(ratio)]
    figure = f"slope {_figure(slope)}, observed / expected {_figure(ratio)}"
    if not faults:
        return f"{who} are not shown to be miscalibrated ({figure})."
    return f"{who} are {' and '.join(faults)} ({figure})."


def _slope_fault(slope: Mapping[str, Any]) -> list[str]:
    if slope["high"] < 1:
        return ["too extreme"]
    return ["too close to the mean"] if slope["low"] > 1 else []


def _level_fault(ratio: Mapping[str, Any]) -> list[str]:
    if ratio["high"] < 1:
        return ["too high on the whole"]
    return ["too low on the whole"] if ratio["low"] > 1 else []


def _figure(figure: Mapping[str, Any]) -> str:
    return f"{figure['value']:.2f}, {figure['low']:.2f} to {figure['high']:.2f}"
