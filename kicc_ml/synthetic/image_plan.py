"""Plan the images of synthetic patients: which there are, when they were taken, and what they show."""

import zlib

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from kicc_ml.core.types import ENDPOINTS
from kicc_ml.synthetic.causal_model import MAX_LESION_SHARE
from kicc_ml.synthetic.exact_draws import draw_given_total, share_out
from kicc_ml.synthetic.presets import Preset

_MAX_PER_PATIENT = {"CT": 8, "CXR": 30}
_MEAN_GAP_DAYS = {"CT": 7.0, "CXR": 3.0}
_BASELINE_DAY_CHANCE = (0.7, 0.2, 0.1)  # day 0, 1, 2
_LATE_DAYS = (3, 10)  # a late baseline falls on one of these days, and may so follow an endpoint

# Lesions grow to a peak and fade (Wang Y et al., Radiology 2020: greatest 6-11 days after onset of symptoms).
_PEAK_DAY, _GROWTH_PER_DAY, _FADING_DAYS = 5.0, 0.08, 20.0
_CONSOLIDATION_PER_DAY = 0.06  # log odds of the lesion's consolidated share


def plan_images(
    rng: np.random.Generator, preset: Preset, table: pd.DataFrame, truth: pd.DataFrame, seed: int
) -> pd.DataFrame:
    """Plan one row per image, ordered by patient, CT before CXR, and time.

    Columns: site, patient_id, sex, age_years, modality (CT, CXR), number (from 1 per patient and modality),
    acquired (datetime), day (since admission), burden (share of lung, 0-1), consolidated_share (of the
    lesion), projection (AP, PA; empty for CT), anatomy_seed (of the patient) and seed (of the image).
    """
    severity = truth["severity"].to_numpy()
    habit = dict(zip(table["site"].unique(), rng.standard_normal(preset.sites), strict=True))
    site_habit = table["site"].map(habit).to_numpy()
    cxr_only = draw_given_total(rng, 0.7 * site_habit - 0.4 * severity, preset.cxr_only)
    ct_only = np.zeros_like(cxr_only)
    ct_only[~cxr_only] = draw_given_total(rng, np.zeros((~cxr_only).sum()), preset.ct_only)

    late = rng.random(len(table)) < preset.late_baseline_share
    has = {"CT": (~cxr_only, preset.ct_scans), "CXR": (~ct_only, preset.cxr_images)}
    appetite = np.exp(0.5 * severity) * (1 + 2 * table["icu"].to_numpy())  # the sicker are imaged more often
    parts = []
    for modality, (imaged, total) in has.items():
        most = max(_MAX_PER_PATIENT[modality], -(-total // max(imaged.sum(), 1)))
        count = share_out(rng, total, imaged * appetite, imaged.astype(int), most * imaged)
        parts.append(_draw_dates(rng, table, modality, count, late))
    plan = pd.concat(parts).sort_values(["patient", "modality", "acquired"], ignore_index=True)
    plan["number"] = plan.groupby(["patient", "modality"]).cumcount() + 1
    patient = plan.pop("patient").to_numpy()
    for column in ("site", "patient_id", "sex", "age_years"):
        plan[column] = table[column].to_numpy()[patient]
    burden, consolidated = (
        truth["burden"].to_numpy()[patient],
        truth["consolidated_share"].to_numpy()[patient],
    )
    plan["burden"], plan["consolidated_share"] = compute_lesion_on_day(burden, consolidated, plan["day"].to_numpy())
    plan["projection"] = _draw_projection(rng, plan, table.iloc[patient], severity[patient], site_habit[patient])
    return _add_seeds(plan, seed)


def compute_lesion_on_day(
    burden: np.ndarray, consolidated: np.ndarray, day: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute burden and consolidated share ``day`` days after admission from those at admission; 0 stays 0."""
    fading = np.exp(-np.maximum(day - _PEAK_DAY, 0) / _FADING_DAYS)
    growth = (1 + _GROWTH_PER_DAY * np.minimum(day, _PEAK_DAY)) * fading
    with np.errstate(divide="ignore"):
        later = expit(logit(consolidated) + _CONSOLIDATION_PER_DAY * np.minimum(day, 2 * _PEAK_DAY))
    return np.minimum(burden * growth, MAX_LESION_SHARE), later


def _draw_dates(
    rng: np.random.Generator, table: pd.DataFrame, modality: str, count: np.ndarray, late: np.ndarray
) -> pd.DataFrame:
    """Draw one row per image of one modality: patient (row of the table), modality, day, acquired."""
    first_event, death = _compute_days_to(table, ENDPOINTS), _compute_days_to(table, ("death",))
    baseline = rng.choice(len(_BASELINE_DAY_CHANCE), p=_BASELINE_DAY_CHANCE, size=len(table))
    baseline = np.where(late, rng.integers(*_LATE_DAYS, len(table)), np.minimum(baseline, first_event - 1))
    baseline = np.minimum(baseline, death - 1)

    patient = np.repeat(np.arange(len(table)), count)
    first = np.concatenate([[True], patient[1:] != patient[:-1]])
    gap = np.where(first, 0.0, 1 + rng.exponential(_MEAN_GAP_DAYS[modality] - 1, patient.size))
    since = pd.Series(gap).groupby(patient).cumsum().to_numpy()
    longest = np.maximum(pd.Series(since).groupby(patient).transform("max").to_numpy(), 1.0)
    squeeze = np.minimum(1.0, (death - 1 - baseline)[patient] / longest)  # no image after death
    day = np.floor(baseline[patient] + since * squeeze)
    seconds = rng.integers(8 * 3600, 20 * 3600, patient.size)
    acquired = pd.to_datetime(table["admission_date"].to_numpy()[patient])
    acquired = acquired + pd.to_timedelta(day, unit="D") + pd.to_timedelta(seconds, unit="s")
    return pd.DataFrame({"patient": patient, "modality": modality, "day": day.astype(int), "acquired": acquired})


def _compute_days_to(table: pd.DataFrame, endpoints: tuple[str, ...]) -> np.ndarray:
    """Compute the days (n,) from admission to the first of these endpoints; infinite without one."""
    dates = table[[f"{name}_date" for name in endpoints]].apply(pd.to_datetime)
    days = (dates.min(axis=1) - pd.to_datetime(table["admission_date"])).dt.days
    return days.fillna(np.inf).to_numpy(dtype=float)


def _draw_projection(
    rng: np.random.Generator, plan: pd.DataFrame, row: pd.DataFrame, severity: np.ndarray, habit: np.ndarray
) -> np.ndarray:
    """Draw AP (at the bedside) or PA for each radiograph, by severity, support and the hospital's habit."""
    support_from = _compute_days_to(row, ("oxygen", "ventilation", "icu"))
    supported = plan["day"].to_numpy() >= support_from
    bedside = rng.random(len(plan)) < expit(-1.0 + 0.7 * severity + 2.5 * supported + 0.5 * habit)
    return np.where(plan["modality"] == "CXR", np.where(bedside, "AP", "PA"), "")


def _add_seeds(plan: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Add seeds that are derived from names, so that any single image can be written again."""
    patient = [f"{seed}/{site}/{number}" for site, number in zip(plan["site"], plan["patient_id"], strict=True)]
    images = zip(patient, plan["modality"], plan["number"], strict=True)
    plan["anatomy_seed"] = [zlib.crc32(name.encode()) for name in patient]
    plan["seed"] = [zlib.crc32(f"{name}/{modality}/{number}".encode()) for name, modality, number in images]
    order = ["site", "patient_id", "sex", "age_years", "modality", "number", "acquired", "day"]
    return plan[[*order, "burden", "consolidated_share", "projection", "anatomy_seed", "seed"]]
