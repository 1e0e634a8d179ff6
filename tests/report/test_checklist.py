"""The reporting checklist states known facts only."""

import yaml

from kicc_ml.evaluation.summary import summarise
from kicc_ml.report.checklist import IN_PART, NOT_KNOWN, STATED, answer_item, fill_checklists
from tests.support.result_rows import NO_ROWS, case_rows, prediction_rows

RUN = {
    "name": "run",
    "seed": "7",
    "config": yaml.safe_dump(
        {
            "cohort": {"_target_": "kicc_ml.cohort.repository.repository"},
            "split": {"_target_": "kicc_ml.cohort.splits.leave_one_site_out"},
            "data": {"canonical_ct": {"spacing_mm": [2, 2, 4], "window_hu": [-1000, 300]}},
            "network": {"_target_": "kicc_ml.models.outcome.OutcomeNetwork"},
            "image_window_days": [-1, 7],
            "guard_endpoints": ["death"],
        }
    ),
}


def test_an_item_is_stated_only_where_every_fact_is_known() -> None:
    item = {"item": 1, "topic": "Where", "known": "{cases} of {sites}", "ask": "the country"}
    assert answer_item(item, {"cases": "9 cases"})["state"] == NOT_KNOWN
    known = answer_item(item, {"cases": "9 cases", "sites": "2 hospitals"})
    assert (known["state"], known["answer"].split(". ")[0]) == (IN_PART, "9 cases of 2 hospitals")
    assert answer_item(item | {"ask": ""}, {"cases": "9", "sites": "2"})["state"] == STATED


def test_both_standards_have_all_their_items_once_and_every_answer_says_something() -> None:
    found = fill_checklists(summarise(case_rows(), prediction_rows()), RUN)
    tripod, claim = ([item["item"] for item in one["items"]] for one in found)
    assert len(set(tripod)) == len(tripod) == 52
    assert {int("".join(c for c in item if c.isdigit())) for item in tripod} == set(range(1, 28))
    assert claim == [str(number) for number in range(1, 45)]
    assert all(len(item["answer"]) > 5 and "{" not in item["answer"] for one in found for item in one["items"])


def test_what_no_run_can_know_is_never_stated() -> None:
    found = fill_checklists(summarise(case_rows(), prediction_rows()), RUN)
    state = {(one["standard"], item["item"]): item["state"] for one in found for item in one["items"]}
    for item in (("TRIPOD+AI", "17"), ("TRIPOD+AI", "18a"), ("TRIPOD+AI", "19"), ("CLAIM", "16"), ("CLAIM", "44")):
        assert state[item] == NOT_KNOWN


def test_predictions_made_elsewhere_leave_the_training_unknown_and_a_run_without_outcomes_is_no_prediction_model() -> (
    None
):
    (tripod, _) = fill_checklists(summarise(case_rows(), prediction_rows()), {"name": "theirs"})
    assert next(item for item in tripod["items"] if item["item"] == "12c")["state"] == NOT_KNOWN
    assert [one["standard"] for one in fill_checklists(summarise(case_rows(), NO_ROWS), RUN)] == ["CLAIM"]
