"""Workers as the node sees them: each hands one study after the other to a process, which may die of it."""

import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from threading import Event

from kicc_ml.core.errors import UserError
from kicc_ml.core.shown import say
from kicc_ml.service.queue import Job, StudyOutcome, StudyQueue
from kicc_ml.service.worker_process import Fault, NoRoom, Predict, Ready, Unusable, serve_jobs

logger = logging.getLogger(__name__)

#: How often an idle worker looks for a study, and a busy one for its end.
LOOK_S = 0.2
#: After this a study that found the disk full is tried again, and a worker that did not start.
PAUSE_S = 30.0
#: The runs are loaded within this time, from a slow disk too.
START_S = 600.0


class Stopped(Exception):
    """The node ends."""


@dataclass
class Worker:
    """One process, which predicts on one device. Only this side of it touches the queue.

    Attributes:
        queue: the queue.
        make_predict: loads the runs, in the process; it is pickled.
        lock: held by the process as long as it lives.
        job_s: a study may take so many seconds.
        deliver: results go to a PACS.
        stop: set where the node ends.
    """

    queue: StudyQueue
    make_predict: Callable[[], Predict]
    lock: Path
    job_s: float
    deliver: bool
    stop: Event
    _process: SpawnProcess | None = None
    _connection: Connection | None = None

    @property
    def process_id(self) -> int | None:
        """Number of the process; None where none runs."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process, and wait until it has loaded the runs.

        Raises:
            UserError: the runs cannot be used, or the process ended.
            Stopped: the node ends.
        """
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve_jobs, args=(theirs, self.make_predict, self.lock))
        self._process.start()
        theirs.close()
        answer = self._wait(START_S)
        if isinstance(answer, Ready):
            return
        self.end()
        raise UserError(answer.reason if isinstance(answer, Unusable) else f"the worker did not start: {answer}")

    def run(self) -> None:
        """Predict studies until the node ends."""
        job: Job | None = None
        while not self.stop.is_set():
            try:
                if job is not None:  # nothing could be noted of it
                    self.queue.postpone(job.study, "", 0)
                    job = None
                if self._process is None:
                    self.start()
                if (job := self.queue.take()) is not None:
                    self._predict(job)
                    job = None
                else:
                    self.stop.wait(LOOK_S)
            except Stopped:
                break
            except Exception as error:  # a full disk, for example: the node goes on when there is room
                logger.error("the worker: %s", error, exc_info=not isinstance(error, UserError))
                self.end()
                self.stop.wait(PAUSE_S)
        self.end()

    def end(self) -> None:
        """Kill the process with all that it has started."""
        if self._process is None or self._connection is None:
            return
        assert self._process.pid
        with suppress(ProcessLookupError):  # it has ended, or has no session of its own yet
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self._connection.close()
        self._process = self._connection = None

    def _predict(self, job: Job) -> None:
        assert self._connection is not None
        try:
            with suppress(BrokenPipeError):  # it ended while it was idle; the answer says so
                self._connection.send(job)
            answer = self._wait(self.job_s)
        except Stopped:
            self.queue.postpone(job.study, "", 0)
            raise
        if isinstance(answer, StudyOutcome):
            self.queue.finish(job, answer, deliver=self.deliver)
            say(
                f"study {job.study}: {len(answer.cases)} predicted{': ' * bool(answer.reason)}{answer.reason}",
                to_stderr=True,
            )
        elif isinstance(answer, NoRoom):
            self.queue.postpone(job.study, answer.reason, PAUSE_S)
            say(f"study {job.study}: {answer.reason}", to_stderr=True)
        else:
            reason = answer.reason if isinstance(answer, Fault) else str(answer)
            if not isinstance(answer, Fault):
                self.end()
            self.queue.count_crash(job.study, reason)
            say(f"study {job.study}: {reason}", to_stderr=True)

    def _wait(self, most_s: float) -> object:
        """Wait for an answer; a text says how the process ended instead, or that it took too long."""
        assert self._connection is not None
        assert self._process is not None
        deadline = time.monotonic() + most_s
        while not self._connection.poll(LOOK_S):
            if self.stop.is_set():
                raise Stopped
            if time.monotonic() > deadline:
                return f"it took longer than {most_s / 60:g} minutes"
        try:
            return self._connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join(PAUSE_S)
            return _describe_end(self._process.exitcode)


def _describe_end(code: int | None) -> str:
    if code is None or code >= 0:
        return f"the process that predicted it ended (exit status {code})"
    memory = ", as where memory runs out" if code == -signal.SIGKILL else ""
    return f"the process that predicted it was ended by {signal.Signals(-code).name}{memory}"
