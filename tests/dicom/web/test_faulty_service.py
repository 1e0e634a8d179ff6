"""Services that are busy, lie, come short or are none cost an object or a series, and say which."""

import io
import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from kicc_ml.core.errors import UserError
from kicc_ml.dicom.volume.read import read_volume
from kicc_ml.dicom.web import transport
from kicc_ml.dicom.web.service import fetch, index_web

pytestmark = pytest.mark.usefixtures("short_pauses")

Answer = tuple[int, str, bytes]


@dataclass
class Stub:
    """A service that says what it is told to: answers by the end of the path, the last of them again and again."""

    answers: dict[str, list[Answer]]
    url: str = ""
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str) -> Answer:
        self.asked.append(path)
        said = next((said for end, said in self.answers.items() if path.endswith(end)), [(404, "text/plain", b"")])
        return said.pop(0) if len(said) > 1 else said[0]


@pytest.fixture
def stub() -> Iterator[Stub]:
    service = Stub({})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, body = service.answer(self.path.partition("?")[0])
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    service.url = f"http://127.0.0.1:{server.server_port}/dicom-web"
    yield service
    server.shutdown()
    server.server_close()


def in_json(*datasets: Dataset) -> list[Answer]:
    items = [{tag: value for tag, value in one.to_json_dict().items() if tag != "7FE00010"} for one in datasets]
    return [(200, "application/dicom+json", json.dumps(items).encode())]


def in_one_part(content: bytes) -> list[Answer]:
    head = b"--cut\r\nContent-Type: application/dicom\r\n\r\n"
    return [(200, 'multipart/related; type="application/dicom"; boundary=cut', head + content + b"\r\n--cut--")]


@pytest.fixture
def radiograph(stub: Stub, write_cxr: Callable[..., Path]) -> bytes:
    """One radiograph that the stub lists; the bytes of its file."""
    path = write_cxr(np.arange(48, dtype=np.uint16).reshape(6, 8))
    dataset = pydicom.dcmread(path)
    found = in_json(dataset)
    stub.answers |= {"/studies": found, "/series": found, "/metadata": found}
    stub.answers[dataset.SOPInstanceUID] = in_one_part(path.read_bytes())
    return path.read_bytes()


BUSY = (503, "text/plain", b"busy")


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.usefixtures("radiograph")
def test_a_service_that_is_busy_for_a_moment_is_asked_again(stub: Stub, tmp_path: Path, status: int):
    for said in stub.answers.values():
        said.insert(0, (status, "text/plain", b"busy"))
    ((one,), rows) = index_web(stub.url, cache=tmp_path / "cache")
    fetch(one)
    assert (one.verdict, rows) == ("usable", [])
    assert read_volume(one).array[..., 0].T.tolist() == np.arange(48).reshape(6, 8).tolist()


@pytest.mark.usefixtures("radiograph")
def test_a_service_that_stays_busy_is_given_up_with_its_answer(stub: Stub, tmp_path: Path):
    stub.answers["/studies"] = [BUSY]
    with pytest.raises(UserError, match=r"answers 503 \(Service Unavailable\).*later"):
        index_web(stub.url, cache=tmp_path / "cache")
    assert len(stub.asked) == transport.MAX_ATTEMPTS


@pytest.mark.usefixtures("radiograph")
def test_a_series_that_is_not_handed_out_is_a_row_and_not_the_end(stub: Stub, tmp_path: Path):
    stub.answers["/metadata"] = [BUSY]
    series, rows = index_web(stub.url, cache=tmp_path / "cache")
    assert (series, [row.reason for row in rows]) == ([], ["not_served"])


def test_slices_with_a_series_each_are_put_together_and_read(
    stub: Stub, tmp_path: Path, write_ct: Callable[..., list[Path]]
):
    paths = write_ct([5 * number for number in range(12)])
    slices = [pydicom.dcmread(path) for path in paths]
    for path, one in zip(paths, slices, strict=True):
        one.SeriesInstanceUID = generate_uid()
        one.save_as(path)
        stub.answers[f"{one.SeriesInstanceUID}/metadata"] = in_json(one)
        stub.answers[one.SOPInstanceUID] = in_one_part(path.read_bytes())
    stub.answers |= {"/studies": in_json(slices[0]), "/series": in_json(*slices)}
    ((one,), rows) = index_web(stub.url, cache=tmp_path / "cache")
    assert (one.verdict, one.reasons, one.slices, rows) == ("repaired", ("uid_per_slice",), 12, [])
    assert read_volume(one).array[0, 0].tolist() == list(range(-24, -12))


