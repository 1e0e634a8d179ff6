"""Draw a synthetic cohort of several hospitals: all counts are exact, everything else is random.

Its counts are in :mod:`kicc_ml.synthetic.presets`, its causal model in :mod:`kicc_ml.synthetic.causal_model`,
the patients in :mod:`kicc_ml.synthetic.patients`, their images in :mod:`kicc_ml.synthetic.image_plan`.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from kicc_ml.core.types import ENDPOINTS
from kicc_ml.synthetic import causal_model
from kicc_ml.synthetic.exact_draws import draw_by_site, draw_given_total, fit_intercept, share_out
from kicc_ml.synthetic.image_plan import plan_images
from kicc_ml.synthetic.patients import draw_patients, draw_sites
from kicc_ml.synthetic.presets import Preset


@dataclass(frozen=True)
class SyntheticCohort:
    """``table`` as in clinical.csv, ``truth``, which no loader may read, and ``images``, one row per image.

    The rows of table and truth are in the same order: by site, in order of admission.
    """

    table: pd.DataFrame
    truth: pd.DataFrame
    images: pd.DataFrame


def draw_cohort(preset: Preset, seed: int) -> SyntheticCohort:
    """Draw the whole cohort; the same preset and seed give the same tables.

    ``table``: site, patient_id, age_years, sex, admission_date, underlying_disease, diabetes, hypertension,
    fever, cough, dyspnea, laboratory values, then each endpoint (0/1) and its date (ISO, empty without the
    event), and how many ``ct_scans`` and ``cxr_images`` there are. ``oxygen`` is any oxygen support, so it is 1
    for the ventilated too.
    ``truth``: site, patient_id, burden, consolidated_share (at admission), severity, and for each endpoint
    ``p_<endpoint>`` (everything known) and ``p_<endpoint>_clinical`` (imaging unknown), both before the total
    was imposed. ``images``: see :func:`kicc_ml.synthetic.image_plan.plan_images`.
    """
    rng = np.random.default_rng([seed, preset.patients, preset.sites])
    site = draw_sites(rng, preset)
    patients, clinical, severity = draw_patients(rng, preset, site)
    burden, consolidated = causal_model.draw_imaging(rng, severity)

    terms = causal_model.compute_linear_terms(clinical, burden, consolidated)
    intercepts = causal_model.fit_intercepts(terms, {name: getattr(preset, name) for name in ENDPOINTS})
    events = draw_endpoints(rng, preset, site, terms)
    table = pd.concat([patients, date_endpoints(rng, patients["admission_date"], events)], axis=1)

    truth = patients[["site", "patient_id"]].assign(burden=burden, consolidated_share=consolidated, severity=severity)
    everything = causal_model.compute_probabilities(terms, intercepts)
    clinical_only = causal_model.compute_clinical_probabilities(clinical, intercepts)
    for name in ENDPOINTS:
        truth[f"p_{name}"], truth[f"p_{name}_clinical"] = everything[name], clinical_only[name]
    images = plan_images(rng, preset, table, truth, seed)
    return SyntheticCohort(pd.concat([table, count_images(table, images)], axis=1), truth, images)


def count_images(table: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """Count the CT scans and radiographs of each row of ``table``, as a hospital would state them."""
    patients = pd.MultiIndex.from_frame(table[["site", "patient_id"]])
    counts = images.groupby(["site", "patient_id", "modality"]).size().unstack(fill_value=0)
    counts = counts.reindex(index=patients, columns=["CT", "CXR"], fill_value=0)
    return counts.set_axis(["ct_scans", "cxr_images"], axis=1).reset_index(drop=True)


def draw_endpoints(
    rng: np.random.Generator, preset: Preset, site: np.ndarray, terms: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Draw which patients had which endpoint, each (n,) bool, one endpoint after the other given its total.

    The ventilated are drawn among those on oxygen; ICU knows the support; death knows both.
    """
    sizes = np.bincount(site)
    least = np.ceil(preset.least_oxygen_share * sizes)
    oxygen = _draw_events(rng, terms["oxygen"], site, preset.oxygen, least, sizes)
    ventilation = np.zeros_like(oxygen)
    ventilation[oxygen] = draw_given_total(rng, terms["ventilation"][oxygen], preset.ventilation)
    support = oxygen.astype(int) + ventilation
    icu_logit = causal_model.compute_icu_terms(terms["icu"], support)
    least = np.full(sizes.size, preset.least_icu_each_way)
    icu = _draw_events(rng, icu_logit, site, preset.icu, least, sizes - least)
    death = draw_given_total(rng, causal_model.compute_death_terms(terms["death"], support, icu), preset.death)
    return {"oxygen": oxygen, "ventilation": ventilation, "icu": icu, "death": death}


def date_endpoints(rng: np.random.Generator, admitted: pd.Series, events: dict[str, np.ndarray]) -> pd.DataFrame:
    """Make endpoint columns 0/1 and ISO dates, which are empty without the event and after the day of admission."""
    n = len(admitted)
    oxygen = 1 + rng.poisson(2.0, n)
    ventilation = oxygen + rng.poisson(2.0, n)
    ward = np.where(events["oxygen"], oxygen, 1) + rng.poisson(1.5, n)
    icu = np.where(events["ventilation"], np.maximum(ventilation - rng.integers(0, 2, n), 1), ward)
    death = np.maximum(ventilation, icu) + 1 + rng.geometric(0.1, n)
    days = {"oxygen": oxygen, "ventilation": ventilation, "icu": icu, "death": death}
    columns: dict[str, pd.Series] = {}
    for name in ENDPOINTS:
        dates = (pd.to_datetime(admitted) + pd.to_timedelta(days[name], unit="D")).dt.strftime("%Y-%m-%d")
        columns[name] = pd.Series(events[name].astype(int))
        columns[f"{name}_date"] = dates.where(events[name])
    return pd.DataFrame(columns)


def _draw_events(
    rng: np.random.Generator,
    term: np.ndarray,
    site: np.ndarray,
    total: int,
    least: np.ndarray,
    most: np.ndarray,
) -> np.ndarray:
    """Draw who had the event, hospital by hospital only if the preset promises something about each hospital."""
    if not least.any():
        return draw_given_total(rng, term, total)
    expected = np.bincount(site, weights=expit(term + fit_intercept(term, total)))
    return draw_by_site(rng, term, site, share_out(rng, total, expected, least, most))
