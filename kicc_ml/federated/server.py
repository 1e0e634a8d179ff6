"""The coordinator in NVFlare: a controller that runs one step of a federation, and leaves its result as files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nvflare.app_common.workflows.model_controller import ModelController
from safetensors.numpy import load_file

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import make_folder, write_json
from kicc_ml.federated.client import pack, unpack
from kicc_ml.federated.coordinator import Trained, collect_sums, judge, train
from kicc_ml.federated.hospital import parse_agreed
from kicc_ml.federated.messages import JUDGE, SUMS, TRAIN, Message
from kicc_ml.federated.networks import write_arrays
from kicc_ml.federated.plan import Plan, parse_plan

#: Folder of the job, and files in it, in which a step leaves its result.
RESULT, ERROR, FIGURES, WEIGHTS = "federation", "error.json", "figures.json", "weights.safetensors"


class FederationController(ModelController):
    """Runs one step of a federation.

    Args:
        step: ``sums``, ``train`` or ``judge``.
        sites: the hospitals that take part; of ``judge`` the one that was held out.
        seconds: how long a hospital may take for an answer; 0 for any time.
        least: how many hospitals must answer.
        plan: the training, as plain values; None for sums.
        agreed: for ``judge``, the columns of the network.
    """

    def __init__(
        self,
        step: str,
        sites: Sequence[str],
        seconds: int,
        least: int,
        plan: Mapping[str, Any] | None = None,
        agreed: Mapping[str, Any] | None = None,
    ):
        super().__init__(persistor_id="", ignore_result_error=True)
        self.step, self.sites, self.seconds, self.least = step, list(sites), seconds, least
        self.plan, self.agreed = plan, agreed

    def run(self) -> None:
        """Run the step. What a user can mend is left as a sentence in ``error.json``."""
        workspace, job = self.engine.get_workspace(), self.fl_ctx.get_job_id()
        folder = make_folder(Path(workspace.get_run_dir(job)) / RESULT)
        try:
            figures = self._run_step(folder, Path(workspace.get_app_config_dir(job)))
        except UserError as error:
            write_json(folder / ERROR, {"error": str(error)})
            return
        write_json(folder / FIGURES, figures)

    def _run_step(self, folder: Path, config: Path) -> dict[str, Any]:
        if self.step == SUMS:
            sums = collect_sums(self._ask, self.sites, self.least)
            return sums | {part: _as_json(sums[part]) for part in ("items", "features", "endpoints")}
        plan = parse_plan(self.plan)
        if self.step == JUDGE:
            weights = load_file(config / WEIGHTS)
            return judge(self._ask, plan, parse_agreed(self.agreed), weights, self.sites[0])
        assert self.step == TRAIN
        return describe_training(self._train(plan, folder))

    def _train(self, plan: Plan, folder: Path) -> Trained:
        def keep(number: int, weights: Mapping[str, np.ndarray]) -> None:
            self.info(f"round {number + 1} of {plan.rounds} has ended")
            write_arrays(folder / WEIGHTS, weights)

        return train(self._ask, plan, self.sites, self.least, keep)

    def _ask(self, task: str, question: Message, sites: Sequence[str]) -> Mapping[str, Message]:
        models = self.send_model_and_wait(
            task_name=task, data=pack(question), targets=list(sites), timeout=self.seconds
        )
        return {model.meta["client_name"]: unpack(model) for model in models}


def describe_training(trained: Trained) -> dict[str, Any]:
    """Describe a training by plain values: columns, rounds and lost hospitals.

    Args:
        trained: the training.
    """
    agreed = {"features": list(trained.agreed.features), "endpoints": list(trained.agreed.endpoints)}
    return {"agreed": agreed, "rounds": list(trained.rounds), "lost": dict(trained.lost)}


def _as_json(totals: Mapping[str, Any]) -> dict[str, Any]:
    return {name: json.loads(json.dumps(vars(total))) for name, total in totals.items()}
