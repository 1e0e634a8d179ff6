"""Scores of a task: what settings may say, and what a score of the user's own may do."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.core.parts import NotTrusted, refuse_untrusted
from kicc_ml.core.task_scores import SEVERITY_ALONE, TaskScores, parse_task_scores
from kicc_ml.core.types import Volume

VOLUME = Volume(np.arange(24.0).reshape(2, 3, 4), np.eye(4), "hu")
MASKS = {"lesion": VOLUME.array >= 20}


def highest(masks: Mapping[str, np.ndarray], volume: Volume, region: str = "lesion") -> Any:
    """The highest value in a region."""
    return volume.array[masks[region]].max()


def answer(masks: Mapping[str, np.ndarray], volume: Volume, value: Any = None) -> Any:
    """What it is told."""
    return value


def own(function: str = "highest", **values: Any) -> TaskScores:
    return parse_task_scores({"scores": {"mine": {"_target_": f"{__name__}.{function}", **values}}})


def test_a_task_that_states_nothing_has_the_severity_alone():
    assert parse_task_scores(None) == parse_task_scores({"regions": {}}) == SEVERITY_ALONE
    assert parse_task_scores({"scores": {"mine": None}}) == SEVERITY_ALONE
    assert SEVERITY_ALONE.compute(MASKS, VOLUME) == ({}, ())


def test_a_score_is_given_masks_volume_and_its_parameters():
    assert own().compute(MASKS, VOLUME) == ({"mine": 23.0}, ())
    assert own("answer", value=2).compute(MASKS, VOLUME) == ({"mine": 2.0}, ())
    assert own("answer").compute(MASKS, VOLUME) == ({"mine": None}, ())


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (own(region="nodule"), "score_mine: KeyError: 'nodule'"),
        (own("answer", value="two\nlines"), "score_mine: ValueError: could not convert string to float"),
        (own("answer", value=float("nan")), "score_mine: ValueError: it is nan, which is no number"),
    ],
    ids=["it fails", "it gives a text", "it gives no number"],
)
def test_a_score_that_fails_is_unknown_with_its_reason(score: TaskScores, reason: str):
    values, reasons = score.compute(MASKS, VOLUME)
    assert values == {"mine": None}
    assert len(reasons) == 1
    assert reasons[0].startswith(reason)
    assert "\n" not in reasons[0]


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"severity": "no"}, "task.severity=no is neither true nor false"),
        ({"scores": ["a"]}, "holds no scores by name"),
        (
            {"scores": {"mine": {"region": "lesion"}}},
            r"task.scores.mine names no function; .*\+task.scores.mine._target_",
        ),
        ({"scores": {"mine": "a"}}, "task.scores.mine names no function"),
        ({"scores": {"a b": {"_target_": "a.b"}}}, "'a b' is no name of a score"),
        ({"scores": {"lesion_dice": {"_target_": "a.b"}}}, "is no name of a score"),
        ({"scores": {"x_truth": {"_target_": "a.b"}}}, "is no name of a score"),
    ],
)
def test_settings_that_state_no_scores_are_refused(task: dict[str, Any], said: str):
    with pytest.raises(UserError, match=said):
        parse_task_scores(task)


def test_a_score_that_cannot_be_called_is_refused_before_any_scan():
    own().check()
    with pytest.raises(UserError, match="lowest, which cannot be imported"):
        own("lowest").check()
    with pytest.raises(UserError, match=r"task.scores.mine: .*highest is no score\(masks, volume\): .*lobe"):
        own(lobe=1).check()


def test_a_score_in_a_received_run_is_refused_unless_its_package_is_trusted():
    with pytest.raises(NotTrusted, match=r"os\.system"):
        refuse_untrusted(parse_task_scores({"scores": {"mine": {"_target_": "os.system"}}}).parts, (), ("os",), None)
