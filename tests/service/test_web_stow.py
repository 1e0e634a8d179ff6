"""What a program sends by STOW-RS is taken in as what a sender stores by C-STORE, within the same limits."""

from pathlib import Path

import numpy as np
import pytest

from kicc_ml.service.intake import Intake
from kicc_ml.service.web.stow import BLOCK_BYTES, ROOM_EVERY_BYTES
from kicc_ml.service.worklist import read_studies
from tests.support.plain_slices import write
from tests.support.web_node import TOKEN, WebNode, make_web_node

BEARER = {"Authorization": f"Bearer {TOKEN}"}
RELATED = 'multipart/related; type="application/dicom"; boundary=cut'


@pytest.fixture
def node(tmp_path: Path) -> WebNode:
    return make_web_node(tmp_path, min_free_gib=0)


def make_object(folder: Path, sop: str, study: str = "1.2.3", **tags: str) -> bytes:
    path = folder / "object.dcm"
    path.unlink(missing_ok=True)
    write(path, np.zeros((4, 4), np.uint16), SOPInstanceUID=sop, StudyInstanceUID=study, **tags)
    return path.read_bytes()


def make_body(*objects: bytes) -> bytes:
    parts = [b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + one + b"\r\n" for one in objects]
    return b"".join(parts) + b"--cut--\r\n"


def send(node: WebNode, body: bytes, kind: str = RELATED, headers: dict[str, str] = BEARER):
    return node.log_in().post("/dicom-web/studies", content=body, headers={"Content-Type": kind, **headers})


def left(node: WebNode) -> list[Path]:
    return list(node.folders.incoming.iterdir())


def test_objects_are_in_queue_and_folder_and_sent_twice_they_are_there_once(node: WebNode, tmp_path: Path):
    one, two = make_object(tmp_path, "1.1"), make_object(tmp_path, "1.2")
    answer = send(node, make_body(one, two))
    assert answer.status_code == 200
    assert [item["00081155"]["Value"] for item in answer.json()["00081199"]["Value"]] == [["1.1"], ["1.2"]]
    assert send(node, make_body(one)).status_code == 200
    (entry,) = read_studies(node.queue)
    assert (entry.uid, entry.instances, entry.state) == ("1.2.3", 2, "receiving")
    kept = sorted(path.read_bytes() for path in (node.folders.received / str(entry.study)).glob("*.dcm"))
    assert kept == sorted([one, two])
    assert left(node) == []
    assert '"110104"' in node.audit


def test_another_object_of_a_known_uid_is_refused_with_a_failure_reason(node: WebNode, tmp_path: Path):
    assert send(node, make_body(make_object(tmp_path, "1.1"))).status_code == 200
    answer = send(node, make_body(make_object(tmp_path, "1.1", PatientID="B-2"), make_object(tmp_path, "1.2")))
    assert answer.status_code == 202
    (failed,) = answer.json()["00081198"]["Value"]
    assert (failed["00081155"]["Value"], failed["00081197"]["Value"]) == (["1.1"], [0xC001])
    assert len(list(node.folders.received.glob("*/*.dcm"))) == 2


def test_of_a_mixture_what_is_dicom_is_stored_and_the_rest_is_told(node: WebNode, tmp_path: Path):
    evil = make_object(tmp_path, "1.3").replace(b"1.2.3", b"../.a")
    answer = send(node, make_body(b"no DICOM", make_object(tmp_path, "1.1"), evil))
    assert answer.status_code == 202
    told = answer.json()
    assert [item["00081155"]["Value"] for item in told["00081199"]["Value"]] == [["1.1"]]
    assert [item["00081197"]["Value"] for item in told["00081198"]["Value"]] == [[0xC000], [0xC000]]
    assert send(node, make_body(b"no DICOM")).status_code == 409
    assert left(node) == []


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"--cut\r\n\r\nabc", RELATED, 400),
        (b"nothing of it", RELATED, 400),
        (b"", "application/dicom", 415),
        (b"", 'multipart/related; type="application/dicom"', 400),
        (b"", 'multipart/related; type="image/jpeg"; boundary=cut', 415),
        (b"", f"multipart/related; boundary={'a' * 100}", 400),
    ],
)
def test_another_or_a_damaged_body_is_refused_and_nothing_is_left(node: WebNode, body: bytes, kind: str, status: int):
    assert send(node, body, kind).status_code == status
    assert (left(node), read_studies(node.queue)) == ([], [])


def test_an_object_that_is_too_large_is_refused_while_it_comes(tmp_path: Path):
    node = make_web_node(tmp_path, min_free_gib=0, object_mib=1)
    assert send(node, make_body(b"a" * (2**20 + 1))).status_code == 413
    assert send(node, make_body(*[make_object(tmp_path, f"1.{n}") for n in range(3)])).status_code == 200
    assert left(node) == []


def test_a_full_disk_is_said_as_such(tmp_path: Path):
    node = make_web_node(tmp_path, min_free_gib=1e9)
    answer = send(node, make_body(make_object(tmp_path, "1.1")))
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)


def test_only_the_token_lets_anything_in(node: WebNode, tmp_path: Path):
    body = make_body(make_object(tmp_path, "1.1"))
    assert send(node, body, headers={}).status_code == 401
    assert send(node, body, headers={"Authorization": "Bearer wrong"}).status_code == 401
    answer = node.log_in("otto").post("/dicom-web/studies", content=body, headers={"Content-Type": RELATED})
    assert answer.status_code == 403
    assert read_studies(node.queue) == []


def test_a_large_object_is_not_written_on_while_the_disk_fills(node: WebNode, monkeypatch: pytest.MonkeyPatch):
    written = []

    def has_room(intake: Intake) -> bool:
        """As on a disk that has two MiB."""
        written.append(sum(path.stat().st_size for path in intake.folders.incoming.iterdir()))
        return written[-1] < 2 * 2**20

    monkeypatch.setattr(Intake, "has_room", property(has_room))
    assert send(node, make_body(b"a" * 16 * 2**20)).status_code == 503
    assert max(written) < 2 * 2**20 + 2 * ROOM_EVERY_BYTES
    assert left(node) == []


def test_the_disk_is_looked_at_once_for_many_small_parts(node: WebNode, monkeypatch: pytest.MonkeyPatch):
    looked = []
    monkeypatch.setattr(Intake, "has_room", property(lambda intake: not looked.append(1)))
    assert send(node, make_body(*[b"no DICOM"] * 300)).status_code == 409
    assert len(looked) <= 1 + 300 * (BLOCK_BYTES + 8) / ROOM_EVERY_BYTES
