"""What the report concludes, in words."""

import pytest

from kicc_ml.evaluation.verdict import list_sentences, list_verdicts, write_verdicts
from tests.support.judged_summary import answer, figure, summary_of


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
    found = write_verdicts(summary_of(low, high))["verdict"]["death"]
    assert found["verdict"] == verdict
    assert found["comparison"].count(".") >= 1


def test_not_shown_to_differ_says_how_much_room_the_data_leave() -> None:
    found = write_verdicts(summary_of(-0.05, 0.10))["verdict"]["death"]
    assert "may order up to 5 fewer rightly, or up to 10 more" in found["comparison"]


def test_few_events_are_said() -> None:
    assert "19 events only" in write_verdicts(summary_of(-0.05, 0.10, events=19))["verdict"]["death"]["comparison"]
    assert "only" not in write_verdicts(summary_of(-0.05, 0.10))["verdict"]["death"]["comparison"]


def test_a_comparison_stated_the_other_way_round_is_turned() -> None:
    summary = summary_of(0.01, 0.10)
    summary["comparisons"][0] |= {"model": "clinical", "against": "network"}
    assert write_verdicts(summary)["verdict"]["death"]["verdict"] == "worse"


@pytest.mark.parametrize(
    ("slope", "ratio", "says"),
    [
        ((0.8, 1.2), (0.9, 1.1), "not shown to be too few or too many"),
        ((0.3, 0.9), (0.9, 1.1), "too extreme"),
        ((1.1, 1.9), (0.9, 1.1), "too close to the mean"),
        (
            (0.3, 0.9),
            (1.2, 2.0),
            "too low on the whole (observed / expected 1.60, 1.20 to 2.00). Its risks are too extreme",
        ),
        ((0.8, 1.2), (0.4, 0.9), "too high on the whole"),
        ((-0.5, 2.0), (0.9, 1.1), "cannot be checked"),
    ],
)
def test_calibration_is_said_in_a_sentence(slope: tuple, ratio: tuple, says: str) -> None:
    scored = {"calibration_slope": figure(sum(slope) / 2, *slope), "observed_expected": figure(sum(ratio) / 2, *ratio)}
    assert says in write_verdicts(summary_of(-0.05, 0.10, **scored))["verdict"]["death"]["calibration"]


def test_an_endpoint_of_which_nobody_knows_the_outcome_has_no_verdict() -> None:
    unknown = {"value": None, "low": None, "high": None, "reason": "no case with a known outcome"}
    assert write_verdicts(summary_of(-0.05, 0.10, brier=unknown)) == {"verdict": {}}


def test_the_headline_speaks_of_hospitals_like_these_and_of_these_where_that_is_not_known() -> None:
    found = write_verdicts(summary_of(0.01, 0.10))["verdict"]["death"]
    assert found["discrimination"].startswith("At hospitals like these the network orders patients better than chance")
    assert "in about 80 of 100 such pairs" in found["discrimination"]
    assert found["comparison"].startswith("At hospitals like these the network is better than the clinical model")
    two = figure(0.8, 0.7, 0.9, hospitals_like_these=answer(None, None), new_hospital=answer(None, None))
    said = write_verdicts(summary_of(0.01, 0.10, auroc=two))["verdict"]["death"]
    assert said["discrimination"].startswith("At these hospitals the network orders patients better than chance")
    assert said["discrimination"].endswith("Nothing is said of other hospitals: two hospitals.")
    assert said["new_hospital"] == "Nor is anything said of a single new hospital."
    alike = figure(0.8, 0.7, 0.9, new_hospital=answer(None, None, "not shown to differ"))
    said = write_verdicts(summary_of(0.01, 0.10, auroc=alike))["verdict"]["death"]["new_hospital"]
    assert said.endswith("no range is given: not shown to differ. That does not mean that it is like these.")


def test_never_is_chance_said_where_every_hospitals_own_interval_excludes_it() -> None:
    wide = figure(0.8, 0.7, 0.9, hospitals_like_these=answer(0.3, 0.95))
    each = write_verdicts(summary_of(0.01, 0.1, sites=((0.55, 0.8), (0.8, 0.95)), auroc=wide))["verdict"]["death"][
        "discrimination"
    ]
    assert each.startswith("At each of these 2 hospitals the network orders patients better than chance (AUC 0.68 to")
    assert "not shown to order" not in each
    some = write_verdicts(summary_of(0.01, 0.1, sites=((0.45, 0.8), (0.8, 0.95)), auroc=wide))["verdict"]["death"][
        "discrimination"
    ]
    assert some.startswith("At these hospitals the network orders patients better than chance")
    assert "At hospitals like these it is not shown" in some


