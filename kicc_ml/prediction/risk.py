"""What an outcome run knows of its own risks: how exactly, and how they came out at hospitals it had not seen."""

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
from kicc_ml.runs.tables import figures_of, held_out_tables

NETWORK, CLINICAL = "network", "clinical"
COVERAGE = 0.90
#: Calibration is said of hospitals, and fewer have no spread.
LEAST_HOSPITALS = 3
FIGURES = {"calibration_slope": "slope", "calibration_intercept": "intercept", "observed_expected": "O:E"}


@dataclass(frozen=True)
class OutcomeRecord:
    """The held-out predictions of a run, of the columns ``site endpoint model case_id probability label``, and its
    ``outcome`` in ``summary.json``. Empty for a run that has not been evaluated.
    """

    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    figures: Mapping[str, Any] = field(default_factory=dict)

    def without(self, site: str) -> "OutcomeRecord":
        """The other hospitals' predictions; the figures stay those of all."""
        return replace(self, rows=self.rows[self.rows["site"] != site]) if len(self.rows) else self

    @property
    def shown(self) -> str:
        """Whose risk is shown: the network's, or the clinical model's in a run that trained no network."""
        return NETWORK if NETWORK in set(self.rows.get("model", ())) else CLINICAL

    def risk(self, endpoint: str, probability_m: Sequence[float], clinical_m: Sequence[float] = ()) -> Risk:
        """The mean risk of one or several fold models with its interval; beside it that of the clinical models."""
        low, high = self._interval(endpoint, np.asarray(probability_m, float)) or (None, None)
        clinical = mean_risk(clinical_m) if len(clinical_m) else None
        return Risk(endpoint, mean_risk(probability_m), low, high, self._calibration(endpoint), clinical)

    def of_case(self, case_id: str) -> tuple[Risk, ...]:
        """The risks of a case of the run itself, judged by the other hospitals; none where it was not predicted, or of
        an endpoint that nobody is known of: no model learnt it.
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
        """Slope, intercept and O:E of the run's summary with their intervals; empty where there is none."""
        figures = self.figures.get(endpoint, {}).get(self.shown, {})
        said = {word: format_estimate(figures[name]) for name, word in FIGURES.items() if _known(figures, name)}
        if said:
            n, sites = (figures["brier"].get(name) for name in ("n", "sites"))
            said["held_out"] = f"{n} patients of {sites} hospitals, 95 % intervals"
        return said


def outcome_record(run: Path) -> OutcomeRecord:
    """The record of a run's folds; without figures where it was not evaluated. Raises UserError where it is no run."""
    rows, _ = held_out_tables(run)
    return OutcomeRecord(rows, figures_of(run, "outcome"))


def mean_risk(probability_m: Sequence[float] | np.ndarray) -> float:
    """Of fold models together: the mean of their log odds, as of the images of one patient."""
    return float(expit(log_odds(np.asarray(probability_m, float)).mean()))


def risk_interval(
    probability_m: np.ndarray, probability_n: np.ndarray, label_n: np.ndarray, site_n: np.ndarray
) -> tuple[float, float]:
    """90 % interval of the risk of patients like this one at hospitals like the held-out ones.

    On log odds two uncertainties add up: the spread of the fold models (``probability_m``) and that of the
    recalibration which the held-out predictions (``_n``) suggest, with t(hospitals - 1). The interval is about the
    recalibrated risk, and reaches to the predicted one where that lies outside.
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
    """Of shift and slope of the recalibration: that of independent cases (the inverse information, prior included) and
    that of hospitals as clusters (Liang & Zeger, Biometrika 1986;73:13). The larger counts: with few events the second
    is an estimate from next to nothing.
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
