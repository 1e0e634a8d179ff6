"""A hospital's mark in the pixels: the probe names it, and patient-level validation is too good by it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from kicc_ml.cohort.splits import leave_one_site_out, patient_kfold
from kicc_ml.core.types import Case, Split
from kicc_ml.evaluation.comparison import compute_paired_difference
from kicc_ml.evaluation.leakage import probe_site
from kicc_ml.evaluation.rows import BinaryOutcomes, make_binary_outcomes
from kicc_ml.prediction.outcome import outcome_probabilities
from tests.support.planted import CXR_SHAPE, cxr_series, data_of, noise, trained

pytestmark = pytest.mark.slow

#: Share of events at each hospital: what a network that names the hospital can tell, and nothing else.
PREVALENCE_OF = {"a": 0.05, "b": 0.15, "c": 0.3, "d": 0.5, "e": 0.7, "f": 0.85}
#: Of each hospital a pattern of its own, as the letters on its plates are.
MARK_OF = {
    "a": lambda row, column: row % 4 < 2,
    "b": lambda row, column: column % 4 < 2,
    "c": lambda row, column: (row // 2 + column // 2) % 2,
    "d": lambda row, column: (row + column) % 6 < 3,
    "e": lambda row, column: np.hypot(row - 5, column - 5) < 5,
    "f": lambda row, column: np.hypot(row - 5, column - 5) % 4 < 2,
}
MARK_PIXELS, MARK_BRIGHT = 11, 4
PATIENTS = 40
STEPS = 400


def patient(folder: Path, site: str, number: int, marked: bool) -> Case:
    """A radiograph of noise, with the mark of its hospital in a corner."""
    rng = np.random.default_rng([ord(site), number])
    image = noise(rng, CXR_SHAPE)
    if marked:
        corner = image[2 : 2 + MARK_PIXELS, 2 : 2 + MARK_PIXELS]
        corner += MARK_BRIGHT * np.fromfunction(MARK_OF[site], corner.shape).astype(float)
    name = f"{site}{number:02d}"
    event, age_years = float(rng.random() < PREVALENCE_OF[site]), rng.normal(55, 15)
    film = cxr_series(folder / name, image)
    return Case(name, site, name, cxr=film, clinical={"age_years": age_years}, endpoints={"icu": event})


def cohort(folder: Path, marked: bool) -> list[Case]:
    return [patient(folder, site, number, marked) for site in PREVALENCE_OF for number in range(PATIENTS)]


def held_out(cases: Sequence[Case], splits: Sequence[Split], folder: Path) -> BinaryOutcomes:
    """Every case once, predicted by the network of the fold that held it out."""
    tables = []
    for split in splits:
        data = data_of(list(cases), split, folder)
        test = [case for case in cases if case.case_id in split.test]
        probability_b = outcome_probabilities(trained(data, STEPS), data, test)[:, 0]
        columns = {"case_id": [case.case_id for case in test], "site": [case.site for case in test]}
        tables.append(pd.DataFrame(columns).assign(probability=probability_b, label=[c.endpoints["icu"] for c in test]))
    return make_binary_outcomes(pd.concat(tables).sort_values("case_id", ignore_index=True))


def thumbnails(cases: Sequence[Case], folder: Path) -> np.ndarray:
    """Mean grey of 8 x 8 squares, as a reviewer would probe images for their hospital."""
    data = data_of(
        list(cases), Split("f", tuple(c.case_id for c in cases), (), (), {c.case_id: c.person for c in cases}), folder
    )
    assert data.cxr is not None
    images = [data.cxr[case.case_id].image_cxyz.astype(float) for case in cases]
    return np.array([image.reshape(8, 4, 8, 4).mean(axis=(1, 3)).ravel() for image in images])


@pytest.mark.parametrize("marked", [True, False])
def test_the_probe_names_the_hospital_by_its_mark_alone(marked: bool, tmp_path: Path):
    cases = cohort(tmp_path, marked)
    probe = probe_site(thumbnails(cases, tmp_path), np.array([case.site for case in cases]))
    assert probe.flagged == marked


def test_the_mark_flatters_patient_level_validation_and_not_that_of_unseen_hospitals(tmp_path: Path):
    cases = cohort(tmp_path, marked=True)
    patient_level = held_out(cases, patient_kfold(cases, folds=3), tmp_path)
    unseen = held_out(cases, leave_one_site_out(cases), tmp_path)
    gap = compute_paired_difference(patient_level, unseen, "auroc_pooled")
    assert gap.value is not None
    assert gap.value > 0.15
    assert roc_auc_score(patient_level.label_n, patient_level.probability_n) > 0.6
    within = compute_paired_difference(
        patient_level, unseen, "auroc"
    )  # a mark tells nothing of two patients of one hospital
    assert not within.excludes_zero
