"""A node whose prediction is a fake: at once, or as the patient ID of a study says. ``python -m`` starts it."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pydicom
from pydicom.uid import generate_uid

from kicc_ml.apps.site_file import read_site_file
from kicc_ml.core.errors import TargetError, UserError
from kicc_ml.service.intake import Folders
from kicc_ml.service.node import Node, open_node
from kicc_ml.service.queue import CaseResult, Job, StudyOutcome
from kicc_ml.service.settings import SiteSettings
from kicc_ml.service.worker_process import Predict
from tests.support.loopback_pacs import is_listening, wait_until
from tests.support.plain_slices import slice_dataset, write

#: Objects of each result.
KINDS = ("segmentation", "report")
IMAGE = np.zeros((4, 4), np.uint16)


@dataclass(frozen=True)
class FakePredictor:
    """Makes a predictor, in the process of a worker."""

    folders: Folders
    seconds: float = 0.0

    def __call__(self) -> Predict:
        return self.predict

    def predict(self, job: Job) -> StudyOutcome:
        """One result of all images of a study, unless the patient ID asks for something else."""
        paths = sorted((self.folders.received / str(job.study)).glob("*.dcm"))
        images = [pydicom.dcmread(path) for path in paths]
        _do_as_told(str(images[0].PatientID))
        time.sleep(self.seconds)
        case_id = f"case-{job.study}"
        objects = {}
        for kind in KINDS:
            sop = make_result_uid([image.SOPInstanceUID for image in images], kind)
            path = self.folders.results / case_id / "dicom" / f"{kind}.dcm"
            path.unlink(missing_ok=True)
            write(path, IMAGE, SOPInstanceUID=sop)
            objects[sop] = str(path.relative_to(self.folders.results))
        result = CaseResult(case_id, "/".join(path.name for path in paths), "CT", {"n": len(images)}, objects=objects)
        return StudyOutcome(job.study, [result])


@contextmanager
def running_node(
    settings: SiteSettings,
    is_up: Callable[[], object] | None = None,
    make_predict: Callable[[Folders], Callable[[], Predict]] = FakePredictor,
) -> Iterator[Node]:
    """Run a node in a thread; its port is open when the block begins, or what ``is_up`` asks for holds."""
    with open_node(settings, Event()) as node:
        thread = Thread(target=lambda: node.run([make_predict(node.folders)]))
        thread.start()
        try:
            wait_until(is_up or (lambda: is_listening(settings.dicom.port)))
            yield node
        finally:
            node.stop.set()
            thread.join()


def make_result_uid(sops: list[str], kind: str) -> str:
    """The UID of an object of a fake result of these images."""
    return str(generate_uid(entropy_srcs=[*sorted(map(str, sops)), kind]))


def make_study(number: int, images: int = 2, **tags: object) -> list[pydicom.Dataset]:
    """The images of a study, which have no two UIDs in common with those of another number."""
    return [
        slice_dataset(IMAGE, StudyInstanceUID=f"1.2.{number}", SOPInstanceUID=f"1.2.{number}.{image}", **tags)
        for image in range(1, images + 1)
    ]


def list_result_uids(study: list[pydicom.Dataset]) -> list[str]:
    """The UIDs of the objects of the result of a study."""
    return [make_result_uid([image.SOPInstanceUID for image in study], kind) for kind in KINDS]


def _do_as_told(patient: str) -> None:
    if patient == "CRASH":
        os.kill(os.getpid(), signal.SIGKILL)
    if patient == "HANG":
        time.sleep(3600)
    if patient == "FULL":
        raise TargetError("results cannot be written: No space left on device")
    if patient == "REFUSED":
        raise UserError("no lungs were found")
    if patient == "FAULT":
        raise ZeroDivisionError("of a test")


def main(config: Path, seconds: float) -> None:
    """Run a node of these settings until SIGTERM."""
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with open_node(read_site_file(config), stop) as node:
        node.run([FakePredictor(node.folders, seconds) for _ in node.settings.worker.devices])


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
