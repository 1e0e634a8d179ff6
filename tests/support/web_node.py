"""A worklist page over studies that a test puts into the queue, and clients that are logged in."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread
from types import MappingProxyType

import yaml
from argon2 import PasswordHasher
from starlette.applications import Starlette
from starlette.testclient import TestClient

from kicc_ml.service.database import Database
from kicc_ml.service.intake import Folders
from kicc_ml.service.page_server import make_page_server
from kicc_ml.service.queue import CaseResult, StudyLimits, StudyOutcome, StudyQueue
from kicc_ml.service.settings import DicomSettings, RetentionSettings, SiteSettings, WebSettings
from kicc_ml.service.web.app import make_app
from tests.support.loopback_pacs import find_free_port

LIMITS = StudyLimits(instances=1000, in_flight=1000)
PASSWORD, TOKEN = "a password of a test", "0123456789abcdef0123456789abcdef"
#: Cheap hashes: what they cost an attacker is no matter of a test.
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


@dataclass(frozen=True)
class WebNode:
    """The parts of a node that its page needs."""

    settings: SiteSettings
    queue: StudyQueue
    folders: Folders
    app: Starlette

    @property
    def audit(self) -> str:
        """All that was noted."""
        path = self.folders.root / "audit.jsonl"
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def add_study(
        self, uid: str, *results: CaseResult, reason: str = "", crashed: bool = False, deliver: bool = False, **identity
    ) -> int:
        """Put a study into the queue whose prediction ended so; return its number."""
        study = self.queue.find_or_add(uid, identity, LIMITS)
        (self.folders.received / str(study)).mkdir()
        (self.folders.received / str(study) / "a.dcm").write_bytes(b"pixels")
        self.queue.add_instance(study, f"{uid}.1", "a.dcm", 6)
        self.queue.close_complete(0, None)
        for _ in range(2 if crashed else 1):
            job = self.queue.take()
            assert job is not None
            if crashed:
                self.queue.count_crash(study, reason)
            else:
                self.queue.finish(job, StudyOutcome(study, results, reason), deliver=deliver)
        for result in results:
            (self.folders.results / result.case_id).mkdir()
        return study

    def log_in(self, name: str = "", base_url: str = "http://testserver", way: str = "") -> TestClient:
        """A client; with a name, somebody who is logged in."""
        client = TestClient(self.app, base_url, headers={"Accept": "text/html"}, client=("10.0.0.7", 50000))
        if name:
            form = {"user": name, "password": PASSWORD, "form_token": find_form_token(client.get(f"{way}/login").text)}
            answer = client.post(f"{way}/login", data=form, follow_redirects=False)
            assert answer.status_code == 303, answer.text
        return client


def make_web_node(
    folder: Path, *, identified: bool = True, min_free_gib: float = 20.0, object_mib: int = 1024, **web
) -> WebNode:
    """Make a node with a viewer, an operator and a token."""
    users, token = folder / "users.yaml", folder / "token"
    roles = {"vera": "viewer", "otto": "operator"}
    users.write_text(yaml.safe_dump([{"name": n, "role": r, "password": HASH} for n, r in roles.items()]))
    token.write_text(TOKEN + "\n")
    for path in (users, token):
        path.chmod(0o600)
    folders = Folders(folder / "node")
    folders.make()
    settings = SiteSettings(
        folders.root,
        identified=identified,
        dicom=DicomSettings(senders=["PACS"], object_mib=object_mib),
        retention=RetentionSettings(min_free_gib=min_free_gib),
        web=WebSettings(**{"users": users, "token": token} | web),
    )
    queue = StudyQueue(Database(folders.root / "node.sqlite"))
    return WebNode(settings, queue, folders, make_app(settings, queue, folders))


def find_form_token(html: str) -> str:
    """The token in the first form of a page."""
    found = re.search(r'name="form_token" value="([0-9a-f]+)"', html)
    assert found is not None, html
    return found[1]


def make_result(
    case_id: str,
    score: float | None = None,
    modality: str = "CT",
    prior: str = "",
    objects: Mapping[str, str] = MappingProxyType({}),
    **severity,
) -> CaseResult:
    """A result with this severity score, or with none."""
    return CaseResult(case_id, case_id, modality, {"severity_score": score, **severity}, (), prior, objects)


@contextmanager
def running_page(node: WebNode) -> Iterator[str]:
    """Serve the page of a node on loopback; yields its address."""
    web, stop = replace(node.settings.web, port=find_free_port()), Event()
    thread = Thread(target=make_page_server(node.app, web, stop), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{web.port}{node.settings.web.proxy_path}/"
    finally:
        stop.set()
        thread.join(30)


def enter(page, address: str, name: str) -> None:
    """Log in with a browser."""
    page.goto(address)
    page.fill("input[name=user]", name)
    page.fill("input[name=password]", PASSWORD)
    page.click("button.main")
    page.wait_for_selector("#worklist[data-ready=yes]")
