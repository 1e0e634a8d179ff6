"""Find leakage that makes results too good: hospitals recognisable from features, and patients that occur twice.

- :func:`probe_site`. Estimand: how often a linear model names the hospital of a patient it has not seen, each hospital
  counting the same (balanced accuracy; chance is 1 over their number). Design: patients independent within a
  hospital. Where the hospital can be named and hospitals differ in outcome, a network can predict the hospital instead
  of the disease; compare patient-level with leave-one-site-out validation (:func:`compute_validation_gap`).
- :func:`find_duplicates`. Pairs of rows of different persons that are the same image, or nearly.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kicc_ml.evaluation.comparison import Difference, compute_paired_difference
from kicc_ml.evaluation.intervals import Z
from kicc_ml.evaluation.rows import BinaryOutcomes, make_paired_outcomes

#: Folds of the probe. A hospital needs a patient for each, else it is left out and named.
PROBE_FOLDS = 5

#: Correlation of two feature vectors from which on they are taken for the same image saved again, at 32 x 32. Known
#: copies among public radiographs (KICC_DATA) lie above 0.999; of 160,634 pairs of different persons there one, a copy
#: cut otherwise, passes 0.95. Chests cut out alike correlate by up to 0.994 (CT slices of the synthetic hospitals).
MIN_NEAR_CORRELATION = 0.998


GAP_METRICS = ("auroc", "auroc_pooled")


@dataclass(frozen=True)
class SiteProbe:
    """Balanced accuracy of naming the hospital, with its 95 % interval and the chance level.

    ``flagged``: the interval lies above chance. ``left_out``: hospitals with too few patients. None with a ``reason``.
    """

    accuracy: float | None
    low: float | None
    high: float | None
    chance: float | None
    flagged: bool
    left_out: tuple[str, ...] = ()
    reason: str = ""


def probe_site(feature_nf: np.ndarray, site_n: np.ndarray, seed: int = 0) -> SiteProbe:
    """Predict the hospital by cross-validated multinomial logistic regression on ``feature_nf`` (NaN: missing)."""
    site_n = np.asarray(site_n, str)
    names, count_s = np.unique(site_n, return_counts=True)
    left_out = tuple(str(name) for name in names[count_s < PROBE_FOLDS])
    kept_n = ~np.isin(site_n, left_out)
    sites = np.unique(site_n[kept_n])
    if sites.size < 2:
        reason = f"fewer than two hospitals with {PROBE_FOLDS} patients"
        return SiteProbe(None, None, None, None, False, left_out, reason)
    model = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(C=1.0, max_iter=1000, class_weight="balanced"),
    )
    folds = StratifiedKFold(PROBE_FOLDS, shuffle=True, random_state=seed)
    named_n = cross_val_predict(model, feature_nf[kept_n], site_n[kept_n], cv=folds)
    right_n = named_n == site_n[kept_n]
    at_ns = (site_n[kept_n][:, None] == sites).astype(float)
    return _make_site_probe(right_n @ at_ns, at_ns.sum(axis=0), left_out)


def compute_validation_gap(patient_level: BinaryOutcomes, leave_one_site_out: BinaryOutcomes) -> dict[str, Difference]:
    """Compute how much the AUC falls if the patient's hospital is not in the training data, by ``GAP_METRICS``.

    Both arguments hold the same cases in the same order, predicted by the same kind of model under the two splits.
    Estimand and design are those of :func:`kicc_ml.evaluation.comparison.compute_paired_difference`. A pooled gap
    above 0 means that the model had learnt which hospitals have more events. A gap within hospitals means that it had
    learnt predictors that hold at these hospitals only.
    """
    return {metric: compute_paired_difference(patient_level, leave_one_site_out, metric) for metric in GAP_METRICS}


def compute_validation_gaps(patient_level: pd.DataFrame, leave_one_site_out: pd.DataFrame) -> list[dict[str, Any]]:
    """Compute :func:`compute_validation_gap` of two prediction tables over common cases, per endpoint and model.

    An endpoint that nobody is known of is left out: what cannot be evaluated is said by hospital.
    """
    both = pd.concat([patient_level.assign(division="patient"), leave_one_site_out.assign(division="site")])
    both = both[both["label"].notna()]
    return [
        {"endpoint": endpoint, "model": model, "metric": metric, **difference}
        for (endpoint, model), table in both.groupby(["endpoint", "model"], sort=False)
        if table["division"].nunique() > 1
        for metric, difference in _compute_gap_figures(table.assign(model=table["division"])).items()
    ]


def _compute_gap_figures(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    found = compute_validation_gap(*make_paired_outcomes(table, "patient", "site"))
    return {metric: _make_figure(difference) for metric, difference in found.items()}


def _make_figure(difference: Difference) -> dict[str, Any]:
    names = ("low", "high", "p", "n", "question")
    figure = {"difference": difference.value} | {name: getattr(difference, name) for name in names}
    return figure | ({"reason": difference.reason} if difference.reason else {}) | difference.answers


def find_duplicates(
    rows: pd.DataFrame, feature_nf: np.ndarray | None = None, near: float = MIN_NEAR_CORRELATION
) -> pd.DataFrame:
    """Find pairs of ``rows`` (``case_id site person digest``) of different persons that are the same image.

    ``kind`` is ``exact`` where the digests are equal, ``near`` where the feature vectors (thumbnails, say) correlate by
    at least ``near``. Columns ``kind similarity one other site_one site_other``; no rows where there is none. A digest
    or a vector that is missing (empty, NaN) or constant matches nothing.
    """
    pairs = {pair: ("exact", 1.0) for pair in _find_equal(rows["digest"])}
    if feature_nf is not None:
        pairs = {pair: ("near", similarity) for pair, similarity in _find_similar(feature_nf, near).items()} | pairs
    person, case_id, site = (rows[name].to_numpy() for name in ("person", "case_id", "site"))
    found = [
        (kind, similarity, case_id[i], case_id[j], site[i], site[j])
        for (i, j), (kind, similarity) in sorted(pairs.items())
        if person[i] != person[j]
    ]
    return pd.DataFrame(found, columns=["kind", "similarity", "one", "other", "site_one", "site_other"])


def _make_site_probe(right_s: np.ndarray, count_s: np.ndarray, left_out: tuple[str, ...]) -> SiteProbe:
    """Compute the mean share of hospitals, with an interval by Agresti & Coull, so that 0 of 5 is not certain."""
    share_s = right_s / count_s
    smoothed_s = (right_s + 2) / (count_s + 4)
    error = np.sqrt((smoothed_s * (1 - smoothed_s) / (count_s + 4)).sum()) / len(count_s)
    accuracy, chance = float(share_s.mean()), 1 / len(count_s)
    low, high = max(0.0, accuracy - Z * error), min(1.0, accuracy + Z * error)
    return SiteProbe(accuracy, float(low), float(high), chance, bool(low > chance), left_out)


def _find_equal(digest: pd.Series) -> list[tuple[int, int]]:
    known = digest.reset_index(drop=True).replace("", np.nan).dropna()
    groups = [places.tolist() for places in known.groupby(known).groups.values()]
    return [(i, j) for places in groups for at, i in enumerate(places) for j in places[at + 1 :]]


def _find_similar(feature_nf: np.ndarray, near: float) -> dict[tuple[int, int], float]:
    """Correlation is 1 less half the squared distance of vectors of mean 0 and length 1."""
    feature_nf = np.asarray(feature_nf, float)
    centred_nf = feature_nf - feature_nf.mean(axis=1, keepdims=True)
    length_n = np.linalg.norm(centred_nf, axis=1)
    place_m = np.flatnonzero(np.isfinite(length_n) & (length_n > 0))
    if place_m.size < 2:
        return {}
    unit_mf = centred_nf[place_m] / length_n[place_m, None]
    index = NearestNeighbors(radius=np.sqrt(2 * (1 - near))).fit(unit_mf)
    distances, neighbours = index.radius_neighbors(unit_mf)
    return {
        (int(place_m[i]), int(place_m[j])): float(1 - distance**2 / 2)
        for i, (distance_k, neighbour_k) in enumerate(zip(distances, neighbours, strict=True))
        for distance, j in zip(distance_k, neighbour_k, strict=True)
        if i < j
    }
