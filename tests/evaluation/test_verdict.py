import pytest

from kicc_ml.evaluation.verdict import verdicts


def figure(value: float | None, low: float | None, high: float | None, **more: object) -> dict:
    return {"value": value, "low": low, "high": high, "n": 500, "events": 120, **more}


def summary_of(
    low: float | None, high: float | None, events: int = 120, model: str = "network", **scored: dict
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
    return {
        "outcome": {"death": {"network": models, "clinical": models}},
        "comparisons": [row | {"low": low, "high": high} | ({"reason": "no event"} if low is None else {})],
    }


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.10, "better"),
        (-0.10, -0.01, "worse"),
        (-0.05, 0.10, "not shown to differ"),
        (None, None, "cannot be judged"),
        (-0.9, 1.2, "cannot be judged"),
    ],
)
def test_better_is_said_only_where_the_paired_interval_excludes_0(low, high, verdict: str) -> None:
    found = verdicts(summary_of(low, high))["death"]
    assert found["verdict"] == verdict
    assert found["comparison"].count(".") >= 1


def test_not_shown_to_differ_says_how_much_room_the_data_leave() -> None:
    found = verdicts(summary_of(-0.05, 0.10))["death"]
    assert "worse by up to 0.05, or better by up to 0.10" in found["comparison"]


def test_few_events_are_said() -> None:
    assert "21 events only" in verdicts(summary_of(-0.05, 0.10, events=21))["death"]["comparison"]
    assert "only" not in verdicts(summary_of(-0.05, 0.10))["death"]["comparison"]


def test_a_comparison_stated_the_other_way_round_is_turned() -> None:
    summary = summary_of(0.01, 0.10)
    summary["comparisons"][0] |= {"model": "clinical", "against": "network"}
    assert verdicts(summary)["death"]["verdict"] == "worse"


@pytest.mark.parametrize(
    ("slope", "ratio", "says"),
    [
        ((0.8, 1.2), (0.9, 1.1), "not shown to be miscalibrated"),
        ((0.3, 0.9), (0.9, 1.1), "too extreme"),
        ((1.1, 1.9), (0.9, 1.1), "too close to the mean"),
        ((0.3, 0.9), (1.2, 2.0), "too extreme and too low on the whole"),
        ((0.8, 1.2), (0.4, 0.9), "too high on the whole"),
        ((-0.5, 2.0), (0.9, 1.1), "cannot be checked"),
    ],
)
def test_calibration_is_said_in_a_sentence(slope: tuple, ratio: tuple, says: str) -> None:
    scored = {"calibration_slope": figure(sum(slope) / 2, *slope), "observed_expected": figure(sum(ratio) / 2, *ratio)}
    assert says in verdicts(summary_of(-0.05, 0.10, **scored))["death"]["calibration"]


def test_an_endpoint_of_which_nobody_knows_the_outcome_has_no_verdict() -> None:
    unknown = {"value": None, "low": None, "high": None, "reason": "no case with a known outcome"}
    assert verdicts(summary_of(-0.05, 0.10, brier=unknown)) == {}
