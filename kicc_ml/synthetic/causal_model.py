"""The causal model of the synthetic cohort. Every coefficient is a setting and not a result of KICC-19.

::

    age, sex, underlying disease --> severity --> laboratory values (CRP, lymphocytes, platelets, LDH)
             |                          |                     |
             |                          +--> lesion burden    +--> fever, dyspnoea
             v                                     v          v
    oxygen --> ventilation --> ICU --> death   <-- all three, and a mild effect of the hospital

Severity is hidden and Gaussian given age, sex and disease; standardised laboratory values and the latent
burden are Gaussian given severity. So the latent burden of a patient whose clinical variables are known is
Gaussian too, and the probability "from clinical variables alone" is an integral over it (Gauss-Hermite),
not a fit.

The burden is the share of the lung with lesions at admission; the consolidated share is that of the lesion.
Endpoints depend on what can be seen (hidden severity acts through it only), so that the probability "with
everything" is what a perfect reader of images and table could reach. Probabilities take the laboratory values
as they were, measured or not.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from kicc_ml.core.types import ENDPOINTS
from kicc_ml.synthetic.exact_draws import fit_intercept

AGE_CENTRE_YEARS, AGE_SCALE_YEARS = 52.3, 18.0

# severity: unit variance is aimed at, so that loadings below read as correlations
SEVERITY_AGE, SEVERITY_MALE, SEVERITY_DISEASE, SEVERITY_SD = 0.35, 0.20, 0.30, 0.87

#: Correlation with severity of the standardised value, signed so that high is bad.
LAB_LOADING = {"crp": 0.75, "lymphocyte": 0.60, "platelet": 0.40, "ldh": 0.65}

# Latent burden z, unit variance: share = expit(A + B z) less its value at NONE_BELOW, and 0 under that: about
# 15 % of patients without lesion, median a tenth of the lung, the worst beyond 60 %.
BURDEN_LOADING = 0.45
BURDEN_A, BURDEN_B, BURDEN_NONE_BELOW = -1.85, 1.10, -1.3
MIN_LESION_SHARE = 0.01  # less is not seen on a coarse scan and counts as none
MAX_LESION_SHARE = 0.80

CONSOLIDATION_A, CONSOLIDATION_B, CONSOLIDATION_SD = (
    -1.2,
    0.5,
    0.7,
)  # logit of the consolidated share of the lesion

SITE_EFFECT_SD = 0.2  # log odds


@dataclass(frozen=True)
class EndpointModel:
    """Log odds per unit of each cause.

    Age, CRP and lymphocytes count in standard deviations (high is bad), male and disease are 0 or 1, imaging is as in
    :func:`compute_linear_terms`.
    """

    age: float
    male: float
    disease: float
    crp: float
    lymphocyte: float
    imaging: float


#: Each given the endpoints before it, see :func:`compute_probabilities`.
ENDPOINT_MODELS = {
    "oxygen": EndpointModel(age=0.45, male=0.15, disease=0.35, crp=0.50, lymphocyte=0.30, imaging=3.4),
    "ventilation": EndpointModel(age=0.30, male=0.20, disease=0.30, crp=0.25, lymphocyte=0.20, imaging=2.0),
    "icu": EndpointModel(age=0.20, male=0.15, disease=0.25, crp=0.25, lymphocyte=0.15, imaging=1.5),
    "death": EndpointModel(age=1.00, male=0.20, disease=0.50, crp=0.20, lymphocyte=0.20, imaging=1.0),
}
SUPPORT = ("none", "oxygen", "ventilated")
ICU_LOG_ODDS = (
    0.0,
    2.5,
    6.0,
)  # by support: an ICU bed without oxygen is rare, without it when ventilated rarer
DEATH_LOG_ODDS = (0.0, 1.5, 3.0)  # by support
DEATH_IN_ICU_LOG_ODDS = 1.5

_NODES_BURDEN, _NODES_CONSOLIDATION = 20, 5  # twice as many change no probability by 1e-3


@dataclass(frozen=True)
class ClinicalValues:
    """Clinical variables of n patients, arrays of shape (n,). ``labs`` are standardised so that high is bad."""

    age_years: np.ndarray
    male: np.ndarray
    disease: np.ndarray
    labs: Mapping[str, np.ndarray]
    site_effect: np.ndarray  # log odds of the patient's hospital


def compute_severity_mean(age_years: np.ndarray, male: np.ndarray, disease: np.ndarray) -> np.ndarray:
    """Compute the expected severity, shape (n,); 0 for a patient of average age, sex and health."""
    age = (age_years - AGE_CENTRE_YEARS) / AGE_SCALE_YEARS
    return SEVERITY_AGE * age + SEVERITY_MALE * (male - 0.46) + SEVERITY_DISEASE * (disease - 0.385)


def compute_unexplained_sd(loading: float) -> float:
    """Compute the residual SD of a standardised value with this correlation with severity."""
    return float(np.sqrt(1 - loading**2))


def draw_imaging(rng: np.random.Generator, severity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw burden and consolidated share at admission, both (n,), for patients of this severity."""
    latent = BURDEN_LOADING * severity
    latent = latent + compute_unexplained_sd(BURDEN_LOADING) * rng.standard_normal(severity.size)
    burden = compute_burden_share(latent)
    return burden, compute_consolidated_share(latent, rng.standard_normal(severity.size)) * (burden > 0)


def compute_burden_share(latent: np.ndarray) -> np.ndarray:
    """Compute the share of the lung with lesions, 0 to 0.8, from the latent burden."""
    share = expit(BURDEN_A + BURDEN_B * latent) - expit(BURDEN_A + BURDEN_B * BURDEN_NONE_BELOW)
    return np.where(share < MIN_LESION_SHARE, 0.0, np.minimum(share, MAX_LESION_SHARE))


