"""The worklist page is served beside the node, and ends with it."""

import threading
import urllib.request
from threading import Event
from typing import Any

import pytest

from kicc_ml.core.errors import UserError
from kicc_ml.service.page_server import make_page_server
from kicc_ml.service.settings import WebSettings
from tests.support.loopback_pacs import find_free_port


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """A page of one word."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"worklist"})


def test_a_page_is_served_until_the_node_ends():
    settings, stop = WebSettings(port=find_free_port()), Event()
    thread = threading.Thread(target=make_page_server(answer, settings, stop))
    thread.start()
    with urllib.request.urlopen(f"http://127.0.0.1:{settings.port}/", timeout=60) as reply:
        assert reply.read() == b"worklist"
        assert "server" not in reply.headers
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


def test_a_port_that_is_taken_is_named_before_anything_starts():
    settings, stop = WebSettings(port=find_free_port()), Event()
    serve = make_page_server(answer, settings, stop)
    with pytest.raises(UserError, match=rf"web\.port: 127\.0\.0\.1:{settings.port} cannot be used"):
        make_page_server(answer, settings, stop)
    stop.set()
    thread = threading.Thread(target=serve)  # it closes the port
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
