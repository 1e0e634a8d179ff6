"""Figures of predicted scores against scipy, Fisher's interval, and what repeated images of a person may add."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kicc_ml.evaluation.bootstrap import resample
from kicc_ml.evaluation.score_figures import compute_score_figures, compute_weighted_pearson, make_score_table
from kicc_ml.report.score_table import HEADINGS, make_score_rows

IMAGES = 80


def predicted_scores(images: int = IMAGES, copies: int = 1) -> pd.DataFrame:
    """One score by a model that is right but for noise, and by the mean; each image ``copies`` times."""
    rng = np.random.default_rng(0)
    reference = np.repeat(rng.uniform(0, 8, images), copies)
    noise = np.repeat(rng.normal(0, 1.5, images), copies)
    rows = {
        "case_id": [f"c{number}" for number in range(images * copies)],
        "person": [f"p{number // copies}" for number in range(images * copies)],
        "site": "rome",
        "fold": "fold-1",
        "score": "geographic_extent",
        "reference": reference,
    }
    models = {"zones": reference + noise, "mean": np.full(images * copies, reference.mean())}
    return pd.concat([pd.DataFrame(rows | {"model": name, "predicted": one}) for name, one in models.items()])


def zones(predictions: pd.DataFrame) -> dict:
    return compute_score_figures(predictions)["geographic_extent"]["zones"]


def test_correlation_and_error_are_those_of_scipy_and_numpy():
    rows = predicted_scores()
    of_zones, of_mean = (rows[rows["model"] == model] for model in ("zones", "mean"))
    figures = zones(rows)
    assert figures["pearson"]["value"] == pytest.approx(stats.pearsonr(of_zones["predicted"], of_zones["reference"])[0])
    error = (of_zones["predicted"] - of_zones["reference"]).abs().mean()
    assert figures["mae"]["value"] == pytest.approx(error)
    error_of_mean = (of_mean["predicted"] - of_mean["reference"]).abs().mean()
    assert figures["mae_less_mean"]["value"] == pytest.approx(error - error_of_mean)
    assert figures["mae"]["n"] == figures["mae"]["persons"] == IMAGES


def test_with_one_image_a_person_the_interval_of_r_is_about_fishers():
    rows = predicted_scores()
    found = zones(rows)["pearson"]
    of_zones = rows[rows["model"] == "zones"]
    fisher = stats.pearsonr(of_zones["predicted"], of_zones["reference"]).confidence_interval()
    assert found["low"] == pytest.approx(fisher.low, abs=0.04)
    assert found["high"] == pytest.approx(fisher.high, abs=0.04)


def test_four_copies_of_every_image_leave_the_intervals_as_wide():
    once, often = zones(predicted_scores()), zones(predicted_scores(copies=4))
    assert often["mae"]["n"] == 4 * once["mae"]["n"]
    for figure in ("pearson", "mae", "mae_less_mean"):
        assert often[figure]["low"] == pytest.approx(once[figure]["low"])
        assert often[figure]["high"] == pytest.approx(once[figure]["high"])


def test_the_correlation_of_a_replicate_is_that_of_the_rows_it_repeats():
    rng = np.random.default_rng(0)
    one, other, person = rng.normal(size=12), rng.normal(size=12), np.arange(12) // 2
    drawn = resample(person.astype(str), replicates=5)
    for r, weight_n in zip(
        compute_weighted_pearson(one, other, drawn), drawn.weight_ru[:, drawn.unit_n].astype(int), strict=True
    ):
        assert r == pytest.approx(np.corrcoef(np.repeat(one, weight_n), np.repeat(other, weight_n))[0, 1])


def test_an_image_without_a_reference_is_not_counted():
    rows = predicted_scores()
    rows.loc[rows["case_id"] == "c3", "reference"] = np.nan
    assert zones(rows)["mae"]["n"] == IMAGES - 1


def test_the_mean_has_an_error_but_no_correlation():
    assert set(compute_score_figures(predicted_scores())["geographic_extent"]["mean"]) == {"mae"}


def test_cases_have_a_row_an_image_and_the_table_a_row_a_model():
    rows = predicted_scores()
    images = make_score_table(rows)
    assert len(images) == IMAGES
    assert {"geographic_extent", "geographic_extent_zones", "geographic_extent_mean"} < set(images.columns)
    table = make_score_rows(compute_score_figures(rows))
    assert [row[:3] for row in table] == [
        ["Geographic extent", "zones", str(IMAGES)],
        ["Geographic extent", "mean", str(IMAGES)],
    ]
    assert {len(row) for row in table} == {len(HEADINGS)}


def test_nothing_predicted_has_no_figures():
    assert compute_score_figures(pd.DataFrame()) == {}
