"""Helpers of test_transport and test_credentials."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Service:
    """A service on loopback whose answer to each request is a function of the request's handler."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.authorizations: list[str | None] = []
        self.paths: list[str] = []
        self.bodies: list[bytes] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.authorizations.append(self.headers.get("Authorization"))
                service.paths.append(self.path)
                service.bodies.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
                try:
                    answer(self)
                except OSError:  # the other side has had enough
                    self.close_connection = True

            do_POST = do_GET  # noqa: N815 - as the base class finds it

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/dicom-web"


def say(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    stated = {name.replace("_", "-"): value for name, value in headers.items()}
    usual = {"Content-Type": "application/dicom+json", "Content-Length": str(len(body))}
    for name, value in (usual | stated).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
