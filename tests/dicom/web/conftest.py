"""Fixtures of web."""

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from kicc_ml.dicom.web import transport
from tests.support.local_service import Service


@pytest.fixture
def serve() -> Iterator[Callable[..., Service]]:
    running: list[Service] = []

    def start(answer: Callable[[BaseHTTPRequestHandler], None]) -> Service:
        running.append(Service(answer))
        return running[-1]

    yield start
    for service in running:
        service.server.shutdown()
        service.server.server_close()


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (transport.AUTHORIZATION, transport.AUTHORIZED_HOST):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", "/dev/null")


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "PAUSE_S", 0.001)
