"""A DICOMweb service is indexed and read like a folder; the service is a real Orthanc unless it has to misbehave."""

import io
import json
import logging
import os
import pickle
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pydicom
import pytest
import requests
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from kicc_ml.core.errors import UserError
from kicc_ml.core.pseudonym import load_repository_key, load_service_key, make_pseudonym
from kicc_ml.core.types import Series
from kicc_ml.dicom.header.read import read_headers
from kicc_ml.dicom.index.build import index_repository, index_sources
from kicc_ml.dicom.index.table import make_undated_index_table
from kicc_ml.dicom.volume.read import read_volume
from kicc_ml.dicom.web import service as web
from kicc_ml.dicom.web import transport
from kicc_ml.dicom.web.service import fetch, index_web
from kicc_ml.synthetic.repository import synthesize
from tests.support.orthanc import PASSWORD, USER, Orthanc, running_orthanc
from tests.support.phantom_files import write_enhanced
from tests.support.phantoms import Grid, even_mm

SITE = "daegu-1"
#: What the metadata of Orthanc 1.10 does not tell, and what names the place a series lies at.
DIFFERS = {"files", "origin", "transfer_syntax"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One hospital of four patients with the habits of all: localizers, dose pages, doubled slices."""
    root = tmp_path_factory.mktemp("repository")
    synthesize(root, "demo", seed=3, matrix=32, slices=12, patients=4, sites=1)
    return root


@pytest.fixture(scope="module")
def pushed(orthanc: Orthanc, repository: Path) -> Orthanc:
    orthanc.store(sorted(path for path in (repository / SITE).rglob("*") if path.is_file()))
    return orthanc


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A netrc that lets this user in."""
    write_netrc(tmp_path / "netrc", PASSWORD, monkeypatch)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "PAUSE_S", 0.001)


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses asked for from now on, in order."""
    asked: list[str] = []
    get = requests.Session.get

    def counting(self: requests.Session, url: str, **kwargs: object) -> requests.Response:
        asked.append(url)
        return get(self, url, **kwargs)

    monkeypatch.setattr(requests.Session, "get", counting)
    return asked


def write_netrc(path: Path, password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(f'machine 127.0.0.1 login {USER} password "{password}"\n')
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))


def objects(urls: list[str]) -> list[str]:
    """The requests for a whole object."""
    return [url for url in urls if "/instances/" in url and not url.endswith("/metadata")]


def uids(root: Path) -> set[str]:
    """Every UID, patient id and part of a name that the files under ``root`` hold."""
    found = set()
    for path in root.rglob("*"):
        if path.is_file() and (dataset := pydicom.dcmread(path, stop_before_pixels=True)):
            found |= {dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID, dataset.PatientID}
            found |= set(str(dataset.PatientName).replace("=", "^").split("^")) - {""}
    return found


@pytest.mark.usefixtures("known")
def test_a_hospital_pushed_by_stow_is_indexed_as_from_disk(
    pushed: Orthanc, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    key = load_repository_key(repository)
    monkeypatch.setattr(web, "load_service_key", lambda url: key)  # the same pseudonyms on both sides
    from_web, _ = index_web(pushed.url, cache=tmp_path / "cache", site=SITE)
    from_disk = index_repository(repository)
    assert {one.modality for one in from_disk} == {"CT", "CXR"}
    other = {one.uid: one for one in from_web}
    assert other.keys() == {one.uid for one in from_disk}
    for one in from_disk:
        for name in {one.name for one in fields(Series)} - DIFFERS:
            assert without_doubles(getattr(other[one.uid], name)) == without_doubles(getattr(one, name)), name
        assert [path.stem for path in other[one.uid].files] == [sop(path, key) for path in one.files]


def without_doubles(value: object) -> object:
    """Reasons less that of an object filed twice, which is one object on a service."""
    return tuple(one for one in value if one != "duplicate_slice") if isinstance(value, tuple) else value


def sop(path: Path, key: bytes) -> str:
    return make_pseudonym(key, pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)


@pytest.mark.usefixtures("known")
def test_volumes_read_from_the_service_equal_those_from_disk(
    pushed: Orthanc, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    key = load_repository_key(repository)
    monkeypatch.setattr(web, "load_service_key", lambda url: key)
    usable = {one.uid: one for one in index_web(pushed.url, cache=tmp_path / "cache", site=SITE)[0] if one.usable}
    assert len(usable) >= 6
    for from_disk in (one for one in index_repository(repository) if one.usable):
        here, there = read_volume(usable[from_disk.uid]), read_volume(from_disk)
        np.testing.assert_array_equal(here.array, there.array)
        np.testing.assert_array_equal(here.affine_ras, there.affine_ras)
        assert syntaxes(usable[from_disk.uid]) == syntaxes(from_disk), "transcoded on the way"


def syntaxes(series: Series) -> list[str]:
    return [pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID for path in series.files]


@pytest.mark.usefixtures("known")
def test_an_index_asks_for_no_object_but_those_at_one_place(
    orthanc: Orthanc, tmp_path: Path, write_ct: Callable[..., list[Path]], requested: list[str]
):
    series_uid = generate_uid()
    again = {"SeriesInstanceUID": series_uid, "PatientID": "of two slices at one place"}
    orthanc.store(write_ct((0, 5, 10, 15, 20), **again) + write_ct((0,), name="again", **again))
    requested.clear()
    series, rows = index_web(orthanc.url, cache=tmp_path / "cache", site="busan")
    (mine,) = [one for one in series if one.uid == make_pseudonym(load_service_key(orthanc.url), series_uid)]
    assert (mine.slices, mine.verdict, mine.reasons) == (5, "repaired", ("duplicate_slice",))
    assert len([url for url in objects(requested) if series_uid in url]) == 2
    assert [row.reason for row in rows if row.path.parent == mine.files[0].parent] == ["duplicate_slice"]


@pytest.fixture
def scan(orthanc: Orthanc, tmp_path: Path, write_ct: Callable[..., list[Path]], known: None) -> Series:
    """A CT of twelve slices on the service, indexed and not fetched."""
    uid = generate_uid()
    orthanc.store(write_ct([5 * k for k in range(12)], StudyInstanceUID=generate_uid(), SeriesInstanceUID=uid))
    series, _ = index_web(orthanc.url, cache=tmp_path / "cache", site="busan")
    return next(one for one in series if one.uid == make_pseudonym(load_service_key(orthanc.url), uid))


def test_an_interrupted_fetch_asks_only_for_what_is_missing(
    scan: Series, requested: list[str], monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        send = requests.Session.send

        def failing(self: requests.Session, request: requests.PreparedRequest, **kwargs: object) -> requests.Response:
            if len(objects(requested)) > 5:
                raise requests.ConnectionError("cut")
            return send(self, request, **kwargs)

        patch.setattr(requests.Session, "send", failing)
        with pytest.raises(UserError, match="does not answer"):
            fetch(scan)
    there = [path for path in scan.files if path.exists()]
    assert 0 < len(there) < 12
    requested.clear()
    fetch(scan)
    assert len(objects(requested)) == 12 - len(there)
    assert read_volume(scan).array[0, 0].tolist() == list(range(-24, -12)), "stored 1000 + k, intercept -1024"
    requested.clear()
    fetch(scan)
    assert requested == []


KILLED = """
import pickle, os, signal, sys, requests
from kicc_ml.dicom.web.service import fetch
get, asked = requests.Session.get, []
def dying(self, url, **kwargs):
    asked.append(url)
    if len(asked) > 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return get(self, url, **kwargs)
