"""The side of a hospital: its own patients, and the answers to the three questions of a coordinator."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kicc_ml.cohort.repository import repository
from kicc_ml.cohort.summary import summary
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import ENDPOINTS, Case
from kicc_ml.data.datamodule import PatchDataModule, PatientDataModule
from kicc_ml.federated.judge import estimate_batch_statistics, judge_lesions, judge_outcome
from kicc_ml.federated.local_training import Agreed, Optimizer, make_data, train_round
from kicc_ml.federated.messages import (
    JUDGE,
    REFUSED,
    SUMS,
    TABLE,
    TRAIN,
    HospitalRefuses,
    Message,
    NotSent,
    check_answer,
)
from kicc_ml.federated.networks import build_network, get_weights, set_weights
from kicc_ml.federated.plan import Plan, parse_plan, refuse_other_versions
from kicc_ml.federated.sums import make_table_sums, sum_cases

logger = logging.getLogger(__name__)

#: What is sent in place of an error: its own text may quote names and paths.
WENT_WRONG = "something went wrong at this hospital; its own log says what"


@dataclass
class Hospital:
    """A hospital of a federation.

    Attributes:
        root: its own repository: one folder of DICOM files and its clinical table.
        store: the folder of its prepared volumes and its index.
        optimizer: of its local training.
        last_network: the network of its last round.
    """

    root: Path
    store: Path
    optimizer: Optimizer = torch.optim.AdamW
    last_network: torch.nn.Module | None = None

    @cached_property
    def cases(self) -> Sequence[Case]:
        """The patients with what may be known at admission. Raises UserError if they are of several hospitals."""
        return self._read_cases(guard_endpoints=ENDPOINTS)

    @cached_property
    def scans(self) -> Sequence[Case]:
        """The patients with a CT of any day: a lesion is a lesion on any day."""
        return self._read_cases(ct_window_days=None, cxr_window_days=None, guard_endpoints=())

    def _read_cases(self, **rule: Any) -> Sequence[Case]:
        self.store.mkdir(parents=True, exist_ok=True)
        cases = repository(self.root, index_cache=self.store / "index.parquet", **rule)
        sites = sorted({case.site for case in cases})
        if len(sites) > 1:
            raise UserError(
                f"{self.root} holds patients of {len(sites)} hospitals ({', '.join(sites[:3])}); a hospital of a "
                "federation brings its own alone"
            )
        return cases

    def answer(self, task: str, question: Message) -> Message:
        """Answer a question of the coordinator. What goes wrong is logged here, and answered without its text.

        Args:
            task: ``sums``, ``train`` or ``judge``.
            question: the plan, what was agreed on, and weights.

        Returns:
            what may leave the hospital (:func:`kicc_ml.federated.messages.check_answer`).
        """
        try:
            refuse_other_versions(question.figures.get("versions"))
            tasks = {SUMS: self._sum, TRAIN: self._train, JUDGE: self._judge}
            if task not in tasks:
                raise HospitalRefuses("this hospital answers only sums, train and judge")
            return check_answer(tasks[task](question), question)
        except HospitalRefuses as error:
            logger.error("%s: %s", task, error)
            return Message({REFUSED: str(error)})
        except NotSent as error:
            logger.error("%s: %s", task, error)
            return Message({REFUSED: "an answer held what may not leave the hospital, and was not sent"})
        except Exception:
            logger.exception("%s failed", task)
            return Message({REFUSED: WENT_WRONG})

    def _sum(self, question: Message) -> Message:
        sums = sum_cases(self.cases)
        if question.figures.get(TABLE) is True:
            sums["items"] = make_table_sums(summary(self.root, index_cache=self.store / "index.parquet"))
        return Message(sums)

    def _train(self, question: Message) -> Message:
        plan, agreed = parse_plan(question.figures.get("plan")), parse_agreed(question.figures.get("agreed"))
        number = int(question.figures["round"])
        data = self._make_data(plan, agreed, number)
        network = self._find_network(plan, agreed, number)
        set_weights(network, question.arrays)
        loss = train_round(plan, network, data, self.optimizer)
        weights = get_weights(network, plan.norm)
        if not all(np.isfinite(array).all() for array in weights.values()):  # the average of all would be lost
            raise HospitalRefuses("the weights became infinite at this hospital; give a smaller learning_rate")
        self.last_network = network
        return Message({"patients": len(data.train_cases), "loss": loss}, weights)

    def _judge(self, question: Message) -> Message:
        plan, agreed = parse_plan(question.figures.get("plan")), parse_agreed(question.figures.get("agreed"))
        data = self._make_data(plan, agreed)
        network = build_network(plan, agreed.sizes)
        set_weights(network, question.arrays)
        if isinstance(data, PatchDataModule):
            if plan.norm == "local_batch":
                estimate_batch_statistics(network, data)
            return Message(judge_lesions(network, data))
        return Message(judge_outcome(network, data, data.train_cases))

    def _make_data(self, plan: Plan, agreed: Agreed, number: int = 0) -> PatientDataModule | PatchDataModule:
        return make_data(plan, agreed, self.cases if plan.task == "outcome" else self.scans, self.store, number)

    def _find_network(self, plan: Plan, agreed: Agreed, number: int) -> torch.nn.Module:
        """Find the network of the round before, whose statistics of batch normalisation go on here; else a new one."""
        if plan.norm == "local_batch" and number > 0 and self.last_network is not None:
            return self.last_network
        return build_network(plan, agreed.sizes)


def parse_agreed(values: Any) -> Agreed:
    """Parse what hospitals agreed on: ``{features, endpoints}``, each a list of names.

    Raises HospitalRefuses for anything else.
    """
    lists = [values.get(name) for name in ("features", "endpoints")] if isinstance(values, Mapping) else [None]
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists):
        raise HospitalRefuses("the question does not say which columns the hospitals have in common")
    return Agreed(*lists)
