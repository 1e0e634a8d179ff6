"""Nothing is found where there is nothing: endpoints permuted over 522 patients of 17 hospitals, 100 times.

``pytest -m slow -s tests/evaluation/test_honesty.py`` prints the figures of ``kicc_ml/evaluation/README.md``.
"""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import BaseCrossValidator, LeaveOneGroupOut, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kicc_ml.evaluation.leakage import compute_validation_gap, probe_site
from kicc_ml.evaluation.outcome import score_outcome
from kicc_ml.evaluation.rows import BinaryOutcomes

REPETITIONS = 100
SIZES = (74, 60, 52, 46, 40, 35, 31, 28, 25, 23, 21, 19, 17, 15, 13, 12, 11)
FEATURES, PREVALENCE = 10, 0.23


def predicted(
    feature_nf: np.ndarray, label_n: np.ndarray, site_n: np.ndarray, folds: BaseCrossValidator
) -> BinaryOutcomes:
    """Out-of-fold probabilities of a logistic regression."""
    model = make_pipeline(StandardScaler(), LogisticRegression())
    found_n2 = cross_val_predict(model, feature_nf, label_n, groups=site_n, cv=folds, method="predict_proba")
    return BinaryOutcomes(label_n, found_n2[:, 1], site_n.astype(str))


def repetition(seed: int) -> dict[str, dict]:
    """Features that also tell the hospital, and labels dealt out without looking at them."""
    generator = np.random.default_rng(seed)
    site_n = np.repeat(np.arange(len(SIZES)), SIZES)
    feature_nf = (
        generator.normal(size=(len(site_n), FEATURES)) + generator.normal(0, 0.7, (len(SIZES), FEATURES))[site_n]
    )
    label_n = generator.permutation(np.arange(len(site_n)) < round(PREVALENCE * len(site_n))).astype(float)
    rows = predicted(feature_nf, label_n, site_n, LeaveOneGroupOut())
    return score_outcome(rows, ("auroc", "auroc_pooled"))


@pytest.mark.slow
def test_permuted_endpoints_score_one_half_within_hospitals_and_less_when_pooled() -> None:
    scored = [repetition(seed) for seed in range(REPETITIONS)]
    mean = {metric: np.mean([one[metric]["value"] for one in scored]) for metric in ("auroc", "auroc_pooled")}
    holding = sum(one["auroc"]["low"] <= 0.5 <= one["auroc"]["high"] for one in scored)
    print(f"\nwithin hospitals {mean['auroc']:.3f}, pooled {mean['auroc_pooled']:.3f}, {holding} intervals hold 0.5")
    assert abs(mean["auroc"] - 0.5) < 0.02
    assert holding >= 70
    assert mean["auroc_pooled"] < mean["auroc"] - 0.01, "the bias that the headline is free of"


def test_a_hospital_marker_is_flagged_and_seen_as_a_gap_between_the_two_validations() -> None:
    """Hospitals differ in outcome and leave a mark: who may learn the mark looks better than it is, when pooled."""
    generator = np.random.default_rng(0)
    site_n = np.repeat(np.arange(len(SIZES)), SIZES)
    plain_nf = generator.normal(size=(len(site_n), 4))
    mark_nf = 2 * (site_n[:, None] == np.arange(len(SIZES))) + generator.normal(0, 0.5, (len(site_n), len(SIZES)))
    marked_nf = np.hstack([plain_nf, mark_nf])
    assert not probe_site(plain_nf, site_n).flagged
    assert probe_site(marked_nf, site_n).flagged

    risk_n = plain_nf[:, 0] - 1 + generator.normal(0, 1.5, len(SIZES))[site_n]
    label_n = (generator.random(len(site_n)) < expit(risk_n)).astype(float)
    honest = predicted(marked_nf, label_n, site_n, LeaveOneGroupOut())
    mixed = predicted(marked_nf, label_n, site_n, StratifiedKFold(5, shuffle=True, random_state=0))
    gap = compute_validation_gap(mixed, honest)
    assert gap["auroc_pooled"].low is not None
    assert gap["auroc_pooled"].low > 0
    assert gap["auroc"].value is not None
    assert gap["auroc"].value < gap["auroc_pooled"].value / 2, "within a hospital its mark tells nothing"
