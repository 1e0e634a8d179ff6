"""The digests of a run's cases: they tell what has changed, and nothing of a patient to whoever gets the run."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.core.pseudonym import make_pseudonym
from kicc_ml.core.types import Case, Series
from kicc_ml.runs.cohort_record import describe_differences, differences, read_record, record_of

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
CT = Series("seoul", "p", "s", "uid1", "CT", (Path("a"), Path("b")), 8, 8, 2, (1.0, 1.0, 5.0), "hu", "usable")
CASE = Case(
    **{"case_id": "seoul_1", "site": "seoul", "person": "p", "ct": CT, "masks": {"lesion": Path("m")}},
    **{"clinical": {"age_years": 61.0, "crp_mg_l": float("nan")}, "endpoints": {"icu": 1.0, "death": 0.0}},
)

CHANGES = {
    "person": replace(CASE, person="q"),
    "CT": replace(CASE, ct=replace(CT, files=(Path("a"),), slices=1)),
    "radiograph": replace(CASE, cxr=replace(CT, uid="x", modality="CXR")),
    "later images": replace(CASE, further=(replace(CT, uid="later"),)),
    "masks": replace(CASE, masks={}),
    "clinical values": replace(CASE, clinical={"age_years": 62.0}),
    "endpoints": replace(CASE, endpoints={"icu": 0.0, "death": 0.0}),
}


@pytest.mark.parametrize("part", CHANGES)
def test_the_part_of_a_case_that_has_changed_is_named_alone(part: str):
    assert differences(record_of([CASE], KEY), record_of([CHANGES[part]], KEY)) == {"seoul_1": part}


def test_another_place_another_date_and_an_unknown_value_more_change_nothing():
    moved = replace(CT, files=(Path("/elsewhere/a"), Path("/elsewhere/b")))
    same = replace(CASE, ct=moved, masks={"lesion": Path("/n")}, clinical={"age_years": 61, "new": float("nan")})
    assert differences(record_of([CASE], KEY), record_of([same], KEY)) == {}


def test_cases_that_are_gone_or_new_are_named():
    other = replace(CASE, case_id="seoul_2")
    found = differences(record_of([CASE], KEY), record_of([other], KEY))
    assert found == {"seoul_1": "not there any more", "seoul_2": "new"}
    assert describe_differences(found, 1) == "2 of 1 case differ: seoul_1 (not there any more), seoul_2 (new)"


def test_only_the_first_of_many_are_named_and_the_others_counted():
    said = describe_differences({f"seoul_{n}": "CT" for n in range(9)}, 40)
    assert said.startswith("9 of 40 cases differ: seoul_0 (CT), ")
    assert said.endswith("seoul_4 (CT), and 4 more")


def test_values_cannot_be_found_by_trying_all_that_are_possible():
    """Whoever gets the run knows how it is made, and has not the key."""
    kept = record_of([CASE], KEY)["seoul_1"]
    tried = {
        make_pseudonym(key, "values of a case", "seoul_1", json.dumps({"death": float(death), "icu": float(icu)}))
        for death, icu in product((0, 1), repeat=2)
        for key in (b"", OTHER_KEY)
    }
    assert kept["endpoints"] not in tried


def test_patients_with_equal_values_have_different_digests():
    kept = record_of([CASE, replace(CASE, case_id="seoul_2")], KEY)
    for part in ("clinical values", "endpoints"):
        assert kept["seoul_1"][part] != kept["seoul_2"][part]


def test_without_a_key_there_is_no_digest_of_values():
    assert not {"clinical values", "endpoints"} & set(record_of([CASE], None)["seoul_1"])
    assert differences(record_of([CASE], KEY), record_of([CHANGES["endpoints"]], None)) == {}


@pytest.mark.parametrize("content", ["{", "[1]", '{"seoul_1": 3}'])
def test_a_damaged_record_is_one_sentence(tmp_path: Path, content: str):
    (tmp_path / "cohort.json").write_text(content)
    with pytest.raises(UserError, match=r"cohort\.json.*remove it"):
        read_record(tmp_path)


def test_a_run_of_an_earlier_version_has_none(tmp_path: Path):
    assert read_record(tmp_path) is None
