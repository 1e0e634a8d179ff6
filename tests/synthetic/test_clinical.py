"""The tables of a synthetic cohort: exact counts, random otherwise; a task neither trivial nor hopeless."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from kicc_ml.core.types import ENDPOINTS
from kicc_ml.synthetic.clinical import SyntheticCohort, draw_cohort
from kicc_ml.synthetic.laboratory import (
    ELEVATED_CRP_FROM_MG_L,
    LYMPHOCYTOPENIA_BELOW_1E9_L,
    THROMBOCYTOPENIA_BELOW_1E9_L,
)
from kicc_ml.synthetic.presets import DEMO, KICC19, scale_preset

SEEDS = (1, 2, 3, 17, 404, 2026)


@pytest.fixture(scope="module", params=SEEDS, ids=lambda seed: f"seed{seed}")
def kicc19(request: pytest.FixtureRequest) -> SyntheticCohort:
    return draw_cohort(KICC19, request.param)


@pytest.fixture(scope="module")
def population() -> SyntheticCohort:
    """So many patients that sampling error is a fraction of the bands."""
    return draw_cohort(scale_preset(KICC19, 20_000), seed=7)


def test_demography_is_as_published(kicc19: SyntheticCohort):
    table = kicc19.table
    assert len(table) == 522
    assert table["sex"].value_counts().to_dict() == {"M": 239, "F": 283}
    assert f"{table['age_years'].mean():.1f}" == "52.3"
    assert (table["age_years"].min(), table["age_years"].max()) == (11, 97)


def test_seventeen_hospitals_are_of_unequal_size(kicc19: SyntheticCohort):
    sizes = kicc19.table.groupby("site").size()
    assert len(sizes) == 17
    assert sizes.max() > 2 * sizes.min()


def test_clinical_findings_are_as_published(kicc19: SyntheticCohort):
    table = kicc19.table
    assert table[["underlying_disease", "fever", "cough"]].sum().tolist() == [201, 292, 245]
    assert (table["lymphocyte_1e9_l"] < LYMPHOCYTOPENIA_BELOW_1E9_L).sum() == 151
    assert (table["platelet_1e9_l"] < THROMBOCYTOPENIA_BELOW_1E9_L).sum() == 86
    assert (table["crp_mg_l"] >= ELEVATED_CRP_FROM_MG_L).sum() == 227


def test_laboratory_values_are_partly_missing_and_plausible(kicc19: SyntheticCohort):
    labs = kicc19.table[["lymphocyte_1e9_l", "platelet_1e9_l", "crp_mg_l", "ldh_u_l"]]
    assert 0 < labs.isna().mean().mean() < 0.15
    low, high = labs.min(), labs.max()
    assert np.all(low >= [0.1, 20, 0, 40])
    assert np.all(high <= [10, 1500, 1500, 1500])


def test_endpoints_are_as_published_and_nested(kicc19: SyntheticCohort):
    table = kicc19.table
    assert table[list(ENDPOINTS)].sum().tolist() == [121, 38, 49, 21]
    assert (table["oxygen"] | table["ventilation"]).sum() == 121
    assert table.loc[table["death"] == 1, "oxygen"].mean() > 0.6


def test_endpoint_dates_follow_admission_and_death_is_last(kicc19: SyntheticCohort):
    table = kicc19.table
    days = table[[f"{name}_date" for name in ENDPOINTS]].apply(pd.to_datetime)
    admitted = pd.to_datetime(table["admission_date"])
    assert admitted.between("2020-02-01", "2020-05-31").all()
    for name in ENDPOINTS:
        dated = days[f"{name}_date"].notna()
        assert (dated == (table[name] == 1)).all()
        assert (days.loc[dated, f"{name}_date"] > admitted[dated]).all()
        assert not (days[f"{name}_date"] > days["death_date"]).any()
    assert not (days["ventilation_date"] < days["oxygen_date"]).any()


def test_two_hospitals_use_one_number_for_two_people(kicc19: SyntheticCohort):
    table = kicc19.table
    assert not table.duplicated(["site", "patient_id"]).any()
    assert table.groupby("patient_id")["site"].nunique().max() >= 2


def test_the_same_seed_gives_the_same_cohort_and_another_does_not():
    one, again, other = draw_cohort(DEMO, 4), draw_cohort(DEMO, 4), draw_cohort(DEMO, 5)
    for name in ("table", "truth", "images"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(again, name))
        assert not getattr(one, name).equals(getattr(other, name))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_endpoints_are_drawn_never_ranked(kicc19: SyntheticCohort, endpoint: str):
    event = kicc19.table[endpoint].to_numpy() == 1
    chance = kicc19.truth[f"p_{endpoint}"].to_numpy()
    likeliest = np.argsort(-chance)[: event.sum()]
    expected_hits = chance[likeliest].sum()
    assert event[likeliest].sum() < event.sum()
    assert abs(event[likeliest].sum() - expected_hits) < 4.5 * np.sqrt((chance * (1 - chance))[likeliest].sum())


@pytest.mark.parametrize("knowledge", ["", "_clinical"])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_true_probabilities_are_calibrated(population: SyntheticCohort, endpoint: str, knowledge: str):
    chance = population.truth[f"p_{endpoint}{knowledge}"]
    tenth = pd.qcut(chance, 10, labels=False)
    observed = population.table[endpoint].groupby(tenth).sum()
    expected = chance.groupby(tenth).sum()
    variance = (chance * (1 - chance)).groupby(tenth).sum()
    assert np.all(np.abs(observed - expected) < 4.5 * np.sqrt(variance) + 1)


def test_best_attainable_auc_for_oxygen_is_neither_trivial_nor_hopeless(population: SyntheticCohort):
    oxygen, truth = population.table["oxygen"], population.truth
    everything = roc_auc_score(oxygen, truth["p_oxygen"])
    assert 0.80 <= everything <= 0.88
    assert 0.03 <= everything - roc_auc_score(oxygen, truth["p_oxygen_clinical"]) <= 0.06


def test_the_same_bands_hold_on_average_at_the_size_of_kicc19():
    cohorts = [draw_cohort(KICC19, seed) for seed in range(8)]
    everything = [roc_auc_score(one.table["oxygen"], one.truth["p_oxygen"]) for one in cohorts]
    clinical = [roc_auc_score(one.table["oxygen"], one.truth["p_oxygen_clinical"]) for one in cohorts]
    assert 0.80 <= np.mean(everything) <= 0.88
    assert 0.03 <= np.mean(everything) - np.mean(clinical) <= 0.06


def test_the_burden_on_the_first_radiograph_alone_predicts_oxygen_moderately(population: SyntheticCohort):
    radiographs = population.images.query("modality == 'CXR' and number == 1")
    joined = radiographs.merge(population.table, on=["site", "patient_id"], validate="one_to_one")
    assert 0.65 <= roc_auc_score(joined["oxygen"], joined["burden"]) <= 0.80


def test_burden_spreads_from_none_to_most_of_the_lung(population: SyntheticCohort):
    burden = population.truth["burden"]
    assert 0.10 < (burden == 0).mean() < 0.20
    assert 0.07 < burden.median() < 0.13
    assert burden.quantile(0.99) > 0.55
    assert burden.max() <= 0.8


@pytest.mark.parametrize("seed", range(20))
def test_every_demo_hospital_can_be_scored(seed: int):
    table = draw_cohort(DEMO, seed).table
    hospitals = table.groupby("site")
    assert (len(table), len(hospitals)) == (48, 4)
    assert hospitals["oxygen"].mean().min() >= 0.3
    assert hospitals["icu"].sum().min() >= 2
    assert (hospitals.size() - hospitals["icu"].sum()).min() >= 2
    assert table.groupby("patient_id")["site"].nunique().max() == 2
