"""A severity map is converted to JSON and to a row, and read back, without loss."""

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from kicc_ml.core.types import SeverityMap
from kicc_ml.models.baselines.tabular import EXTENT
from kicc_ml.severity.image_features import FEATURES
from kicc_ml.severity.plain_values import (
    CASE_COLUMNS,
    case_to_row,
    reference_to_row,
    severity_from_json,
    severity_to_ct_features,
    severity_to_json,
    severity_to_row,
)

ZONES = [f"{side}_{third}" for side in ("right", "left") for third in ("upper", "middle", "lower")]
OF_CT = SeverityMap(
    zone_percent={zone: 10.5 * place for place, zone in enumerate(ZONES)} | {"left_lower": None},
    zone_score={zone: place for place, zone in enumerate(ZONES)} | {"left_lower": None},
    score=7,
    percent_involved=12.25,
    percent_consolidated=3.5,
    lung_ml=4321.0,
    lesion_ml=210.5,
    lesion_g=99.75,
    reasons=("left_lower: no lung", "그리고"),
    lung_percent={"right": 1.0, "left": None},
    lesion_count=3,
    largest_lesion_ml=200.0,
    uncertain_percent=0.5,
    own_scores={"darkness": 0.25, "lobes": None},
)
OF_RADIOGRAPH = SeverityMap({"right_upper": 3.0}, {}, None, 8.0, None, None, None, None, geographic_extent=5)
NOTHING = SeverityMap({}, {}, None, None, None, None, None, None)


@pytest.mark.parametrize("severity", [OF_CT, OF_RADIOGRAPH, NOTHING, OF_CT.without_sides])
def test_a_map_comes_back_from_json_as_it_was_with_its_seconds(severity: SeverityMap):
    text = json.dumps(severity_to_json(severity, {"reading": 0.25}), allow_nan=False)
    assert severity_from_json(json.loads(text)) == (severity, {"reading": 0.25})


def test_json_holds_each_field_under_its_own_name():
    kept = severity_to_json(OF_CT, {})
    assert set(kept) == {field.name for field in fields(SeverityMap)} | {"timing_s"}
    assert (kept["score"], kept["lung_ml"], kept["zone_score"]["right_middle"]) == (7, 4321.0, 1)


def test_json_of_an_earlier_version_has_no_seconds():
    kept = {name: value for name, value in severity_to_json(OF_CT, {}).items() if name != "timing_s"}
    assert severity_from_json(json.loads(json.dumps(kept))) == (OF_CT, {})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"score": "<b>7</b>"}, "score"),
        ({"score": True}, "score"),
        ({"lesion_ml": float("inf")}, "lesion_ml"),
        ({"zone_percent": [1, 2]}, "zone_percent"),
        ({"zone_score": {"right_upper": "x"}}, "zone_score"),
        ({"percent_involved": {"right": 1}}, "percent_involved"),
        ({"reasons": "text"}, "reasons"),
        ({"reasons": [1]}, "reasons"),
        ({"command": "true"}, "command"),
        ({"timing_s": {"reading": "x"}}, "timing_s"),
        ({"timing_s": 3}, "timing_s"),
    ],
)
def test_a_field_that_is_not_what_it_should_be_is_named(changes: dict[str, Any], named: str):
    with pytest.raises(ValueError, match=named):
        severity_from_json(json.loads(json.dumps(severity_to_json(OF_CT, {}) | changes)))


def test_a_missing_field_is_named():
    kept = {name: value for name, value in severity_to_json(OF_CT, {}).items() if name != "lesion_ml"}
    with pytest.raises(ValueError, match="lesion_ml"):
        severity_from_json(kept)


def test_a_row_calls_the_score_severity_score_and_everything_else_as_the_map_does():
    row = severity_to_row(OF_CT)
    assert row.pop("severity_score") == 7
    assert row == {name: getattr(OF_CT, name) for name in row}


def test_the_columns_of_a_predicted_case_are_those_of_its_row_and_each_stands_once():
    row = case_to_row(OF_CT, dict.fromkeys(FEATURES, 1.0))
    assert list(row) == [*CASE_COLUMNS, "score_darkness", "score_lobes"]
    assert len(set(CASE_COLUMNS)) == len(CASE_COLUMNS)


def test_outcome_models_are_given_what_is_known_under_the_names_they_were_trained_with():
    assert set(EXTENT) <= set(severity_to_ct_features(OF_CT))
    known = severity_to_ct_features(replace(OF_CT, score=None))
    assert "ct_severity_score" not in known
    assert known["ct_lesion_g"] == 99.75


def test_a_reference_is_compared_by_score_on_ct_and_by_geographic_extent_on_a_radiograph():
    own = {"score_darkness_truth": 0.25, "score_lobes_truth": None}
    assert reference_to_row(OF_CT, "CT") == {"severity_score_truth": 7, "percent_involved_truth": 12.25, **own}
    assert reference_to_row(OF_RADIOGRAPH, "CXR") == {"geographic_extent_truth": 5, "percent_involved_truth": 8.0}
    assert reference_to_row(NOTHING, "CXR") == {"geographic_extent_truth": None, "percent_involved_truth": None}
