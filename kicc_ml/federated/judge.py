"""How a held-out hospital judges a network at home, and how estimates of hospitals are combined.

A hospital sends, for each endpoint, the area under its own ROC curve with the counts and variances from which the
report combines hospitals (:class:`kicc_ml.evaluation.discrimination.SitePairs`); for each region, number, mean and
squared differences of the Dice of its scans. No figure over all patients together is made: pairs of patients of two
hospitals never meet.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from kicc_ml.core.regions import REGIONS
from kicc_ml.core.types import Case
from kicc_ml.data.batches import Labelled, WholeVolumes, loader
from kicc_ml.data.datamodule import PatchDataModule, PatientDataModule
from kicc_ml.evaluation.discrimination import SitePairs, compute_site_pairs
from kicc_ml.evaluation.hospital_effects import compute_area_effects, compute_effects_of_means
from kicc_ml.evaluation.intervals import make_estimate
from kicc_ml.evaluation.rows import BinaryOutcomes
from kicc_ml.evaluation.three_answers import make_answers, make_unanswered
from kicc_ml.federated.networks import BATCH_NORMS
from kicc_ml.federated.sums import LEAST
from kicc_ml.models.baselines.tabular import endpoints_be
from kicc_ml.models.sliding_window import predict_by_sliding_window
from kicc_ml.prediction.outcome import outcome_probabilities

#: What a hospital states of an endpoint: fields of ``SitePairs``, in the singular.
AREA = ("area", "events", "others", "event_variance", "other_variance")

#: Scans are padded to a multiple of this, which networks of at most six levels can halve.
MULTIPLE = 32

NO_POOLED = "does not exist: patients of two hospitals are never compared"


def judge_outcome(network: nn.Module, data: PatientDataModule, cases: Sequence[Case]) -> dict[str, Any]:
    """Judge the predictions of a network for the patients of one hospital.

    Args:
        network: the network of the server.
        data: the hospital's data, after ``setup``.
        cases: its patients.

    Returns:
        by endpoint the figures ``AREA``; None where fewer than ``LEAST`` patients have or do not have the event.
    """
    probability_be, label_be = outcome_probabilities(network, data, cases), endpoints_be(cases, data.endpoints)
    return {
        endpoint: describe_area(probability_be[:, column], label_be[:, column])
        for column, endpoint in enumerate(data.endpoints)
    }


def describe_area(probability_n: np.ndarray, label_n: np.ndarray) -> dict[str, float] | None:
    """Describe the area under the ROC curve of one hospital by the figures ``AREA``.

    Args:
        probability_n: the predicted probabilities.
        label_n: 0, 1, or NaN where the outcome is unknown.

    Returns:
        the figures; None if a count is too small to be stated.
    """
    known_n = ~np.isnan(label_n)
    label_n, probability_n = label_n[known_n], probability_n[known_n]
    if min((label_n == 1).sum(), (label_n == 0).sum()) < LEAST:
        return None
    pairs = compute_site_pairs(BinaryOutcomes(label_n, probability_n, np.full(label_n.size, "home")))
    return {name: float(getattr(pairs, f"{name}_s")[0]) for name in AREA}


def load_scans(data: PatchDataModule) -> DataLoader:
    """Load the scans of a hospital that have a mask, whole, one a batch.

    Args:
        data: the hospital's data, after ``setup``.
    """
    scans = [Labelled(case.case_id, case.site, data.volumes[case.case_id]) for case in data.train_cases]
    return loader(WholeVolumes(scans), 1, 0)


@torch.no_grad()
def estimate_batch_statistics(network: nn.Module, data: PatchDataModule) -> None:
    """Estimate the statistics of batch normalisation from a hospital's own scans, without their masks.

    Args:
        network: the network; its statistics are replaced.
        data: the hospital's data, after ``setup``.
    """
    norms = [module for module in network.modules() if isinstance(module, BATCH_NORMS)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all scans
    network.train()
    for batch in load_scans(data):
        image_bcxyz = batch["image_bcxyz"]
        short = [-size % MULTIPLE for size in reversed(image_bcxyz.shape[2:])]
        network(nn.functional.pad(image_bcxyz, [side for missing in short for side in (0, missing)]))
    network.eval()


@torch.inference_mode()
def judge_lesions(network: nn.Module, data: PatchDataModule) -> dict[str, Any]:
    """Judge the masks of a network on the scans of one hospital, on the grid of the prepared volumes.

    Args:
        network: the network of the server.
        data: the hospital's data, after ``setup``.

    Returns:
        by region ``{scans, mean, squares}`` of the Dice; None where fewer than ``LEAST`` scans have the region.
    """
    network.eval()
    dice: dict[str, list[float]] = {region: [] for region in REGIONS}
    for batch in load_scans(data):
        found_cxyz = predict_by_sliding_window([network], batch["image_bcxyz"][0], data.patch_size, range(len(REGIONS)))
        marked_cxyz, mask_cxyz = found_cxyz > 0.5, batch["mask_bcxyz"][0] > 0.5
        for channel, region in enumerate(REGIONS):
            size = float(marked_cxyz[channel].sum() + mask_cxyz[channel].sum())
            if batch["mask_known_bc"][0, channel] and size:
                dice[region].append(2 * float((marked_cxyz[channel] & mask_cxyz[channel]).sum()) / size)
    return {region: describe_mean(values) for region, values in dice.items() if values}


def describe_mean(values: Sequence[float]) -> dict[str, float] | None:
    """Describe a figure per scan by ``{scans, mean, squares}``; None if there are too few scans to be stated.

    Args:
        values: the figure of each scan; ``squares`` is the sum of squared differences from their mean.
    """
    if len(values) < LEAST:
        return None
    value_n = np.array(values)
    return {
        "scans": len(values),
        "mean": float(value_n.mean()),
        "squares": float(((value_n - value_n.mean()) ** 2).sum()),
    }


def combine_areas(stated: Mapping[str, Mapping[str, float] | None]) -> dict[str, Any]:
    """Combine the areas of hospitals as the report does: within hospitals, and their meta-analysis.

    Args:
        stated: by hospital the figures ``AREA``, or None.

    Returns:
        the three answers (:mod:`kicc_ml.evaluation.three_answers`), the areas under ``sites``, and why there is no
        pooled area.
    """
    known = {site: figures for site, figures in sorted(stated.items()) if figures}
    sites = list(known)
    extra = {"sites": {site: stated[site] for site in sorted(stated)}, "pooled": NO_POOLED}
    if not sites:
        return make_unanswered(f"no hospital has {LEAST} patients with and {LEAST} without the event") | extra
    columns = {f"{name}_s": np.array([one[name] for one in known.values()]) for name in AREA}
    pairs = SitePairs(site_s=np.array(sites), **columns)
    estimate = make_estimate(pairs.area, pairs.spread, "logit", pairs.degrees)
    answers = make_answers(estimate, compute_area_effects(pairs))
    return answers.figure(answers.question) | extra


def combine_means(stated: Mapping[str, Mapping[str, float] | None]) -> dict[str, Any]:
    """Combine means of hospitals, such as Dice, by the meta-analysis of the report.

    Args:
        stated: by hospital ``{scans, mean, squares}``, or None.
    """
    known = {site: figures for site, figures in sorted(stated.items()) if figures}
    sites = list(known)
    extra = {"sites": {site: stated[site] for site in sorted(stated)}, "pooled": NO_POOLED}
    if not sites:
        return make_unanswered(f"no hospital has {LEAST} scans with the region") | extra
    scans, mean, squares = (
        np.array([one[name] for one in known.values()], float) for name in ("scans", "mean", "squares")
    )
    effects = compute_effects_of_means(np.array(sites), scans, mean, squares)
    overall = float((scans * mean).sum() / scans.sum())
    everywhere = effects.site_k.size == len(sites)
    variance = float(((scans / scans.sum()) ** 2 * effects.variance_k).sum()) if everywhere else np.nan
    answers = make_answers(make_estimate(overall, variance, "identity"), effects)
    return answers.figure(answers.question, 0.0, 1.0) | extra
