"""What holds for every answer of the worklist page: headers that bind browsers, and bounds of what is sent to it."""

import asyncio
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Of forms; what is larger is no form of this page.
MAX_BODY_BYTES = 2**14
#: A form arrives within this time, or not at all.
BODY_S = 20.0
NOTHING_ALLOWED = "default-src 'none'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class BodyTooLarge(Exception):
    """More was sent than a form of this page can hold."""


class Guard:
    """Adds the headers to each answer, and bounds size and time of what is sent, but for ``is_unbounded`` paths."""

    def __init__(self, app: ASGIApp, is_unbounded: Callable[[Scope], bool] = lambda scope: False) -> None:
        self._app, self._is_unbounded = app, is_unbounded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = False

        async def send_with_headers(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", NOTHING_ALLOWED)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        bounded = receive if self._is_unbounded(scope) else _bound(receive)
        try:
            await self._app(scope, bounded, send_with_headers)
        except (BodyTooLarge, TimeoutError) as error:
            if began:
                raise
            large = isinstance(error, BodyTooLarge)
            refusal = PlainTextResponse("too large" if large else "too slow", 413 if large else 408)
            await refusal(scope, receive, send_with_headers)


def _bound(receive: Receive) -> Receive:
    size, deadline = 0, asyncio.get_running_loop().time() + BODY_S

    async def receive_bounded() -> Message:
        nonlocal size
        async with asyncio.timeout_at(None if size < 0 else deadline):
            message = await receive()
        if message["type"] == "http.request":
            size += len(message.get("body", b""))
            if size > MAX_BODY_BYTES:
                raise BodyTooLarge
            if not message.get("more_body", False):
                size = -1  # whole: what comes now is the end of the connection, whenever that is
        return message

    return receive_bounded