def test_chance_is_said_where_neither_question_excludes_it() -> None:
    wide = figure(0.5, 0.4, 0.6)
    said = write_verdicts(summary_of(-0.05, 0.1, auroc=wide))["verdict"]["death"]["discrimination"]
    assert "is not shown to order patients better than chance" in said


def test_what_holds_at_these_hospitals_is_said_where_others_leave_it_open() -> None:
    summary = summary_of(-0.05, 0.10)
    summary["comparisons"][0]["these_hospitals"] = answer(0.02, 0.06)
    found = write_verdicts(summary)["verdict"]["death"]
    assert found["verdict"] == "not shown to differ", "the verdict is of hospitals like these"
    assert found["comparison"].endswith("At these very hospitals the network is better (+0.04, +0.02 to +0.06).")
    summary["comparisons"][0] |= {"model": "clinical", "against": "network"}
    assert "the network is worse (-0.04, -0.06 to -0.02)" in write_verdicts(summary)["verdict"]["death"]["comparison"]


def test_calibration_speaks_of_these_hospitals_where_others_leave_everything_open() -> None:
    slope = figure(0.5, 0.4, 0.6, hospitals_like_these=answer(-0.5, 1.5))
    said = write_verdicts(summary_of(-0.05, 0.10, calibration_slope=slope))["verdict"]["death"]["calibration"]
    assert said.startswith("At these hospitals 100 events happen for every 100 that the network expects")
    assert "too extreme: high ones are too high, and low ones too low" in said
    assert said.endswith("hospitals like these: the slope may be anything from none to ideal (0.50, -0.50 to 1.50).")


def test_what_is_wrong_with_the_risks_at_these_hospitals_is_said_where_others_leave_it_open() -> None:
    slope = figure(0.9, 0.6, 1.2, these_hospitals=answer(0.5, 0.9))
    said = write_verdicts(summary_of(-0.05, 0.10, calibration_slope=slope))["verdict"]["death"]["calibration"]
    assert said.startswith("At hospitals like these")
    assert said.endswith("At these very hospitals its risks are too extreme.")
    alike = write_verdicts(summary_of(-0.05, 0.10))["verdict"]["death"]["calibration"]
    assert "very hospitals" not in alike


@pytest.mark.parametrize(("low", "high", "chance"), [(0.42, 0.97, True), (0.55, 0.9, False)])
def test_a_new_hospital_where_the_model_may_be_no_better_than_chance_is_said(low, high, chance: bool) -> None:
    auroc = figure(0.8, 0.7, 0.9, new_hospital=answer(low, high))
    said = write_verdicts(summary_of(0.01, 0.1, auroc=auroc))["verdict"]["death"]["new_hospital"]
    assert ("no better than chance" in said) == chance


def test_a_difference_of_less_than_half_a_pair_is_not_shown_as_none() -> None:
    assert "up to 0.3 fewer rightly" in write_verdicts(summary_of(-0.003, 0.10))["verdict"]["death"]["comparison"]


def test_the_network_alone_is_judged_and_nothing_is_compared() -> None:
    summary = summary_of(0.01, 0.10, events=19)
    del summary["outcome"]["death"]["clinical"]
    summary["comparisons"] = []
    found = write_verdicts(summary)["verdict"]["death"]
    assert (found["model"], found["against"], found["verdict"]) == ("network", "", "not compared")
    assert "the network orders patients better than chance" in found["discrimination"]
    assert "19 events only" in found["discrimination"]
    assert list_sentences(found) == [found["discrimination"], found["new_hospital"], found["calibration"]]


def test_every_model_from_outside_is_judged_against_the_clinical_model() -> None:
    summary = summary_of(0.01, 0.10)
    models = summary["outcome"]["death"]
    summary["outcome"]["death"] = {"ours": models["network"], "theirs": models["network"], **models}
    summary["comparisons"] = [row | {"model": "theirs"} for row in summary["comparisons"]]
    found = list_verdicts(write_verdicts(summary))["death"]
    assert [(one["model"], one["against"], one["verdict"]) for one in found] == [
        ("ours", "clinical", "cannot be judged"),
        ("theirs", "clinical", "better"),
    ]