def test_an_object_that_has_to_be_looked_into_and_is_not_handed_out_costs_its_series_alone(
    stub: Stub, radiograph: bytes, tmp_path: Path, write_ct: Callable[..., list[Path]]
):
    film = pydicom.dcmread(io.BytesIO(radiograph))
    uid = generate_uid()
    same = {"StudyInstanceUID": film.StudyInstanceUID, "SeriesInstanceUID": uid, "PatientID": film.PatientID}
    doubled = [pydicom.dcmread(path) for path in write_ct((0, 5, 10), **same) + write_ct((0,), name="again", **same)]
    stub.answers = {
        "/studies": in_json(film),
        "/series": in_json(film, doubled[0]),
        f"{film.SeriesInstanceUID}/metadata": in_json(film),
        f"{uid}/metadata": in_json(*doubled),
    }
    series, rows = index_web(stub.url, cache=tmp_path / "cache")
    assert [(one.modality, one.verdict) for one in series] == [("CXR", "usable")]
    assert [row.reason for row in rows] == ["not_served"]


def test_an_object_that_comes_short_is_not_kept(stub: Stub, radiograph: bytes, tmp_path: Path):
    ((one,), _) = index_web(stub.url, cache=tmp_path / "cache")
    (path,) = one.files
    stub.answers = {"": in_one_part(radiograph[:-20])}
    with pytest.raises(UserError, match=r"came incomplete \(truncated\); fetch again"):
        fetch(one)
    assert [file.name for file in path.parent.iterdir()] == ["uids.json"]


def test_another_object_than_was_asked_for_is_not_kept(
    stub: Stub, radiograph: bytes, tmp_path: Path, write_ct: Callable[..., list[Path]]
):
    ((one,), _) = index_web(stub.url, cache=tmp_path / "cache")
    stub.answers = {"": in_one_part(write_ct()[0].read_bytes())}
    with pytest.raises(UserError, match="another object"):
        fetch(one)
    assert not one.files[0].exists()


@pytest.mark.usefixtures("radiograph")
def test_a_value_that_is_none_costs_one_object(stub: Stub, tmp_path: Path):
    ((status, kind, body),) = stub.answers["/metadata"]
    good, bad = json.loads(body)[0], json.loads(body)[0]
    bad |= {"00280010": {"vr": "US", "Value": ["six"]}, "00080018": {"vr": "UI", "Value": ["1.2.3.4"]}}
    stub.answers["/metadata"] = [(status, kind, json.dumps([good, bad]).encode())]
    series, rows = index_web(stub.url, cache=tmp_path / "cache")
    assert ([one.verdict for one in series], [row.reason for row in rows]) == (["usable"], ["unreadable"])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, "text/html", b"<html>sign in"), "not DICOMweb"),
        ((200, "application/json", b'{"error": 1}'), "not DICOMweb"),
        ((404, "text/plain", b""), r"answers 404.*check the address"),
        ((403, "text/plain", b""), r"answers 403.*administrator"),
    ],
)
def test_what_is_no_dicomweb_is_said_to_be_none(stub: Stub, tmp_path: Path, answer: Answer, said: str):
    stub.answers = {"": [answer]}
    with pytest.raises(UserError, match=said) as caught:
        index_web(stub.url, cache=tmp_path / "cache")
    assert str(caught.value).startswith(stub.url)


def test_a_service_that_ignores_the_offset_is_not_asked_for_ever(stub: Stub, radiograph: bytes, tmp_path: Path):
    index_web(stub.url, cache=tmp_path / "cache")
    assert sum(path.endswith("/studies") for path in stub.asked) == 2


def test_nobody_at_the_address_is_said_to_be_nobody(tmp_path: Path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(UserError, match="does not answer; check address and network"):
            index_web(url, cache=tmp_path / "cache")


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl to make a certificate with")
def test_a_certificate_nobody_vouches_for_is_refused(tmp_path: Path):
    made = ["-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(["openssl", "req", "-x509", *made], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *about: None  # the refusal, seen from the other side
    Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(UserError, match=r"certificate is not trusted.*REQUESTS_CA_BUNDLE"):
        index_web(f"https://127.0.0.1:{server.server_port}", cache=tmp_path / "cache")
    server.shutdown()
    server.server_close()


def test_a_password_in_the_address_is_refused_and_not_repeated(tmp_path: Path):
    with pytest.raises(UserError, match="netrc") as caught:
        index_web("https://reader:hunter2@pacs.example/dicom-web", cache=tmp_path / "cache")
    assert "hunter2" not in str(caught.value)
    assert "reader" not in str(caught.value)
