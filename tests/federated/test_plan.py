import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.federated.messages import HospitalRefuses
from kicc_ml.federated.plan import Plan, list_versions, parse_plan, refuse_other_versions
from kicc_ml.federated.settings import parse_settings


def test_a_plan_is_the_same_after_its_way_as_plain_values():
    plan = Plan("lesion_ct", rounds=7, channels=(4, 8), norm="local_batch", proximal=0.1)
    assert parse_plan(plan.as_json()) == plan


@pytest.mark.parametrize(
    "values",
    [
        {"task": "os.system"},
        {"_target_": "subprocess.Popen"},
        {"rounds": 0},
        {"rounds": 2.5},
        {"rounds": True},
        {"learning_rate": float("nan")},
        {"learning_rate": "fast"},
        {"proximal": -1.0},
        {"channels": [8] * 9},
        {"channels": [8, 10**9]},
        {"patch_size": [64, 48]},
        {"patch_size": [65, 48, 32]},
        {"spacing_mm": [0.0, 1.0, 1.0]},
        {"norm": "group"},
        "task=outcome",
    ],
)
def test_a_plan_with_anything_but_its_numbers_and_names_is_refused(values: object):
    with pytest.raises(UserError):
        parse_plan(values)


def test_settings_are_typed_as_name_and_value():
    typed = ["channels=4,8", "learning_rate=0.01", "norm=batch"]
    assert parse_settings(typed) == {"channels": [4, 8], "learning_rate": 0.01, "norm": "batch"}


@pytest.mark.parametrize("typed", ["channels", "lr=0.1"])
def test_a_setting_that_no_plan_has_is_named(typed: str):
    with pytest.raises(UserError, match=typed):
        parse_settings([typed])


def test_a_job_of_another_version_is_refused_with_both_versions():
    refuse_other_versions(list_versions())
    with pytest.raises(HospitalRefuses, match=r"kicc_ml 99\.0, this hospital has "):
        refuse_other_versions(list_versions() | {"kicc_ml": "99.0"})
    with pytest.raises(HospitalRefuses, match="nvflare"):
        refuse_other_versions({"kicc_ml": list_versions()["kicc_ml"]})


def test_a_setting_with_an_option_of_its_own_is_not_dropped_without_a_word():
    with pytest.raises(UserError, match="--set rounds=20: rounds has an option of its own; give --rounds 20"):
        parse_settings(["rounds=20"])
