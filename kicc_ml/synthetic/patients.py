"""Draw the synthetic patients: all columns of the table before the endpoints."""

import numpy as np
import pandas as pd

from kicc_ml.synthetic import causal_model
from kicc_ml.synthetic.causal_model import ClinicalValues
from kicc_ml.synthetic.exact_draws import draw_given_total, draw_integers, share_out
from kicc_ml.synthetic.laboratory import draw_labs
from kicc_ml.synthetic.presets import Preset, list_site_names

_FIRST_ADMISSION = np.datetime64("2020-02-19")  # February to May 2020
_ADMISSION_SPAN_DAYS = 102
_MIN_PATIENTS_FOR_RANGE = 20  # below it the youngest and oldest cannot both be asked for beside the mean


def draw_sites(rng: np.random.Generator, preset: Preset) -> np.ndarray:
    """Draw the sorted index of each patient's hospital, shape (patients,); hospitals in Daegu are larger."""
    names = list_site_names(preset.sites)
    weight = np.array([2.0 if name.startswith("daegu") else 1.0 for name in names])
    weight = weight * rng.lognormal(sigma=0.5, size=preset.sites)
    least = np.full(preset.sites, preset.smallest_site)
    sizes = share_out(rng, preset.patients, weight, least, np.full(preset.sites, preset.patients))
    return np.repeat(np.arange(preset.sites), sizes)


def draw_patients(
    rng: np.random.Generator, preset: Preset, site: np.ndarray
) -> tuple[pd.DataFrame, ClinicalValues, np.ndarray]:
    """Draw the table up to the endpoints, the same as standardised arrays, and the hidden severity (patients,)."""
    age = draw_ages(rng, preset)
    male = draw_given_total(rng, np.zeros(site.size), preset.men)
    age_z = (age - causal_model.AGE_CENTRE_YEARS) / causal_model.AGE_SCALE_YEARS
    disease = draw_given_total(rng, 1.1 * age_z, preset.underlying_disease)
    severity = causal_model.compute_severity_mean(age, male, disease)
    severity = severity + causal_model.SEVERITY_SD * rng.standard_normal(site.size)

    admitted = _FIRST_ADMISSION + np.floor(_ADMISSION_SPAN_DAYS * rng.beta(1.3, 3.0, site.size)).astype(int)
    admitted = admitted[np.lexsort((admitted, site))]  # nothing depends on it: sorted alone, it stays fair
    patients = pd.DataFrame({
        "site": np.array(list_site_names(preset.sites))[site],
        "patient_id": draw_patient_ids(rng, preset, site),
        "age_years": age,
        "sex": np.where(male, "M", "F"),
        "admission_date": np.datetime_as_string(admitted, unit="D"),
        "underlying_disease": disease.astype(int),
        "diabetes": (disease & (rng.random(site.size) < 0.30)).astype(int),
        "hypertension": (disease & (rng.random(site.size) < 0.50)).astype(int),
    })  # fmt: skip
    columns, standardised = draw_labs(rng, preset, site, severity)
    crp = standardised["crp"]
    patients["fever"] = draw_given_total(rng, 0.6 * crp, preset.fever).astype(int)
    patients["cough"] = draw_given_total(rng, 0.2 * crp, preset.cough).astype(int)
    patients["dyspnea"] = (rng.logistic(size=site.size) < -1.6 + 0.5 * crp + 0.4 * age_z).astype(int)
    site_effect = causal_model.SITE_EFFECT_SD * rng.standard_normal(preset.sites)[site]
    clinical = ClinicalValues(age, male.astype(float), disease.astype(float), standardised, site_effect)
    return pd.concat([patients, columns], axis=1), clinical, severity


def draw_ages(rng: np.random.Generator, preset: Preset) -> np.ndarray:
    """Draw ages in years (patients,) with the preset's mean to the printed digit, and its youngest and oldest."""
    low, high, total = preset.age_min, preset.age_max, round(preset.age_mean * preset.patients)
    # two humps: the young of the Daegu outbreak, and their elders
    young = rng.random(preset.patients) < 0.3
    age = rng.normal(np.where(young, 28.0, 62.0), np.where(young, 8.0, 14.0))
    age = np.clip(np.round(age + preset.age_mean - age.mean()), low, high).astype(int)
    if preset.patients < _MIN_PATIENTS_FOR_RANGE:
        return draw_integers(rng, age, total, low, high)
    rest = draw_integers(rng, age[2:], total - low - high, low, high)
    return rng.permutation(np.concatenate([[low, high], rest]))


def draw_patient_ids(rng: np.random.Generator, preset: Preset, site: np.ndarray) -> np.ndarray:
    """Draw hospital numbers, shape (patients,): digits with leading zeros, of the length that the hospital uses.

    Unique within a hospital; ``shared_ids`` times a hospital used a neighbour's number for somebody else.
    """
    digits = rng.integers(7, 10, preset.sites)
    ids = np.empty(site.size, dtype=object)
    for index in range(preset.sites):
        members = np.flatnonzero(site == index)
        numbers = rng.choice(10**6, size=members.size, replace=False)
        ids[members] = [f"{number:0{digits[index]}d}" for number in numbers]
    for index in range(preset.shared_ids):
        mine, theirs = np.flatnonzero(site == index + 1), np.flatnonzero(site == index)
        free = sorted(set(ids[theirs]) - set(ids[mine]))
        ids[rng.choice(mine)] = rng.choice(free)
    return ids
