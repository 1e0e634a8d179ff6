"""``kicc-ml serve``: a node of a hospital, which predicts the studies that are sent to it."""

import signal
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from kicc_ml.apps.cli_runs import OutcomeRun, ScoreRun, Table, Trust
from kicc_ml.core.errors import UserError
from kicc_ml.core.help_pages import EXTRAS
from kicc_ml.core.shown import say

if TYPE_CHECKING:
    from kicc_ml.service.node import Node

Runs = Annotated[
    list[Path], typer.Option("--run", help="run folder of a segmentation run; one for CT, one for radiographs")
]
Config = Annotated[Path, typer.Option(help="site.yaml with ports, senders, PACS, retention (docs/hospital-node.md)")]

#: Libraries of the extra ``serve``.
LIBRARIES = ("pynetdicom", "starlette", "uvicorn", "argon2")


def serve(
    run: Runs,
    config: Config,
    outcome_run: OutcomeRun = None,
    clinical: Table = None,
    score_run: ScoreRun = None,
    trust: Trust = None,
) -> None:
    """Run a DICOM node: it predicts each study that is sent to it, and delivers the results to the PACS.

    It runs until it is ended (SIGTERM or Ctrl-C), and goes on where it was, also after a kill. Its folder holds names,
    numbers and images of patients: nobody but the user can enter it.
    """
    if missing := [name for name in LIBRARIES if find_spec(name) is None]:
        raise UserError(
            f"kicc-ml serve needs {', '.join(missing)}; install it with: pip install 'kicc_ml[serve]'", page=EXTRAS
        )
    from kicc_ml.apps.site_file import read_site_file
    from kicc_ml.service.node import open_node
    from kicc_ml.service.worker_process import PredictorOfRuns, RunNames

    settings, stop = read_site_file(config), Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    names = partial(RunNames, tuple(run), outcome_run, clinical, score_run, tuple(trust or ()))
    with open_node(settings, stop) as node:
        say(
            f"{settings.folder} holds names, numbers and images of patients: keep it inside the hospital",
            to_stderr=True,
        )
        say("loading the networks ...", to_stderr=True)
        node.run(
            [
                PredictorOfRuns(names(device, settings.worker.fast), node.folders, settings.identified)
                for device in settings.worker.devices
            ],
            _make_page(node),
        )
    say("ended")


def _make_page(node: "Node") -> Callable[[], None] | None:
    """Make the call that serves the worklist page; None if the settings name no port for it."""
    if not node.settings.web.port:
        return None
    from kicc_ml.service.page_server import make_page_server
    from kicc_ml.service.web.app import make_app

    return make_page_server(make_app(node.settings, node.queue, node.folders), node.settings.web, node.stop)
