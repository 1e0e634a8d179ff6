"""Serve the worklist page beside the node."""

import socket
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import uvicorn

from kicc_ml.core.errors import UserError
from kicc_ml.service.page_connection import PageConnection
from kicc_ml.service.settings import WebSettings

#: Connections that are accepted before any of them is looked at, so that no more are open at once than is meant.
BACKLOG = 64
MAX_HEADER_BYTES = 2**14
IDLE_S, END_S = 10, 5


def make_page_server(app: Any, settings: WebSettings, stop: Event) -> Callable[[], None]:
    """Open the port of the worklist page.

    Args:
        app: the page, an ASGI application.
        settings: where it is served.
        stop: set where the node ends.

    Returns:
        what serves the page until ``stop`` is set.

    Raises:
        UserError: the port is taken.
    """
    place = f"{settings.host}:{settings.port}"
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        raise UserError(f"web.port: {place} cannot be used ({error.strerror or error}); name another one") from error
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            root_path=settings.proxy_path,
            forwarded_allow_ips=settings.proxies,
            log_config=None,
            access_log=False,  # addresses hold what was searched for
            server_header=False,
            lifespan="off",
            http=PageConnection,
            backlog=BACKLOG,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=END_S,
        )
    )

    def end() -> None:
        stop.wait()
        server.should_exit = True

    def serve() -> None:
        Thread(target=end, daemon=True).start()
        with listener:
            server.run(sockets=[listener])

    return serve