requests.Session.get = dying
fetch(pickle.load(sys.stdin.buffer))
"""


def test_a_fetch_that_was_killed_leaves_whole_files_and_is_taken_up(scan: Series, requested: list[str]):
    killed = subprocess.run([sys.executable, "-c", KILLED], input=pickle.dumps(scan), env=os.environ)
    assert killed.returncode == -signal.SIGKILL
    there = [path for path in scan.files if path.exists()]
    assert 0 < len(there) < 12
    faults = {header.fault for path in there for header in read_headers(path.parent, path.name, "", b"")}
    assert faults == {""}
    fetch(scan)
    assert len(objects(requested)) == 12 - len(there)
    assert read_volume(scan).array.shape == (8, 6, 12)


@pytest.mark.parametrize("password", [None, "wrong"])
def test_who_is_not_let_in_reads_how_to_sign_in(
    orthanc: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str | None
):
    monkeypatch.setenv("NETRC", os.devnull)
    if password:
        write_netrc(tmp_path / "netrc", password, monkeypatch)
    with pytest.raises(UserError, match=r"answers 401.*netrc.*KICC_DICOMWEB_AUTHORIZATION") as caught:
        index_web(orthanc.url, cache=tmp_path / "cache")
    assert orthanc.url in str(caught.value)


def test_the_header_of_the_environment_goes_before_netrc(
    scan: Series, orthanc: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_netrc(tmp_path / "netrc", "wrong", monkeypatch)
    prepared = requests.Request("GET", orthanc.url, auth=(USER, PASSWORD)).prepare()
    monkeypatch.setenv("KICC_DICOMWEB_AUTHORIZATION", prepared.headers["Authorization"])
    monkeypatch.setenv("KICC_DICOMWEB_HOST", "127.0.0.1")
    fetch(scan)
    assert all(path.exists() for path in scan.files)


def test_no_name_and_no_uid_is_in_a_log_an_error_or_the_index(
    scan: Series,
    pushed: Orthanc,
    repository: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    requested: list[str],
):
    caplog.set_level(logging.DEBUG)
    series, rows = index_web(pushed.url, cache=tmp_path / "cache")
    for one in series:
        fetch(one)
    frame = make_undated_index_table(series, rows)
    said = caplog.text + frame.to_csv() + repr(series)
    known = uids(repository / SITE)
    assert any(secret in "".join(requested) for secret in known), "nothing to look for"
    assert {secret for secret in known if secret in said} == set()
    assert set(frame["site"]) == {"127.0.0.1"}, "the institution's name must not stand for it"


def test_an_address_is_a_source_of_the_index_like_a_folder(
    scan: Series, orthanc: Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    series, _ = index_sources([orthanc.url])
    (mine,) = [one for one in series if one.uid == scan.uid]
    assert (mine.site, mine.verdict, mine.spacing_mm) == ("127.0.0.1", "usable", scan.spacing_mm)
    assert mine.files[0].is_relative_to(tmp_path / "home" / "kicc_ml" / "dicomweb")


def test_the_cache_is_closed_to_others(scan: Series, tmp_path: Path):
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


def test_a_series_that_is_gone_from_the_service_says_so(scan: Series):
    (scan.files[0].parent / "uids.json").unlink()
    with pytest.raises(UserError, match="index the DICOMweb service again"):
        fetch(scan)


@pytest.mark.usefixtures("known")
def test_frames_of_an_enhanced_object_are_found_in_its_metadata(orthanc: Orthanc, tmp_path: Path):
    order = (2, 0, 3, 1, 4)
    path = write_enhanced(tmp_path / "enhanced", Grid(even_mm(5)), order)
    orthanc.store([path])
    key = load_service_key(orthanc.url)
    series, _ = index_web(orthanc.url, cache=tmp_path / "cache")
    (one,) = [one for one in series if one.files[0].stem == sop(path, key)]
    assert (one.verdict, one.slices, len(one.files)) == ("usable", 5, 1)
    assert [order[frame] for frame in one.frames] == [0, 1, 2, 3, 4]


@pytest.fixture
def brief(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """Orthanc set to answer with main tags where a whole series is asked for."""
    with running_orthanc(tmp_path_factory.mktemp("brief"), SeriesMetadata="MainDicomTags") as running:
        yield running


@pytest.mark.usefixtures("known")
def test_a_service_that_gives_main_tags_of_a_series_is_asked_for_each_instance(
    brief: Orthanc, tmp_path: Path, write_ct: Callable[..., list[Path]]
):
    brief.store(write_ct())
    ((one,), _) = index_web(brief.url, cache=tmp_path / "cache")
    assert (one.verdict, one.slices, one.spacing_mm) == ("usable", 5, (0.5, 0.7, 5.0))


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
