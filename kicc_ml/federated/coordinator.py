"""The side of the coordinator: which question goes to which hospital, and what is made of the answers.

It knows nothing of what carries the messages: :mod:`kicc_ml.federated.server` asks over NVFlare.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from kicc_ml.core.errors import UserError
from kicc_ml.federated.judge import combine_areas, combine_means
from kicc_ml.federated.local_training import Agreed
from kicc_ml.federated.messages import JUDGE, REFUSED, SUMS, TABLE, TRAIN, Message, is_usable
from kicc_ml.federated.networks import average, build_network, get_weights
from kicc_ml.federated.plan import Plan, list_versions
from kicc_ml.federated.sums import Total, add_sums
from kicc_ml.models.outcome import OutcomeNetwork

logger = logging.getLogger(__name__)

#: Asks hospitals a question: of the task, the message and the hospitals; returns the answers that came in time.
Ask = Callable[[str, Message, Sequence[str]], Mapping[str, Message]]

#: Weights of one hospital alone are a model of its patients; they are not passed on as an average.
LEAST_HOSPITALS = 2

SILENT = "no answer in time"
UNUSABLE = "its answer is not one that this version of kicc_ml sends"


@dataclass(frozen=True)
class Trained:
    """A federated training that has ended.

    Attributes:
        weights: the averaged weights.
        agreed: the columns that the hospitals have in common.
        rounds: for each round and hospital its number of patients and mean loss.
        lost: hospitals that did not take part to the end, each with the reason.
    """

    weights: Mapping[str, np.ndarray]
    agreed: Agreed
    rounds: Sequence[Mapping[str, Mapping[str, float]]]
    lost: Mapping[str, str] = field(default_factory=dict)


def gather(
    ask: Ask, task: str, question: Message, sites: Sequence[str], least: int
) -> tuple[dict[str, Message], dict[str, str]]:
    """Ask hospitals, and divide them into those that answered and those that did not.

    Args:
        ask: carries the question.
        task: ``sums``, ``train`` or ``judge``.
        question: what is asked; the versions of this side are added.
        sites: the hospitals.
        least: how many must answer.

    Returns:
        the answers, and the reason of each hospital without one.

    Raises:
        UserError: fewer than ``least`` hospitals answered.
    """
    asked = Message({**question.figures, "versions": list_versions()}, question.arrays)
    answers = ask(task, asked, sites)
    reasons_of = {site: _find_reason(task, answers.get(site), asked) for site in sites}
    lost = {site: reason for site, reason in reasons_of.items() if reason}
    for site, reason in lost.items():
        logger.warning("%s: %s", site, reason)
    found = {site: answers[site] for site in sites if site not in lost}
    if len(found) < least:
        reasons = "; ".join(f"{site}: {reason}" for site, reason in lost.items())
        raise UserError(f"{task}: {len(found)} of {len(sites)} hospitals answered, {least} are needed ({reasons})")
    return found, lost


def _find_reason(task: str, answer: Message | None, asked: Message) -> str:
    """Find why a hospital is lost; "" for one whose answer can be worked with."""
    if answer is None:
        return SILENT
    if REFUSED in answer.figures:
        return str(answer.figures[REFUSED])
    return "" if is_usable(task, answer, asked) else UNUSABLE


def collect_sums(ask: Ask, sites: Sequence[str], least: int = LEAST_HOSPITALS, table: bool = True) -> dict[str, Any]:
    """Collect the sums of hospitals.

    Args:
        ask: carries the questions.
        sites: the hospitals.
        least: how many must answer.
        table: whether to collect the items of Table 1 too.

    Returns:
        ``patients`` by hospital, the totals of ``items``, ``features`` and ``endpoints`` by column, and ``lost``.
    """
    answers, lost = gather(ask, SUMS, Message({TABLE: table}), sites, least)
    totals = {
        part: add_sums(answer.figures.get(part, {}) for answer in answers.values())
        for part in ("items", "features", "endpoints")
    }
    return {"patients": {site: one.figures["patients"] for site, one in answers.items()}, "lost": lost} | totals


def train(
    ask: Ask,
    plan: Plan,
    sites: Sequence[str],
    least: int = LEAST_HOSPITALS,
    keep: Callable[[int, Mapping[str, np.ndarray]], None] = lambda number, weights: None,
) -> Trained:
    """Train a network at hospitals: their weights are averaged by patients after each round.

    A hospital that is lost in a round is not asked again; the others go on.

    Args:
        ask: carries the questions.
        plan: the training.
        sites: the hospitals that train; the held-out one is not among them.
        least: how many must answer in each round.
        keep: called after each round with its number and the averaged weights.

    Raises:
        UserError: too few hospitals answered, or no column is common to them.
    """
    agreed, weights, lost = begin(ask, plan, sites, least)
    rounds: list[Mapping[str, Mapping[str, float]]] = []
    for number in range(plan.rounds):
        present = [site for site in sites if site not in lost]
        figures = {"plan": plan.as_json(), "agreed": _as_json(agreed), "round": number}
        answers, newly_lost = gather(ask, TRAIN, Message(figures, weights), present, least)
        lost |= newly_lost
        rounds.append({site: dict(answer.figures) for site, answer in answers.items()})
        patients = {site: int(answer.figures["patients"]) for site, answer in answers.items()}
        weights = average({site: answer.arrays for site, answer in answers.items()}, patients)
        keep(number, weights)
    return Trained(weights, agreed, rounds, lost)


def begin(
    ask: Ask, plan: Plan, sites: Sequence[str], least: int = LEAST_HOSPITALS
) -> tuple[Agreed, dict[str, np.ndarray], dict[str, str]]:
    """Agree on the columns, and make the first weights.

    Args:
        ask: carries the questions.
        plan: the training.
        sites: the hospitals that train.
        least: how many must answer.

    Returns:
        the columns, the weights, and the hospitals that did not answer, each with the reason.
    """
    if plan.task == "lesion_ct":
        return Agreed(), get_weights(build_network(plan, {}), plan.norm), {}
    sums = collect_sums(ask, sites, least, table=False)
    features = {name: total for name, total in sums["features"].items() if total.known}
    endpoints = {name: total for name, total in sums["endpoints"].items() if total.known and 0 < total.mean < 1}
    if not features or not endpoints:
        lacking = "clinical value" if not features else "outcome with both values"
        raise UserError(f"no {lacking} is stated by enough patients of any hospital; a training needs one")
    agreed = Agreed(list(features), list(endpoints))
    network = build_network(plan, agreed.sizes)
    assert isinstance(network, OutcomeNetwork)
    set_scaling(network, features, endpoints, sum(sums["patients"].values()))
    return agreed, get_weights(network, plan.norm), sums["lost"]


def set_scaling(
    network: OutcomeNetwork, features: Mapping[str, Total], endpoints: Mapping[str, Total], patients: int
) -> None:
    """Set the scaling and the first biases of an outcome network from the sums of hospitals.

    Args:
        network: the network.
        features: the totals of its features, in order.
        endpoints: the totals of its endpoints, in order.
        patients: of all hospitals; a missing value stands for the mean, so that it adds no spread.
    """
    mean_f = torch.tensor([total.mean for total in features.values()])
    scale_f = torch.tensor([(total.spread / patients) ** 0.5 for total in features.values()])
    network.set_inputs(mean_f, scale_f, torch.tensor([total.mean for total in endpoints.values()]))


def judge(ask: Ask, plan: Plan, agreed: Agreed, weights: Mapping[str, np.ndarray], held_out: str) -> dict[str, Any]:
    """Have the held-out hospital judge the network at home.

    Args:
        ask: carries the question.
        plan: the training.
        agreed: the columns of the network.
        weights: its weights.
        held_out: the hospital.

    Returns:
        its figures by endpoint or region.

    Raises:
        UserError: it did not answer.
    """
    question = Message({"plan": plan.as_json(), "agreed": _as_json(agreed)}, weights)
    answers, _ = gather(ask, JUDGE, question, [held_out], 1)
    return dict(answers[held_out].figures)


def combine(plan: Plan, judged: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Combine what the held-out hospitals found, by endpoint or region.

    Args:
        plan: the training.
        judged: by hospital its figures.
    """
    subjects = dict.fromkeys(name for figures in judged.values() for name in figures)
    combine_one = combine_areas if plan.task == "outcome" else combine_means
    return {
        name: combine_one({site: figures[name] for site, figures in judged.items() if name in figures})
        for name in subjects
    }


def _as_json(agreed: Agreed) -> dict[str, list[str]]:
    return {"features": list(agreed.features), "endpoints": list(agreed.endpoints)}
