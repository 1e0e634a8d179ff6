"""Connections of the worklist page that send nothing, or too slowly, hold up neither the page nor the DICOM port."""

import resource
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import pytest

from kicc_ml.service import page_connection
from kicc_ml.service.dicom_node import DicomNode
from kicc_ml.service.node import Node
from kicc_ml.service.settings import DicomSettings
from tests.support.loopback_pacs import find_free_port, is_listening
from tests.support.web_node import WebNode, make_web_node, running_page

#: Opens connections that say nothing, in a process of its own, whose open files are not those of the node.
SILENT = """
import socket, sys
place, held = ("127.0.0.1", int(sys.argv[1])), []
for number in range(int(sys.argv[2])):
    held.append(socket.create_connection(place, 60))
    if number % 50 == 0:  # no further ones before the page has looked at these
        with socket.create_connection(place, 60) as other:
            other.sendall(b"GET /health HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
            other.recv(1)
print("open", flush=True)
sys.stdin.read()
"""
#: With so many open files, a library that waits by select could wait for no further one.
MORE_THAN_SELECT = 1100
#: Most of the time a connection is ended at one of the first.
MOST_TRIES = 1000
LONG_ADDRESS = b"GET /" + b"a" * 1000
#: What a client begins and never ends: nothing, an address, fields, the body of a form or of something that has none.
BEGUN = {
    "nothing": b"",
    "an address": LONG_ADDRESS,
    "fields": b"GET / HTTP/1.1\r\nHost: a\r\nX-",
    "another request": b"GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET /h",
    "a body that nobody reads": b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\na",
}


@pytest.fixture
def node(tmp_path: Path) -> WebNode:
    return make_web_node(tmp_path, min_free_gib=0)


@contextmanager
def silent_connections(port: int, count: int) -> Iterator[None]:
    words = [sys.executable, "-c", SILENT, str(port), str(count)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "open\n"
        yield
        process.stdin.close()


@contextmanager
def many_open_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_answered(address: str) -> bool:
    with urllib.request.urlopen(f"{address}login", timeout=60) as reply:
        return b"form_token" in reply.read()


def test_page_and_dicom_port_answer_beside_silent_connections_and_a_slow_form(node: WebNode):
    settings = DicomSettings(title="NODE", port=find_free_port(), senders=["SCANNER"])
    intake = Node(node.settings, node.folders, node.queue, Event()).intake
    with many_open_files(), running_page(node) as address, DicomNode(settings, intake).running():
        port = urlsplit(address).port
        assert port is not None
        with socket.create_connection(("127.0.0.1", port), 60) as slow:
            slow.sendall(b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nuser=")
            with silent_connections(port, MORE_THAN_SELECT):
                assert all(is_answered(address) for _ in range(20))
                assert is_listening(settings.port)
        assert is_answered(address)


@contextmanager
def hurried_connection(node: WebNode, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A connection to a page that waits for nobody; afterwards the page still answers."""
    monkeypatch.setattr(page_connection, "REQUEST_S", 0.5)
    with running_page(node) as address:
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # it soon has what it does not read
            connection.settimeout(0.1)
            connection.connect(("127.0.0.1", urlsplit(address).port or 0))
            yield connection
        assert is_answered(address)


@pytest.mark.parametrize("begun", BEGUN.values(), ids=BEGUN)
def test_a_connection_that_makes_no_whole_request_in_time_is_ended(
    node: WebNode, monkeypatch: pytest.MonkeyPatch, begun: bytes
):
    def drip(connection: socket.socket) -> None:
        for _ in range(MOST_TRIES):
            connection.sendall(begun and b"a")  # a byte now and then buys no time
            with suppress(TimeoutError):
                if not connection.recv(2**16):
                    raise EOFError

    with hurried_connection(node, monkeypatch) as connection:
        connection.sendall(begun)
        with pytest.raises((ConnectionError, EOFError)):
            drip(connection)


async def send_much(scope: Any, receive: Any, send: Any) -> None:
    """A page that is larger than what lies between a node and a client that reads nothing."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"form_token" * 2**20})


def test_a_client_that_does_not_take_its_answer_is_ended(node: WebNode, monkeypatch: pytest.MonkeyPatch):
    def wait_for_end(connection: socket.socket) -> None:
        for _ in range(MOST_TRIES):
            with suppress(TimeoutError):
                connection.sendall(b"a")
            time.sleep(0.1)

    with hurried_connection(replace(node, app=send_much), monkeypatch) as connection:  # type: ignore[arg-type]
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises(ConnectionError):
            wait_for_end(connection)


def test_an_answer_that_takes_longer_than_a_request_may_comes_whole(node: WebNode, monkeypatch: pytest.MonkeyPatch):
    find = node.queue.count_states

    def find_late() -> dict:
        time.sleep(2)
        return find()

    monkeypatch.setattr(node.queue, "count_states", find_late)
    with hurried_connection(node, monkeypatch) as connection:
        connection.settimeout(60)
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        with connection.makefile("rb") as answer:
            assert b'"status":"ok"' in answer.read()
