"""Which endpoints are learnt: all of the cohort, or those named that it has."""

import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case
from kicc_ml.data.endpoints import endpoints_of

COHORT = [Case("a", "s", endpoints={"niv_icu_or_death": 1.0, "death": 0.0}, person="a"), Case("b", "s", person="b")]


def test_without_a_choice_all_that_any_patient_has_are_learnt_the_common_ones_first():
    assert endpoints_of(COHORT, None) == ("death", "niv_icu_or_death")


def test_a_common_endpoint_that_the_cohort_lacks_is_left_out():
    assert endpoints_of(COHORT, ["severe", "icu", "death"]) == ("death",)


@pytest.mark.parametrize("named", [["deth", "death"], ["icu", "severe"]])
def test_a_name_that_is_none_and_a_choice_that_leaves_nothing_are_told_what_there_is(named: list[str]):
    with pytest.raises(UserError, match=r"has no endpoint .*; it has death, niv_icu_or_death"):
        endpoints_of(COHORT, named)
