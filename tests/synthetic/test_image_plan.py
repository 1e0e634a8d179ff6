"""Which images a synthetic cohort has, against the published counts."""

import numpy as np
import pandas as pd
import pytest

from kicc_ml.core.types import ENDPOINTS
from kicc_ml.synthetic.clinical import SyntheticCohort, draw_cohort
from kicc_ml.synthetic.image_plan import compute_lesion_on_day
from kicc_ml.synthetic.presets import DEMO, KICC19

PATIENT = ["site", "patient_id"]


@pytest.fixture(scope="module", params=(1, 2, 3, 17, 404, 2026), ids=lambda seed: f"seed{seed}")
def kicc19(request: pytest.FixtureRequest) -> SyntheticCohort:
    return draw_cohort(KICC19, request.param)


def test_image_counts_are_as_published(kicc19: SyntheticCohort):
    images = kicc19.images
    assert images["modality"].value_counts().to_dict() == {"CXR": 1475, "CT": 658}
    shown = pd.crosstab([images["site"], images["patient_id"]], images["modality"]) > 0
    assert shown.sum().to_dict() == {"CT": 465, "CXR": 497}
    assert (shown["CT"] & shown["CXR"]).sum() == 440
    assert (shown["CT"] & ~shown["CXR"]).sum() == 25
    assert (~shown["CT"] & shown["CXR"]).sum() == 57


def test_images_are_numbered_in_order_of_time_between_admission_and_death(kicc19: SyntheticCohort):
    joined = kicc19.images.merge(kicc19.table, on=PATIENT, validate="many_to_one")
    for _, series in joined.groupby([*PATIENT, "modality"]):
        assert series["number"].tolist() == list(range(1, len(series) + 1))
        assert series["acquired"].is_monotonic_increasing
    assert (joined["acquired"] >= pd.to_datetime(joined["admission_date"])).all()
    assert not (joined["acquired"] > pd.to_datetime(joined["death_date"])).any()


def _first_before_endpoint(cohort: SyntheticCohort) -> float:
    joined = cohort.images.query("number == 1").merge(cohort.table, on=PATIENT)
    dates = joined[[f"{name}_date" for name in ENDPOINTS]].apply(pd.to_datetime).min(axis=1)
    return float((joined["acquired"] < dates)[dates.notna()].mean())


def test_most_baselines_but_not_all_precede_the_endpoint(kicc19: SyntheticCohort):
    assert 0.85 < _first_before_endpoint(kicc19) < 1


def test_every_demo_baseline_precedes_the_endpoint():
    assert all(_first_before_endpoint(draw_cohort(DEMO, seed)) == 1 for seed in range(10))


def test_bedside_radiographs_are_commoner_in_the_sick(kicc19: SyntheticCohort):
    joined = kicc19.images.query("modality == 'CXR'").merge(kicc19.table, on=PATIENT)
    at_bedside = (joined["projection"] == "AP").groupby(joined["icu"]).mean()
    assert at_bedside[1] > at_bedside[0]
    assert (kicc19.images.query("modality == 'CT'")["projection"] == "").all()


def test_seeds_tell_patients_and_images_apart(kicc19: SyntheticCohort):
    images = kicc19.images
    assert images.groupby(PATIENT)["anatomy_seed"].nunique().max() == 1
    assert images["anatomy_seed"].nunique() == 522
    assert images["seed"].nunique() == len(images)


def test_lesions_grow_then_fade_and_none_stays_none():
    burden, consolidated = compute_lesion_on_day(np.full(3, 0.2), np.full(3, 0.3), np.array([0, 5, 40]))
    assert burden[0] == pytest.approx(0.2)
    assert burden[1] > burden[0] > burden[2]
    assert consolidated[0] == pytest.approx(0.3)
    assert consolidated[2] > consolidated[0]
    none, share = compute_lesion_on_day(np.zeros(1), np.zeros(1), np.array([7]))
    assert (none[0], share[0]) == (0, 0)
