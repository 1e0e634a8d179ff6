"""Uncertainty of the risks of an outcome run, and their calibration at hospitals that the models had not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import t

from kicc_ml.core.types import Risk
from kicc_ml.evaluation.text import format_estimate
from kicc_ml.models.baselines.recalibration import PRIOR_SD, fit_recalibration, log_odds
from kicc_ml.runs.tables import held_out_tables, read_summary_part

NETWORK, CLINICAL = "network", "clinical"
COVERAGE = 0.90
#: Calibration is estimated over hospitals; fewer hospitals show no spread.
LEAST_HOSPITALS = 3
FIGURES = {"calibration_slope": "slope", "calibration_intercept": "intercept", "observed_expected": "O:E"}


@dataclass(frozen=True)
class OutcomeRecord:
    """The held-out predictions of a run, with its figures; both are empty for a run that was not evaluated.

    Attributes:
        rows: the predictions, with columns ``site endpoint model case_id probability label``.
        figures: ``outcome`` of the run's ``summary.json``.
    """

    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    figures: Mapping[str, Any] = field(default_factory=dict)

    def without(self, site: str) -> "OutcomeRecord":
        """Leave out the predictions of one hospital; the figures stay those of all hospitals."""
        return replace(self, rows=self.rows[self.rows["site"] != site]) if len(self.rows) else self

    @property
    def shown(self) -> str:
        """The name of the model whose risk is shown: the network, or the clinical model in a run without a network."""
        return NETWORK if NETWORK in set(self.rows.get("model", ())) else CLINICAL

    def risk(self, endpoint: str, probability_m: Sequence[float], clinical_m: Sequence[float] = ()) -> Risk:
        """Compute the mean risk of the fold models with its interval, and the mean risk of the clinical models.

        Args:
            endpoint: the endpoint.
            probability_m: the probability of each fold model.
            clinical_m: the probability of each fold's clinical model, if any.
        """
        low, high = self._interval(endpoint, np.asarray(probability_m, float)) or (None, None)
        clinical = mean_risk(clinical_m) if len(clinical_m) else None
        return Risk(endpoint, mean_risk(probability_m), low, high, self._calibration(endpoint), clinical)

    def of_case(self, case_id: str) -> tuple[Risk, ...]:
        """Compute the risks of a case of the run, with intervals from the predictions of the other hospitals.

        An endpoint is left out if the case was not predicted, or if no case has a known label: no model learnt it then.
        """
        if "probability" not in self.rows:
            return ()
        learnt = self.rows.dropna(subset=["label"])["endpoint"].unique()
        own = self.rows[(self.rows["case_id"].astype(str) == case_id) & self.rows["endpoint"].isin(learnt)]
        own = own.dropna(subset=["probability"])
        others = self.without(own["site"].iloc[0]) if len(own) else self
        said: dict[str, dict[str, float]] = {}
        for row in own.to_dict("records"):
            said.setdefault(str(row["endpoint"]), {})[str(row["model"])] = float(row["probability"])
        return tuple(
            others.risk(endpoint, [by_model[self.shown]], [by_model[CLINICAL]] if CLINICAL in by_model else [])
            for endpoint, by_model in said.items()
            if self.shown in by_model
        )

    def _interval(self, endpoint: str, probability_m: np.ndarray) -> tuple[float, float] | None:
        if "probability" not in self.rows:
            return None
        rows = self.rows[(self.rows["endpoint"] == endpoint) & (self.rows["model"] == self.shown)]
        known = rows.dropna(subset=["probability", "label"])
        if known["site"].nunique() < LEAST_HOSPITALS:
            return None
        held_out = (known[name].to_numpy() for name in ("probability", "label", "site"))
        return risk_interval(probability_m, *held_out)

    def _calibration(self, endpoint: str) -> dict[str, str]:
        """Describe slope, intercept and O:E of the run's summary with their intervals; empty if there are none."""
        figures = self.figures.get(endpoint, {}).get(self.shown, {})
        said = {word: format_estimate(figures[name]) for name, word in FIGURES.items() if _known(figures, name)}
        if said:
            n, sites = (figures["brier"].get(name) for name in ("n", "sites"))
            said["held_out"] = f"{n} patients of {sites} hospitals, 95 % intervals"
        return said


def outcome_record(run: Path) -> OutcomeRecord:
    """Read the record of a run; without figures if it was not evaluated. Raises UserError if it is not a run."""
    rows, _ = held_out_tables(run)
    return OutcomeRecord(rows, read_summary_part(run, "outcome"))


def mean_risk(probability_m: Sequence[float] | np.ndarray) -> float:
    """Combine the probabilities of fold models by the mean of their log odds, as for several images of one patient."""
    return float(expit(log_odds(np.asarray(probability_m, float)).mean()))


def risk_interval(
    probability_m: np.ndarray, probability_n: np.ndarray, label_n: np.ndarray, site_n: np.ndarray
) -> tuple[float, float]:
    """Compute the 90 % interval of the risk of patients like this one at hospitals like the held-out ones.

    The variances of two uncertainties add up on log odds: the spread of the fold models, and the uncertainty of a
    recalibration on the held-out predictions. Its quantile is that of t with (hospitals - 1) degrees of freedom. The
    interval is centred on the recalibrated risk, and extended to the predicted risk if that is outside.

    Args:
        probability_m: the probability of each fold model for this patient.
        probability_n: the probability of each held-out patient.
        label_n: their labels, 0 or 1.
        site_n: their hospitals.

    Returns:
        The lower and the upper limit, from 0 to 1.
    """
    fitted = fit_recalibration(probability_n.astype(float), label_n.astype(float))
    own_m, middle = log_odds(probability_m), float(log_odds(probability_n.astype(float)).mean())
    direction = np.array([1.0, own_m.mean() - middle])
    variance = max(direction @ one @ direction for one in _covariances(probability_n, label_n, site_n))
    variance += own_m.var(ddof=1) if len(own_m) > 1 else 0.0
    reach = t.ppf((1 + COVERAGE) / 2, len(np.unique(site_n)) - 1) * np.sqrt(variance)
    centre = fitted.intercept + fitted.slope * own_m.mean()
    predicted = mean_risk(probability_m)
    return min(float(expit(centre - reach)), predicted), max(float(expit(centre + reach)), predicted)


def _covariances(probability_n: np.ndarray, label_n: np.ndarray, site_n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute two covariances of intercept and slope of the recalibration.

    The first is for independent cases (the inverse information with the prior), the second for hospitals as clusters
    (Liang & Zeger, Biometrika 1986;73:13). The caller uses the larger variance, because with few events the second is
    unreliable.
    """
    probability_n, label_n = probability_n.astype(float), label_n.astype(float)
    odds_n, mean_n = log_odds(probability_n), fit_recalibration(probability_n, label_n)(probability_n)
    design_n2 = np.stack([np.ones_like(odds_n), odds_n - odds_n.mean()], axis=1)
    information = design_n2.T @ (design_n2 * (mean_n * (1 - mean_n))[:, None]) + np.eye(2) / PRIOR_SD**2
    independent = np.linalg.inv(information)
    score_n2 = design_n2 * (label_n - mean_n)[:, None]
    sites = np.unique(site_n)
    score_s2 = np.stack([score_n2[site_n == site].sum(axis=0) for site in sites])
    clustered = independent @ (score_s2.T @ score_s2) @ independent * len(sites) / (len(sites) - 1)
    return independent, clustered


def _known(figures: Mapping[str, Any], name: str) -> bool:
    return figures.get(name, {}).get("value") is not None
