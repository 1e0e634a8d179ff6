"""Agreement of predicted radiograph scores with those of a radiologist.

Estimand: correlation and error over images of people like these. Several images of a person resemble each other, so
persons are drawn (:mod:`kicc_ml.evaluation.bootstrap`), and r is taken on Fisher's scale. Correlation is not agreement:
ICC(2,1) and the error in points stand beside it.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from kicc_ml.evaluation import agreement
from kicc_ml.evaluation.bootstrap import Resampling, compute_bootstrap_t_interval, resample
from kicc_ml.evaluation.intervals import Interval
from kicc_ml.evaluation.rows import make_unknown_figure

#: The baseline for all models, fitted on the same folds.
BASELINE = "mean"

#: A second radiologist compared with the first: the best agreement that can be expected.
READER = "second_reader"


def compute_score_figures(predictions: pd.DataFrame, seed: int = 0) -> dict[str, dict[str, dict[str, Any]]]:
    """Compute ``<score>.<model>.{pearson, mae, mae_less_mean, icc}`` with intervals, ``n`` images and ``persons``.

    ``predictions``: a row per image, score and model with ``case_id person score model predicted reference``.
    ``mae_less_mean`` is the error less that of predicting the mean, on the same images: negative is better.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    if predictions.empty:
        return found
    known = predictions.dropna(subset=["predicted", "reference"])
    error = (known["predicted"] - known["reference"]).abs()
    known = known.assign(error=error).set_index(["score", "model", "case_id"]).sort_index()
    for score, model in dict.fromkeys(zip(predictions["score"], predictions["model"], strict=True)):
        if (score, model) not in known.index:
            continue
        of_mean = known.loc[(score, BASELINE), "error"]
        found.setdefault(score, {})[model] = _compute_figures(known.loc[(score, model)], model, of_mean, seed)
    return found


def make_score_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """Make one row per image for ``cases.csv``: each reference score, and ``<score>_<model>``."""
    if predictions.empty:
        return pd.DataFrame()
    images = ["case_id", "site", "person", "fold"]
    given = predictions[predictions["model"] == BASELINE].pivot(index=images, columns="score", values="reference")
    named = predictions.assign(column=predictions["score"] + "_" + predictions["model"])
    predicted = named.pivot(index=images, columns="column", values="predicted")
    return given.join(predicted).reset_index()


def _compute_figures(rows: pd.DataFrame, model: str, error_of_mean: pd.Series, seed: int) -> dict[str, Any]:
    drawn = resample(rows["person"].to_numpy(str), seed)
    both_n2 = rows[["predicted", "reference"]].to_numpy(float)
    figures = {"mae": _compute_mean_figure(rows["error"].to_numpy(), drawn)}
    if model != BASELINE:  # whose folds differ by whom they leave out, not by what the image shows
        figures["pearson"] = _compute_pearson_figure(both_n2[:, 0], both_n2[:, 1], drawn)
        figures["icc"] = make_unknown_figure("images of a person are not independent") | {
            "value": agreement.compute_icc_2_1(both_n2)
        }
    if model not in (BASELINE, READER):
        figures["mae_less_mean"] = _compute_mean_figure((rows["error"] - error_of_mean).to_numpy(), drawn)
    counts = {"n": len(rows), "persons": int(rows["person"].nunique())}
    return {name: figure | counts for name, figure in figures.items()}


def _compute_mean_figure(value_n: np.ndarray, drawn: Resampling) -> dict[str, Any]:
    replicate_r = drawn.sum_by_replicate(value_n) / drawn.sum_by_replicate(np.ones(len(value_n)))
    return {"value": float(value_n.mean())} | compute_bootstrap_t_interval(replicate_r, drawn).bounds


def _compute_pearson_figure(predicted_n: np.ndarray, reference_n: np.ndarray, drawn: Resampling) -> dict[str, Any]:
    if min(np.ptp(predicted_n), np.ptp(reference_n)) == 0:
        return make_unknown_figure("no variation")
    r = float(stats.pearsonr(predicted_n, reference_n).statistic)
    # Fisher's z is half the logit of (1 + r) / 2.
    interval = compute_bootstrap_t_interval(
        (1 + compute_weighted_pearson(predicted_n, reference_n, drawn)) / 2, drawn, "logit"
    )
    if interval.low is None or interval.high is None:
        return {"value": r} | interval.bounds
    return {"value": r} | Interval(2 * interval.low - 1, 2 * interval.high - 1).bounds


def compute_weighted_pearson(one_n: np.ndarray, other_n: np.ndarray, drawn: Resampling) -> np.ndarray:
    """Compute Pearson's r of each bootstrap replicate, the original sample first."""
    one_n, other_n = one_n - one_n.mean(), other_n - other_n.mean()
    count_r = drawn.sum_by_replicate(np.ones(len(one_n)))
    mean_one_r, mean_other_r = drawn.sum_by_replicate(one_n) / count_r, drawn.sum_by_replicate(other_n) / count_r
    covariance_r = drawn.sum_by_replicate(one_n * other_n) / count_r - mean_one_r * mean_other_r
    variance_one_r = drawn.sum_by_replicate(one_n**2) / count_r - mean_one_r**2
    variance_other_r = drawn.sum_by_replicate(other_n**2) / count_r - mean_other_r**2
    with np.errstate(divide="ignore", invalid="ignore"):  # a replicate of one person may not vary
        return covariance_r / np.sqrt(variance_one_r * variance_other_r)
