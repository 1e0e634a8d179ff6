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


async def tell_client(scope: Any, receive: Any, send: Any) -> None:
    """A page that says from where it was asked for."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["client"][0].encode()})


@pytest.mark.parametrize(
    ("proxies", "client"), [(["127.0.0.0/24"], b"10.0.0.7"), ([], b"127.0.0.1"), (["10.0.0.0/8"], b"127.0.0.1")]
)
def test_only_a_proxy_that_is_named_is_believed_from_where_a_request_came(proxies: list[str], client: bytes):
    settings, stop = WebSettings(port=find_free_port(), proxies=proxies), Event()
    thread = threading.Thread(target=make_page_server(tell_client, settings, stop))
    thread.start()
    request = urllib.request.Request(f"http://127.0.0.1:{settings.port}/", headers={"X-Forwarded-For": "10.0.0.7"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        assert reply.read() == client
    stop.set()
    thread.join(60)


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
