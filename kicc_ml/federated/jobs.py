"""Jobs of a federation: each step is a job of NVFlare, which names components of this package and holds no code."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from nvflare.fuel.common.excepts import ConfigError
from nvflare.fuel.flare_api.api_spec import (
    AuthenticationError,
    AuthorizationError,
    JobNotFound,
    NoClientsAvailable,
    NoConnection,
    NoReply,
    SessionClosed,
    SessionExpired,
)
from nvflare.fuel.flare_api.flare_api import Session, new_secure_session
from safetensors.numpy import load_file

from kicc_ml.core.errors import UserError
from kicc_ml.core.files import make_folder, write_json
from kicc_ml.core.received import read_json_object
from kicc_ml.federated.kits import COMPONENTS, RESEARCHER
from kicc_ml.federated.messages import JUDGE, SUMS, TRAIN
from kicc_ml.federated.networks import write_arrays
from kicc_ml.federated.plan import Plan
from kicc_ml.federated.server import ERROR, FIGURES, RESULT, WEIGHTS

#: Seconds to reach the server, and between two looks at a job.
PATIENCE, PAUSE = 30.0, 1.0

#: What NVFlare raises when a server is gone, restarts or no longer accepts the session.
LOST = (
    AuthenticationError,
    AuthorizationError,
    NoConnection,
    NoClientsAvailable,
    NoReply,
    SessionClosed,
    SessionExpired,
)


@dataclass(frozen=True)
class Federation:
    """A server that can be reached, and what was agreed on time.

    Attributes:
        session: of NVFlare.
        seconds: how long a hospital may take for an answer; 0 for any time.
        least: how many hospitals must answer.
    """

    session: Session
    seconds: int
    least: int

    def list_sites(self) -> list[str]:
        """List the hospitals that are connected, sorted."""
        return sorted(client.name for client in self.session.get_connected_client_list())

    def collect_sums(self, sites: Sequence[str]) -> dict[str, Any]:
        """Collect the sums of hospitals, as :func:`kicc_ml.federated.coordinator.collect_sums` does.

        Args:
            sites: the hospitals.
        """
        return self._run(SUMS, sites, {})[0]

    def train(self, plan: Plan, sites: Sequence[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Train a network at hospitals.

        Args:
            plan: the training.
            sites: the hospitals that train; no other one is part of the job.

        Returns:
            what the training was (:func:`kicc_ml.federated.server.describe_training`), and the averaged weights.
        """
        return self._run(TRAIN, sites, {"plan": plan.as_json()})

    def judge(
        self, plan: Plan, agreed: Mapping[str, Any], weights: Mapping[str, np.ndarray], held_out: str
    ) -> dict[str, Any]:
        """Have the held-out hospital judge a network at home, in a job of its own.

        Args:
            plan: the training.
            agreed: the columns of the network.
            weights: its weights.
            held_out: the hospital.
        """
        return self._run(JUDGE, [held_out], {"plan": plan.as_json(), "agreed": agreed}, weights)[0]

    def _run(
        self, step: str, sites: Sequence[str], args: Mapping[str, Any], weights: Mapping[str, np.ndarray] | None = None
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        least = 1 if step == JUDGE else self.least
        of_step = {"step": step, "sites": list(sites), "seconds": self.seconds, "least": least, **args}
        with TemporaryDirectory() as folder:
            job = self.session.submit_job(str(write_job(Path(folder) / "job", of_step, weights or {})))
            return self._fetch(step, job, Path(folder))

    def _fetch(self, step: str, job: str, folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        status = self.wait(job)
        try:
            found = Path(self.session.download_job_result(job, str(folder / "result")))
        except JobNotFound as error:
            raise UserError(f"{step}: job {job} is gone from the server") from error
        result = next(found.rglob(RESULT), found)
        if (result / ERROR).is_file():
            raise UserError(read_json_object(result / ERROR, "start again")["error"])
        if not (result / FIGURES).is_file():  # with it the step has ended, even if NVFlare lost a hospital afterwards
            raise UserError(
                f"{step}: job {job} ended as {status} at the server; a hospital refused it, or its process ended: the "
                "logs of the server and of the hospitals say which"
            )
        figures = read_json_object(result / FIGURES, "start again")
        return figures, load_file(result / WEIGHTS) if (result / WEIGHTS).is_file() else {}

    def wait(self, job: str) -> str:
        """Wait until a job has ended; returns how.

        Args:
            job: its number.
        """
        while True:
            meta = self.session.get_job_meta(job)
            status = str(meta.get("status", ""))
            if status.startswith("FINISHED") or status == "FAILED_TO_RUN":
                return status
            time.sleep(PAUSE)


def write_job(folder: Path, args: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> Path:
    """Write a job of NVFlare: at the server the controller with its settings, at hospitals the executor without any.

    Args:
        folder: of the job.
        args: the settings of the controller.
        weights: what the server sends from the start, if anything.

    Returns:
        the folder.
    """
    deploy = {"at_server": ["server"], "at_hospital": list(args["sites"])}
    write_json(
        make_folder(folder) / "meta.json",
        {"name": args["step"], "resource_spec": {}, "min_clients": args["least"], "deploy_map": deploy},
    )
    workflow = {"id": "federation", "path": COMPONENTS["server"], "args": dict(args)}
    executor = {"tasks": [SUMS, TRAIN, JUDGE], "executor": {"path": COMPONENTS["client"], "args": {}}}
    rest: dict[str, Any] = {"format_version": 2, "components": [], "task_data_filters": [], "task_result_filters": []}
    server, hospital = (make_folder(folder / app / "config") for app in deploy)
    write_json(server / "config_fed_server.json", rest | {"workflows": [workflow]})
    write_json(hospital / "config_fed_client.json", rest | {"executors": [executor]})
    if weights:
        write_arrays(server / WEIGHTS, weights)
    return folder


@contextmanager
def open_federation(kit: Path, seconds: int, least: int) -> Iterator[Federation]:
    """Open a session with the server of a federation.

    Args:
        kit: the kit of the one who starts trainings.
        seconds: how long a hospital may take for an answer.
        least: how many hospitals must answer.

    Raises:
        UserError: the folder is no such kit, or a damaged one; or the server cannot be reached, or does not know its
            certificate.
    """
    if not (kit / "startup" / "fed_admin.json").is_file():
        raise UserError(f"{kit} is no kit of a researcher; give the folder {RESEARCHER} that provision made")
    try:
        session = new_secure_session(RESEARCHER, str(kit.absolute()), timeout=PATIENCE)
    except (NoConnection, AuthenticationError) as error:
        raise UserError(
            f"the server does not answer the certificate of {kit}: start it (kicc-ml federated join), see that its "
            "name and port can be reached, and that the kit is of the same provision and not expired"
        ) from error
    except (RuntimeError, ConfigError, OSError, ValueError) as error:
        raise UserError(f"{kit} is damaged ({error}); unpack the kit again as it was handed to you") from error
    try:
        yield Federation(session, seconds, least)
    except LOST as error:
        raise UserError(
            f"the server ended the session ({type(error).__name__}); see its log and start again"
        ) from error
    finally:
        session.close()
