"""Serve the worklist page beside the node."""

import socket
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import uvicorn

from kicc_ml.core.errors import UserError
from kicc_ml.service.settings import WebSettings


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
        listener = socket.create_server((settings.host, settings.port))
    except OSError as error:
        raise UserError(f"web.port: {place} cannot be used ({error.strerror or error}); name another one") from error
    config = uvicorn.Config(
        app, root_path=settings.proxy_path, log_config=None, access_log=False, server_header=False, lifespan="off"
    )
    server = uvicorn.Server(config)

    def end() -> None:
        stop.wait()
        server.should_exit = True

    def serve() -> None:
        Thread(target=end, daemon=True).start()
        with listener:
            server.run(sockets=[listener])

    return serve
