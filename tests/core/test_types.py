"""Records that cannot be wrong."""

import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case, index_by_id
from tests.support.folder_names import HOSTILE, PLAIN


@pytest.mark.parametrize("case_id", HOSTILE)
def test_no_case_has_an_id_that_could_lead_elsewhere(case_id: str):
    with pytest.raises(UserError, match="the case id"):
        Case(case_id, "seoul", "p")


@pytest.mark.parametrize("case_id", PLAIN)
def test_ordinary_ids_stay_as_they_are(case_id: str):
    assert Case(case_id, "seoul", "p").case_id == case_id


def test_ids_that_some_disks_take_for_one_are_refused_together():
    with pytest.raises(UserError, match="'Patient1' and 'patient1'"):
        index_by_id([Case("Patient1", "seoul", "p"), Case("patient1", "seoul", "q")])


def test_the_name_of_a_hospital_neither_steers_a_terminal_nor_turns_text_around():
    assert Case("p1", "\x1b[2Kseoul\r\u202e", "p").site == "\\x1b[2Kseoul\\r\\u202e"
    assert Case("p1", "서울 대학병원", "p").site == "서울 대학병원"
