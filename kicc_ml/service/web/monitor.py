"""What monitoring asks a node: whether it is alive, and what lies in its queue, as text of Prometheus."""

import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from kicc_ml.service.intake import Folders
from kicc_ml.service.queue import StudyQueue
from kicc_ml.service.web.access import Asked

TEXT = "text/plain; version=0.0.4; charset=utf-8"
WAITING_S = "SELECT MIN(changed) AS since FROM study WHERE state = 'waiting'"
UNDELIVERED = "SELECT COUNT(*) AS count, MAX(tries) AS tries FROM delivery WHERE delivered IS NULL"


@dataclass(frozen=True)
class Monitor:
    """Answers monitoring. ``min_free_bytes`` of the disk stay free: with less, no study is taken in."""

    queue: StudyQueue
    folders: Folders
    min_free_bytes: int

    def send_health(self, request: Request) -> Response:
        """Say whether the node is alive, to everybody; ``room`` is false while no study is taken in."""
        try:
            self.queue.count_states()
            room = shutil.disk_usage(self.folders.root).free > self.min_free_bytes
        except Exception:  # of the database or the disk: whatever it is, the node cannot work
            return JSONResponse({"status": "failing"}, 503)
        return JSONResponse({"status": "ok", "room": room})

    def send_metrics(self, asked: Asked) -> Response:
        """Send the state of the queue."""
        return PlainTextResponse("".join(self._list_metrics()), media_type=TEXT)

    def _list_metrics(self) -> Iterator[str]:
        states = {f'{{state="{state}"}}': count for state, count in self.queue.count_states().items()}
        yield _format("kicc_studies", "Studies of the node by state.", states)
        (waiting,) = self.queue.database.read(WAITING_S)
        since = time.time() - waiting["since"] if waiting["since"] is not None else 0
        yield _format(
            "kicc_longest_wait_seconds", "Time that the first study waits for a worker.", {"": round(since, 1)}
        )
        (open_objects,) = self.queue.database.read(UNDELIVERED)
        yield _format("kicc_undelivered_objects", "Objects not yet in the PACS.", {"": open_objects["count"]})
        yield _format("kicc_most_delivery_tries", "Failed tries of one of them.", {"": open_objects["tries"] or 0})
        free = shutil.disk_usage(self.folders.root).free
        yield _format("kicc_free_disk_bytes", "Free disk of the folder of the node.", {"": free})
        yield _format("kicc_min_free_disk_bytes", "Below this no study is taken in.", {"": self.min_free_bytes})


def _format(name: str, meaning: str, values: Mapping[str, float]) -> str:
    lines = [f"# HELP {name} {meaning}", f"# TYPE {name} gauge"]
    return "\n".join([*lines, *(f"{name}{labels} {value}" for labels, value in values.items())]) + "\n"
