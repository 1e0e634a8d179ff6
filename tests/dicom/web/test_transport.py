"""What a service that misbehaves may cost, and to whom credentials go."""

import gzip
import time
from collections.abc import Callable
from contextlib import nullcontext
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from kicc_ml.core.errors import UserError
from kicc_ml.dicom.web import client as web_client
from kicc_ml.dicom.web import transport
from kicc_ml.dicom.web.cache import InstanceUids
from kicc_ml.dicom.web.client import NotServed, connect, retrieve_object, search_series_uids
from kicc_ml.dicom.web.service import push
from tests.support.local_service import Service, say
from tests.support.phantom_files import write_image

STUDIES = b'[{"0020000D": {"vr": "UI", "Value": ["1.2.3"]}}]'


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses that were made, in seconds, in no time."""
    made: list[float] = []
    monkeypatch.setattr(transport, "sleep", made.append)
    return made


def endless(handler: BaseHTTPRequestHandler, kind: str = "application/dicom+json") -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", kind)
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * 2**16)


def trickle(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/dicom+json")
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        time.sleep(0.02)


def trickle_head(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Long: ")
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.02)


class TestLimits:
    def test_an_endless_answer_is_ended_by_its_size(self, serve: Callable[..., Service], monkeypatch):
        monkeypatch.setattr(transport, "MAX_METADATA_BYTES", 2**20)
        service = serve(endless)
        with pytest.raises(UserError, match=r"gives an answer of more than 1 MiB") as caught:
            search_series_uids(connect(service.url))
        assert str(caught.value).startswith(service.url)
        assert len(service.paths) == 1, "it is not asked again for the same"

    def test_an_endless_object_is_ended_by_its_size(self, serve: Callable[..., Service], monkeypatch):
        monkeypatch.setattr(transport, "MAX_OBJECT_BYTES", 2**21)
        service = serve(lambda handler: endless(handler, 'multipart/related; type="application/dicom"; boundary=cut'))
        with pytest.raises(NotServed, match=r"more than 2 MiB"):
            retrieve_object(connect(service.url), InstanceUids("1.2", "1.3", "1.4"))

    @pytest.mark.parametrize("answer", [trickle, trickle_head])
    def test_an_answer_that_trickles_in_is_ended_by_time(
        self, serve: Callable[..., Service], monkeypatch, answer: Callable
    ):
        monkeypatch.setattr(transport, "MAX_ANSWER_S", 0.3)
        with pytest.raises(UserError, match=r"gives (\d+ bytes of an answer in 0 s|no answer in 0 s)"):
            search_series_uids(connect(serve(answer).url))

    @pytest.mark.parametrize(("scheme", "kind"), [("http", "HTTPConnection"), ("https", "HTTPSConnection")])
    def test_the_head_of_an_answer_is_limited_with_and_without_encryption(
        self, monkeypatch: pytest.MonkeyPatch, scheme: str, kind: str
    ):
        limited: list[object] = []
        monkeypatch.setattr(transport, "limit_answer_time", lambda sock: nullcontext(limited.append(sock)))
        monkeypatch.setattr(getattr(transport, kind), "getresponse", lambda self: "an answer")
        address = f"{scheme}://pacs.example"
        pool = transport.open_session(address).get_adapter(address).poolmanager.connection_from_url(address)
        connection = pool.ConnectionCls("pacs.example")
        connection.sock = "the socket"
        assert (connection.getresponse(), limited) == ("an answer", ["the socket"])

    def test_an_answer_may_take_longer_the_more_of_it_comes(self, serve: Callable[..., Service], monkeypatch):
        monkeypatch.setattr(transport, "MAX_ANSWER_S", 0.1)
        monkeypatch.setattr(transport, "MIN_BYTES_PER_S", 10)

        def steady(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Type", "application/dicom+json")
            handler.end_headers()
            for part in (b"  ", b"[", b"]"):
                handler.wfile.write(part)
                time.sleep(0.08)

        assert search_series_uids(connect(serve(steady).url)) == []

    def test_ever_new_studies_come_to_an_end(self, serve: Callable[..., Service], monkeypatch):
        monkeypatch.setattr(web_client, "MAX_PAGES", 20)
        service = serve(lambda handler: say(handler, STUDIES.replace(b"1.2.3", generate_uid().encode())))
        with pytest.raises(UserError, match=r"more than 20 pages; use an account"):
            search_series_uids(connect(service.url))
        assert len(service.paths) == 20

    def test_a_compressed_answer_is_bounded_by_what_it_unfolds_to(self, serve: Callable[..., Service], monkeypatch):
        monkeypatch.setattr(transport, "MAX_METADATA_BYTES", 2**20)
        bomb = gzip.compress(bytes(2**24))
        service = serve(lambda handler: say(handler, bomb, Content_Encoding="gzip"))
        with pytest.raises(UserError, match=r"more than 1 MiB"):
            search_series_uids(connect(service.url))

    def test_a_sound_compressed_answer_is_read(self, serve: Callable[..., Service]):
        service = serve(lambda handler: say(handler, gzip.compress(b"[]"), Content_Encoding="gzip"))
        assert search_series_uids(connect(service.url)) == []


class TestPauses:
    def busy_once(self, status: int, then: bytes = b"[]", **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
        answers = [lambda handler: say(handler, b"busy", status, **headers)]
        return lambda handler: answers.pop()(handler) if answers else say(handler, then)

    @pytest.mark.parametrize("status", [429, 503])
    def test_retry_after_is_obeyed(self, serve: Callable[..., Service], pauses: list[float], status: int):
        assert search_series_uids(connect(serve(self.busy_once(status, Retry_After="7")).url)) == []
        assert pauses == [7]

    def test_a_date_to_come_again_is_obeyed(self, serve: Callable[..., Service], pauses: list[float]):
        soon = formatdate(time.time() + 30, usegmt=True)
        search_series_uids(connect(serve(self.busy_once(503, Retry_After=soon)).url))
        assert 25 < pauses[0] <= 30

    @pytest.mark.parametrize("stated", ["0", "nonsense", "-5"])
    def test_no_sound_pause_is_the_usual_one(self, serve: Callable[..., Service], pauses: list[float], stated: str):
        search_series_uids(connect(serve(self.busy_once(503, Retry_After=stated)).url))
        assert pauses == [transport.PAUSE_S]

    def test_a_short_pause_that_is_asked_for_makes_the_usual_ones_no_shorter(
        self, serve: Callable[..., Service], pauses: list[float]
    ):
        answers = iter([b"busy", b"busy", b"busy"])

        def answer(handler: BaseHTTPRequestHandler) -> None:
            body = next(answers, b"[]")
            say(handler, body, 503, Retry_After="1") if body == b"busy" else say(handler, body)

        search_series_uids(connect(serve(answer).url))
        assert pauses == [1, 2, 4]

    def test_who_asks_for_a_long_pause_is_not_asked_again_and_the_user_told_when(
        self, serve: Callable[..., Service], pauses: list[float]
    ):
        service = serve(lambda handler: say(handler, b"busy", 503, Retry_After="3600"))
        with pytest.raises(UserError, match=r"answers 503.*start again in 3600 s, as it asks"):
            search_series_uids(connect(service.url))
        assert (pauses, len(service.paths)) == ([], 1)

    def test_pauses_grow_and_end(self, serve: Callable[..., Service], pauses: list[float]):
        service = serve(lambda handler: say(handler, b"busy", 503))
        with pytest.raises(UserError, match="answers 503"):
            search_series_uids(connect(service.url))
        assert (pauses, len(service.paths)) == ([1, 2, 4], 4)

    def test_an_object_is_pushed_again_whole(self, serve: Callable[..., Service], pauses: list[float], tmp_path: Path):
        path = write_image(tmp_path / "one.dcm", np.zeros((1200, 600), np.uint16))
        service = serve(self.busy_once(503, then=b"{}"))
        push(service.url, [path])
        first, second = service.bodies
        assert first == second
        assert len(first) > path.stat().st_size > 10**6


def test_an_answer_to_a_push_that_is_none_is_said_to_be_none(serve: Callable[..., Service], tmp_path: Path):
    path = write_image(tmp_path / "one.dcm", np.zeros((4, 4), np.uint16))
    with pytest.raises(UserError, match="not DICOMweb"):
        push(serve(lambda handler: say(handler, b"[]")).url, [path])


def test_an_object_is_read_whole(serve: Callable[..., Service], tmp_path: Path):
    path = write_image(tmp_path / "one.dcm", np.arange(4096, dtype=np.uint16).reshape(64, 64))
    made = pydicom.dcmread(path)
    head = b"--cut\r\nContent-Type: application/dicom\r\n\r\n"
    body = head + path.read_bytes() + b"\r\n--cut--"
    kind = 'multipart/related; type="application/dicom"; boundary=cut'
    service = serve(lambda handler: say(handler, body, Content_Type=kind))
    assert retrieve_object(connect(service.url), InstanceUids("1", "2", made.SOPInstanceUID)) == made
