"""Nothing is claimed of hospitals like these that the patients of these hospitals do not support."""

import pandas as pd
import pytest
from scipy.special import expit

from kicc_ml.evaluation.comparison import compare
from kicc_ml.evaluation.summary import summarise
from kicc_ml.evaluation.supported import choose_headline_question, find_supported_side
from kicc_ml.evaluation.verdict import write_verdicts
from tests.support.judged_summary import answer, figure, summary_of

#: Of each hospital the ranks of its three events among nine non-events: 16 to 17 of 27 pairs are in the right order.
AGREEING = {"busan": (1, 6, 9), "daegu": (2, 6, 9), "daejeon": (3, 5, 9), "seoul": (1, 7, 9)}


def make_rows(model: str, ranks: dict[str, tuple[int, ...]]) -> pd.DataFrame:
    """Twelve patients of each hospital with three events."""
    rows = []
    for site, of_events in ranks.items():
        orders = [(rank + 0.5, 1.0) for rank in of_events] + [(float(rank), 0.0) for rank in range(1, 10)]
        for number, (order, label) in enumerate(orders):
            key = {"case_id": f"{site}_{number}", "site": site, "fold": site, "endpoint": "icu", "model": model}
            rows.append(key | {"probability": float(expit((order - 8) / 3)), "label": label})
    return pd.DataFrame(rows)


def test_twelve_events_of_hospitals_that_agree_by_chance_claim_nothing_of_hospitals_like_these() -> None:
    rows = pd.concat([make_rows("network", AGREEING), make_rows("clinical", AGREEING)])
    summary = summarise(pd.DataFrame(), rows)
    auroc, said = summary["outcome"]["icu"]["network"]["auroc"], summary["verdict"]["icu"]["discrimination"]
    assert auroc["hospitals_like_these"]["low"] > 0.5, "the interval alone would say better than chance"
    assert auroc["these_hospitals"]["low"] < 0.5
    assert said.startswith("At these hospitals the network is not shown to order patients better than chance")
    assert "Nothing is claimed of hospitals like these (AUC 0.6" in said
    assert "orders patients better than chance" not in said
    assert choose_headline_question(auroc) == "these_hospitals"


@pytest.mark.parametrize(
    ("these", "like", "side"),
    [
        ((0.36, 0.82), (0.55, 0.68), 0),  # narrower, and these hospitals leave it open
        ((0.55, 0.82), (0.60, 0.70), 1),  # narrower, but these hospitals show the same
        ((0.48, 0.70), (0.55, 0.90), 1),  # wider: hospitals weigh otherwise than patients
        ((0.30, 0.60), (0.40, 0.45), 0),
        ((0.20, 0.45), (0.30, 0.40), -1),
        ((0.60, 0.80), (0.45, 0.90), 0),  # the interval itself holds chance
        ((None, None), (0.60, 0.80), 0),  # nothing to compare with
        ((0.60, 0.80), (None, None), 0),
        ((0.30, 0.49), (0.51, 0.60), 0),  # the two contradict each other
    ],
)
def test_a_narrower_interval_of_hospitals_like_these_claims_only_what_these_hospitals_show(these, like, side) -> None:
    answers = {"these_hospitals": answer(*these), "hospitals_like_these": answer(*like)}
    assert find_supported_side(answers, "hospitals_like_these", 0.5, "logit") == side


def test_a_model_is_called_better_neither_in_a_sentence_nor_in_the_table_by_a_narrower_interval_alone() -> None:
    summary = summary_of(0.02, 0.06)
    summary["comparisons"][0]["these_hospitals"] = answer(-0.10, 0.16)
    found = write_verdicts(summary)["verdict"]["death"]
    assert found["verdict"] == "not shown to differ"
    assert found["comparison"].startswith("It is not shown which is better, the network or the clinical model")


def test_a_model_is_called_better_in_the_table_only_where_these_hospitals_show_it_too() -> None:
    other = {"busan": (4, 4, 5), "daegu": (4, 5, 6), "daejeon": (2, 3, 9), "seoul": (3, 4, 7)}
    table = pd.concat([make_rows("network", AGREEING), make_rows("clinical", other)])
    row = compare(table, [("network", "clinical")])[0]
    assert row["low"] > 0, "the interval alone would say better"
    assert row["these_hospitals"]["low"] < 0
    assert row["better"] == "neither"
    apart = pd.concat([make_rows("network", AGREEING), make_rows("clinical", dict.fromkeys(AGREEING, (0, 0, 1)))])
    assert compare(apart, [("network", "clinical")])[0]["better"] == "network"


def test_a_fault_of_calibration_is_claimed_of_these_hospitals_where_that_of_others_is_too_narrow() -> None:
    slope = figure(0.7, 0.6, 0.8, these_hospitals=answer(0.3, 1.2))
    said = write_verdicts(summary_of(-0.05, 0.10, calibration_slope=slope))["verdict"]["death"]["calibration"]
    assert said.startswith("At these hospitals")
    assert "is not shown (slope 0.75, 0.30 to 1.20)" in said
    assert "Nothing is said of hospitals like these: these hospitals agree more closely" in said
