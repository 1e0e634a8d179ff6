"""The process of a worker: it predicts the studies that the node hands it. It never touches the database.

It has a session of its own, so that it is killed with all that it has started, and ends itself when the node is gone.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from kicc_ml.core.errors import TargetError, UserError, describe_without_quotes
from kicc_ml.core.locks import hold
from kicc_ml.service.intake import Folders
from kicc_ml.service.queue import Job, StudyOutcome

logger = logging.getLogger(__name__)

Predict = Callable[[Job], StudyOutcome]


@dataclass(frozen=True)
class RunNames:
    """The runs of a node, one for each kind of image, and those beside; as of ``kicc-ml predict``."""

    runs: tuple[Path, ...]
    outcome_run: Path | None = None
    clinical: Path | None = None
    score_run: Path | None = None
    trust: tuple[str, ...] = ()
    device: str = "auto"
    fast: bool = False


@dataclass(frozen=True)
class PredictorOfRuns:
    """Loads the runs where it is called: in the process of a worker, so that the node needs no PyTorch."""

    names: RunNames
    folders: Folders
    identified: bool

    def __call__(self) -> Predict:
        """Load the runs.

        Raises:
            UserError: a run cannot be used.
        """
        from kicc_ml.service.predict_study import load_study_predictor

        return load_study_predictor(self.names, self.folders, self.identified)


@dataclass(frozen=True)
class Ready:
    """The runs are loaded."""


@dataclass(frozen=True)
class Unusable:
    """The runs cannot be loaded, for the ``reason``."""

    reason: str


@dataclass(frozen=True)
class NoRoom:
    """The study could not be predicted since nothing can be written; it is not to blame."""

    reason: str


@dataclass(frozen=True)
class Fault:
    """The prediction failed in a way that nobody thought of."""

    reason: str


def serve_jobs(connection: Connection, make_predict: Callable[[], Predict], lock: Path) -> None:
    """Predict jobs until the node is gone.

    Args:
        connection: to the node: jobs come in, what became of them goes out.
        make_predict: loads the runs.
        lock: held meanwhile, so that the worker of a node that was killed is waited for.
    """
    os.setsid()
    logging.basicConfig(level=logging.ERROR)  # why a series is refused is kept with its study
    threading.Thread(target=_end_with_node, daemon=True).start()
    with hold(lock, f"the results of {lock.parent}", wait=True):
        try:
            predict = make_predict()
        except UserError as error:
            connection.send(Unusable(str(error)))
            return
        connection.send(Ready())
        while True:
            try:
                job = connection.recv()
            except EOFError:
                return
            connection.send(_predict(predict, job))


def _predict(predict: Predict, job: Job) -> StudyOutcome | NoRoom | Fault:
    try:
        return predict(job)
    except TargetError as error:
        return NoRoom(str(error))
    except UserError as error:
        return StudyOutcome(job.study, [], describe_without_quotes(error))
    except Exception as error:  # headers are wrong in many ways, and one study must not stop the node
        logger.exception("study %d", job.study)
        return Fault(describe_without_quotes(error))


def _end_with_node() -> None:
    node = multiprocessing.parent_process()
    assert node is not None
    wait([node.sentinel])
    os.killpg(0, signal.SIGKILL)
