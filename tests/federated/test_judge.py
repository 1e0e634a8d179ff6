import numpy as np
import pytest

from kicc_ml.evaluation.hospital_effects import compute_mean_effects
from kicc_ml.evaluation.meta_analysis import pool
from kicc_ml.evaluation.outcome import score_outcome
from kicc_ml.evaluation.rows import BinaryOutcomes
from kicc_ml.federated.judge import combine_areas, combine_means, describe_area, describe_mean

SITES = np.repeat(["north", "east", "south", "west"], [40, 60, 25, 90])


def draw_outcomes() -> BinaryOutcomes:
    draw = np.random.default_rng(3)
    label_n = (draw.random(SITES.size) < 0.4).astype(float)
    return BinaryOutcomes(label_n, 1 / (1 + np.exp(-(draw.normal(size=SITES.size) + label_n))), SITES)


def test_the_combined_auc_is_that_of_the_report_on_all_rows():
    rows = draw_outcomes()
    stated = {}
    for site in np.unique(SITES):
        own = rows.at(site == SITES)
        stated[str(site)] = describe_area(own.probability_n, own.label_n)
    combined, pooled = combine_areas(stated), score_outcome(rows, ["auroc"])["auroc"]
    for question in ("these_hospitals", "hospitals_like_these", "new_hospital"):
        for name in ("value", "low", "high", "reason"):
            assert combined[question][name] == pytest.approx(pooled[question][name])
    assert (combined["question"], combined["value"]) == (pooled["question"], pytest.approx(pooled["value"]))


def test_no_figure_over_the_patients_of_all_hospitals_is_made():
    assert combine_areas({"north": describe_area(np.arange(20.0), np.repeat([0.0, 1.0], 10))})["pooled"].startswith(
        "does not exist"
    )


@pytest.mark.parametrize(("events", "stated"), [(4, False), (5, True), (36, False)])
def test_an_area_of_fewer_than_five_events_or_others_is_withheld(events: int, stated: bool):
    label_n = np.repeat([1.0, 0.0], [events, 40 - events])
    assert (describe_area(np.linspace(0, 1, 40), label_n) is not None) == stated


def test_a_withheld_hospital_is_named_and_not_counted():
    draw = draw_outcomes()
    stated = {"north": describe_area(draw.probability_n, draw.label_n), "south": None}
    combined = combine_areas(stated)
    assert combined["sites"]["south"] is None
    assert combined["these_hospitals"]["value"] == pytest.approx(stated["north"]["area"])


def test_combined_dice_is_the_meta_analysis_of_all_scans():
    dice_n = np.random.default_rng(4).beta(8, 3, SITES.size)
    combined = combine_means({str(site): describe_mean(list(dice_n[site == SITES])) for site in np.unique(SITES)})
    effects = compute_mean_effects(dice_n, SITES)
    pooled = pool(effects.effect_k, effects.variance_k)
    assert combined["hospitals_like_these"]["value"] == pytest.approx(pooled.mean)
    assert combined["hospitals_like_these"]["low"] == pytest.approx(pooled.low)
    assert combined["these_hospitals"]["value"] == pytest.approx(dice_n.mean())
