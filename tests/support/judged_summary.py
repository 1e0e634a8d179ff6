"""The parts of ``summary.json`` from which a verdict is written, with intervals as a test needs them."""


def answer(low: float | None, high: float | None, reason: str = "two hospitals") -> dict:
    value = None if low is None or high is None else (low + high) / 2
    return {"value": value, "low": low, "high": high, "reason": reason if low is None else ""}


def figure(value: float | None, low: float | None, high: float | None, **more: object) -> dict:
    """The same interval answers each question, unless ``more`` says otherwise."""
    one = {"value": value, "low": low, "high": high, "reason": ""}
    answers = {name: dict(one) for name in ("these_hospitals", "hospitals_like_these", "new_hospital")}
    return {"value": value, "low": low, "high": high, "n": 500, "events": 120, **answers, **more}


def summary_of(
    low: float | None,
    high: float | None,
    events: int = 120,
    model: str = "network",
    sites: tuple[tuple[float, float], ...] = ((0.4, 0.9), (0.6, 0.9)),
    **scored: dict,
) -> dict:
    """The network against the clinical model on death, with a paired interval."""
    middle = None if low is None or high is None else (low + high) / 2
    models = {
        "auroc": figure(0.8, 0.7, 0.9),
        "brier": figure(0.1, 0.08, 0.12, events=events),
        "calibration_slope": figure(1.0, 0.8, 1.2),
        "observed_expected": figure(1.0, 0.9, 1.1),
    } | scored
    row = {"endpoint": "death", "metric": "auroc", "model": "network", "against": "clinical", "difference": middle}
    answers = {name: answer(low, high) for name in ("these_hospitals", "hospitals_like_these", "new_hospital")}
    row |= {"low": low, "high": high, "question": "hospitals_like_these", **answers}
    own = {str(place): {"auroc": figure(sum(one) / 2, *one)} for place, one in enumerate(sites)}
    return {
        "outcome": {"death": {"network": models, "clinical": models}},
        "sites": {site: {"outcome": {"death": {"network": found}}} for site, found in own.items()},
        "comparisons": [row | ({"reason": "no event"} if low is None else {})],
    }
