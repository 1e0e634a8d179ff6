"""Draw laboratory values at admission that meet the published counts by the cut-offs of this module."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import logit
from scipy.stats import norm

from kicc_ml.synthetic.causal_model import LAB_LOADING, compute_unexplained_sd
from kicc_ml.synthetic.exact_draws import draw_given_total
from kicc_ml.synthetic.presets import Preset

#: Cut-offs of the three counted findings, in common use. KICC-19 publishes none: these are settings.
LYMPHOCYTOPENIA_BELOW_1E9_L = 1.0
THROMBOCYTOPENIA_BELOW_1E9_L = 150.0
ELEVATED_CRP_FROM_MG_L = 10.0


@dataclass(frozen=True)
class Lab:
    """A log-normal laboratory value; ``sd`` is of the log, ``finding`` the preset's count beyond ``cut_off``.

    ``sign`` is -1 where low is bad. Without a finding ``cut_off`` is the median of an average patient.
    """

    column: str
    sign: int
    sd: float
    cut_off: float
    finding: str | None
    decimals: int
    missing_share: float


LABS = {
    "crp": Lab("crp_mg_l", 1, 1.1, ELEVATED_CRP_FROM_MG_L, "elevated_crp", 1, 0.03),
    "lymphocyte": Lab("lymphocyte_1e9_l", -1, 0.45, LYMPHOCYTOPENIA_BELOW_1E9_L, "lymphocytopenia", 2, 0.02),
    "platelet": Lab("platelet_1e9_l", -1, 0.32, THROMBOCYTOPENIA_BELOW_1E9_L, "thrombocytopenia", 0, 0.02),
    "ldh": Lab("ldh_u_l", 1, 0.35, 250.0, None, 0, 0.08),
}


def draw_labs(
    rng: np.random.Generator, preset: Preset, site: np.ndarray, severity: np.ndarray
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Draw the laboratory columns with missing cells, and the complete standardised values (high is bad)."""
    columns, standardised = {}, {}
    for name, lab in LABS.items():
        expected = LAB_LOADING[name] * severity
        total = getattr(preset, lab.finding) if lab.finding else None
        missing = _draw_missing(rng, lab, preset, site, total or 0)
        standardised[name], threshold = _draw_standardised_values(
            rng, expected, compute_unexplained_sd(LAB_LOADING[name]), ~missing, total
        )
        columns[lab.column] = np.where(missing, np.nan, _convert_to_units(lab, standardised[name], threshold))
    return pd.DataFrame(columns), standardised


def _draw_missing(rng: np.random.Generator, lab: Lab, preset: Preset, site: np.ndarray, needed: int) -> np.ndarray:
    """Draw whose value is missing, (n,) bool, with a share per hospital; at least ``needed`` values are present."""
    share = np.minimum(lab.missing_share * rng.exponential(size=preset.sites), 0.5)[site]
    missing = np.zeros(site.size, dtype=bool)
    missing[rng.permutation(np.flatnonzero(rng.random(site.size) < share))[: site.size - needed]] = True
    return missing


def _draw_standardised_values(
    rng: np.random.Generator, expected: np.ndarray, sd: float, measured: np.ndarray, total: int | None
) -> tuple[np.ndarray, float]:
    """Draw values (n,) around ``expected``, and the threshold that exactly ``total`` measured values exceed.

    Who exceeds it is drawn given the total; the value then comes from the tail of his own normal distribution
    beyond it (or from the rest), so nothing but the total is imposed. Without a total the threshold is 0.
    """
    if total is None:
        return expected + sd * rng.standard_normal(expected.size), 0.0
    aim = np.clip(total, 0.5, measured.sum() - 0.5)  # none and all would put the threshold at infinity
    threshold = brentq(lambda cut: norm.sf((cut - expected[measured]) / sd).sum() - aim, -12, 12)
    chance = norm.sf((threshold - expected) / sd)
    exceeds = rng.random(expected.size) < chance
    exceeds[measured] = draw_given_total(rng, logit(chance[measured]), total)
    tail = rng.uniform(np.where(exceeds, 0.0, chance), np.where(exceeds, chance, 1.0))
    return expected + sd * norm.isf(tail), float(threshold)


def _convert_to_units(lab: Lab, standardised: np.ndarray, threshold: float) -> np.ndarray:
    """Convert values to the laboratory's unit, rounded as printed but never across the cut-off."""
    distance = lab.sign * (standardised - threshold)
    scale = 10**lab.decimals
    value = lab.cut_off * np.exp(lab.sd * distance) * scale
    return np.where(distance < 0, np.floor(value), np.round(value)) / scale
