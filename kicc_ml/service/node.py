"""A hospital node: takes studies in, has them predicted, delivers the results, and removes what is old."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from kicc_ml.core.errors import TargetError, UserError
from kicc_ml.core.files import make_folder
from kicc_ml.core.locks import hold
from kicc_ml.core.shown import say
from kicc_ml.service.audit import STARTED, STOPPED, AuditLog
from kicc_ml.service.database import Database
from kicc_ml.service.delivery import Delivery
from kicc_ml.service.dicom_node import DicomNode
from kicc_ml.service.intake import Folders, Intake
from kicc_ml.service.outbox import Outbox
from kicc_ml.service.queue import StudyLimits, StudyQueue
from kicc_ml.service.retention import Retention
from kicc_ml.service.settings import SiteSettings
from kicc_ml.service.worker_process import Predict
from kicc_ml.service.workers import Stopped, Worker

logger = logging.getLogger(__name__)

DATABASE = "node.sqlite"
TICK_S = 0.5
RETENTION_EVERY_S = 60.0
#: The threads of an ending node have so long to note what they have done.
END_S = 60.0


@dataclass(frozen=True)
class Node:
    """The parts of a node that share its queue and its folders. ``stop`` is set where it shall end."""

    settings: SiteSettings
    folders: Folders
    queue: StudyQueue
    stop: Event

    @property
    def intake(self) -> Intake:
        """What takes objects in, within the limits of the settings."""
        study = self.settings.study
        limits = StudyLimits(study.max_instances, study.max_in_flight)
        room = int(self.settings.retention.min_free_gib * 2**30)
        return Intake(self.queue, self.folders, limits, room, self.settings.identified)

    def run(self, make_predicts: Sequence[Callable[[], Predict]], page: Callable[[], None] | None = None) -> None:
        """Run until ``stop`` is set.

        Args:
            make_predicts: for each worker what loads its runs.
            page: serves the worklist page until ``stop`` is set; None for no page.

        Raises:
            UserError: a run or a certificate cannot be used, or a port is taken.
            TargetError: the begin cannot be noted in the audit log.
        """
        intake = self.intake
        port = DicomNode(self.settings.dicom, intake)
        self.queue.recover()
        retention = Retention(self.queue.database, self.folders, self.settings.retention)
        with suppress(Stopped), self._noted(), self._started_workers(make_predicts) as workers:
            retention.remove_unknown()
            intake.remove_unknown_files(retention.list_known_files())
            with port.running() as dicom:
                work = [worker.run for worker in workers] + [self._make_delivery().run] * self.settings.pacs.is_named
                with self._running([*work, *([page] if page else [])]):
                    say(self._describe_ports(page is not None), to_stderr=True)
                    self._watch(dicom, retention)

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """Note the begin and the end of the node in the audit log."""
        audit = AuditLog(self.folders.audit_log)
        audit.note_own(STARTED)
        try:
            yield
        finally:
            try:
                audit.note_own(STOPPED)
            except TargetError as error:  # the node ends all the same
                logger.warning("%s", error)

    @contextmanager
    def _started_workers(self, make_predicts: Sequence[Callable[[], Predict]]) -> Iterator[list[Worker]]:
        deliver, job_s = self.settings.pacs.is_named, 60 * self.settings.worker.job_minutes
        locks = [self.folders.root / f".worker-{number}.lock" for number in range(len(make_predicts))]
        workers = [
            Worker(self.queue, make, lock, job_s, deliver, self.stop)
            for make, lock in zip(make_predicts, locks, strict=True)
        ]
        try:
            for worker in workers:
                worker.start()
            yield workers
        finally:
            self.stop.set()
            for worker in workers:
                worker.end()

    @contextmanager
    def _running(self, work: Sequence[Callable[[], None]]) -> Iterator[None]:
        faults: list[Exception] = []

        def do(one: Callable[[], None]) -> None:
            """Do some work; the node ends with it where it cannot be done."""
            try:
                one()
            except Exception as error:
                faults.append(error)
                self.stop.set()

        threads = [Thread(target=do, args=(one,), daemon=True) for one in work]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            deadline = time.monotonic() + END_S
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))
        if faults:
            raise faults[0]

    def _make_delivery(self) -> Delivery:
        outbox = Outbox(self.queue.database)
        return Delivery(outbox, self.folders, self.settings.dicom, self.settings.pacs, self.stop)

    def _watch(self, dicom: DicomNode, retention: Retention) -> None:
        """Do what has to be done now and then, until the node shall end."""
        study, cleared = self.settings.study, -RETENTION_EVERY_S
        while not self.stop.is_set():
            try:
                self.queue.close_complete(study.quiet_s, study.complete_at)
                dicom.close_stuck()
                if time.monotonic() - cleared >= RETENTION_EVERY_S:
                    retention.remove_old()
                    cleared = time.monotonic()
            except Exception:  # a full disk, for example: the node goes on when there is room
                logger.exception("the node")
            self.stop.wait(TICK_S)

    def _describe_ports(self, page: bool) -> str:
        dicom, web = self.settings.dicom, self.settings.web
        place = f", page on http://{web.host}:{web.port}{web.proxy_path}" if page else ""
        return f"ready: {dicom.title} on {dicom.host}:{dicom.port}{place}"


@contextmanager
def open_node(settings: SiteSettings, stop: Event) -> Iterator[Node]:
    """Open the folder of a node, which nobody but its user can enter, and its database.

    Raises:
        UserError: another node has it, or it is a folder of something else.
    """
    folders = Folders(settings.folder)
    _check_own(settings.folder)
    make_folder(settings.folder, private=True)
    with hold(settings.folder / ".lock", f"the folder of the node {settings.folder}"):
        folders.make()
        database = Database(settings.folder / DATABASE)
        try:
            yield Node(settings, folders, StudyQueue(database), stop)
        finally:
            database.close()


def _check_own(folder: Path) -> None:
    """Check that nothing of somebody else lies in a folder, since what the node does not know is removed."""
    try:
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")} if folder.exists() else set()
    except OSError as error:
        raise UserError(f"folder: {folder} cannot be read: {error.strerror}") from error
    if names and DATABASE not in names:
        raise UserError(f"folder: {folder} holds other things than a node; name a new folder in the configuration")