def compute_consolidated_share(latent: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Compute the consolidated share of the lesion, 0 to 1, larger for a large burden. ``noise`` is standard normal."""
    return expit(CONSOLIDATION_A + CONSOLIDATION_B * latent + CONSOLIDATION_SD * noise)


def compute_linear_terms(
    clinical: ClinicalValues, burden: np.ndarray, consolidated: np.ndarray
) -> dict[str, np.ndarray]:
    """Compute the log odds of each endpoint without intercept; inputs and results are (n,) or (n, nodes).

    Imaging enters as the root of the lesion's share, consolidation counted twice: the first tenth of the lung
    that is lost matters most.
    """
    column = (slice(None),) + (None,) * (burden.ndim - 1)
    imaging = np.sqrt(burden * (1 + consolidated))
    age = (clinical.age_years - AGE_CENTRE_YEARS) / AGE_SCALE_YEARS
    terms = {}
    for endpoint, model in ENDPOINT_MODELS.items():
        without_imaging = (
            model.age * age
            + model.male * clinical.male
            + model.disease * clinical.disease
            + model.crp * clinical.labs["crp"]
            + model.lymphocyte * clinical.labs["lymphocyte"]
            + clinical.site_effect
        )
        terms[endpoint] = without_imaging[column] + model.imaging * imaging
    return terms


def fit_intercepts(terms: Mapping[str, np.ndarray], totals: Mapping[str, int]) -> dict[str, float]:
    """Fit the intercepts with which the cohort (terms of shape (n,)) expects exactly ``totals`` of each endpoint."""
    intercepts: dict[str, float] = {}
    for endpoint in ENDPOINTS:
        weight, logit = _list_pathways(endpoint, terms, intercepts)
        intercepts[endpoint] = fit_intercept(logit, totals[endpoint], weight)
    return intercepts


def compute_probabilities(terms: Mapping[str, np.ndarray], intercepts: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Compute the probability of each endpoint, summed over its pathways; shapes as the terms."""
    found = {}
    for endpoint in ENDPOINTS:
        weight, logit = _list_pathways(endpoint, terms, intercepts)
        found[endpoint] = (weight * expit(logit + intercepts[endpoint])).sum(axis=0)
    return found


def compute_clinical_probabilities(clinical: ClinicalValues, intercepts: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Compute the probability of each endpoint, (n,), from clinical variables alone, with imaging integrated out."""
    mean, sd = _compute_latent_burden(clinical)
    latent_nodes, latent_weight = np.polynomial.hermite_e.hermegauss(_NODES_BURDEN)
    noise_nodes, noise_weight = np.polynomial.hermite_e.hermegauss(_NODES_CONSOLIDATION)
    latent, noise = (grid.ravel() for grid in np.meshgrid(latent_nodes, noise_nodes, indexing="ij"))
    weight = np.outer(latent_weight, noise_weight).ravel() / (latent_weight.sum() * noise_weight.sum())
    latent = mean[:, None] + sd * latent
    terms = compute_linear_terms(clinical, compute_burden_share(latent), compute_consolidated_share(latent, noise))
    return {endpoint: chance @ weight for endpoint, chance in compute_probabilities(terms, intercepts).items()}


def compute_icu_terms(term: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Compute the log odds of an ICU stay given ``support`` (n,), an index into SUPPORT."""
    return term + np.take(ICU_LOG_ODDS, support)


def compute_death_terms(term: np.ndarray, support: np.ndarray, icu: np.ndarray) -> np.ndarray:
    """Compute the log odds of death given support and ICU stay."""
    return term + np.take(DEATH_LOG_ODDS, support) + DEATH_IN_ICU_LOG_ODDS * icu


def _compute_latent_burden(clinical: ClinicalValues) -> tuple[np.ndarray, float]:
    """Compute mean (n,) and SD of the latent burden given age, sex, disease and laboratory values."""
    precision = 1 / SEVERITY_SD**2
    weighted = compute_severity_mean(clinical.age_years, clinical.male, clinical.disease) * precision
    for lab, loading in LAB_LOADING.items():
        precision += loading**2 / (1 - loading**2)
        weighted = weighted + clinical.labs[lab] * loading / (1 - loading**2)
    sd = np.sqrt(BURDEN_LOADING**2 / precision + 1 - BURDEN_LOADING**2)
    return BURDEN_LOADING * weighted / precision, float(sd)


def _list_pathways(
    endpoint: str, terms: Mapping[str, np.ndarray], intercepts: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """List the probability of each pathway to an endpoint (ways, n...) and its log odds without intercept."""
    term = terms[endpoint]
    if endpoint == "oxygen":
        return np.ones((1, *term.shape)), term[None]
    oxygen = expit(terms["oxygen"] + intercepts["oxygen"])
    if endpoint == "ventilation":
        return oxygen[None], term[None]
    ventilated = expit(terms["ventilation"] + intercepts["ventilation"])
    support = np.stack([1 - oxygen, oxygen * (1 - ventilated), oxygen * ventilated])
    if endpoint == "icu":
        return support, np.stack([compute_icu_terms(term, np.array(way)) for way in range(len(SUPPORT))])
    ways = [(way, icu) for way in range(len(SUPPORT)) for icu in (0, 1)]
    in_icu = [expit(compute_icu_terms(terms["icu"], np.array(way)) + intercepts["icu"]) for way in range(len(SUPPORT))]
    weight = [support[way] * (in_icu[way] if icu else 1 - in_icu[way]) for way, icu in ways]
    return np.stack(weight), np.stack([compute_death_terms(term, np.array(way), np.array(icu)) for way, icu in ways])
