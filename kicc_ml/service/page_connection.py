"""The connections of the worklist page: so many at once, and each owes a whole request, or takes its answer, in time.

Without these bounds some silent connections, which anybody on the network can open, would stop the page; with more of
them the files of the process would have numbers at which the DICOM port stops too.
"""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

#: Connections at once. For one more, that of which nothing was heard for the longest time is ended.
MAX_CONNECTIONS = 200
#: A connection has this time for a whole request, from its begin or the answer before.
REQUEST_S = 20.0
#: In the same time it takes so much of an answer, or all of it.
LEAST_BYTES = 2**16


class PageConnection(H11Protocol):
    """A connection of the worklist page."""

    _timer: asyncio.TimerHandle | None = None
    _unsent_bytes = 0
    _heard = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, in the place of the connection that was silent for the longest time where there are too many."""
        if len(self.connections) >= MAX_CONNECTIONS and not self._end_most_silent():
            transport.abort()
            return
        super().connection_made(transport)
        self._heard = self.loop.time()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self.transport is None:  # it was one too many
            return
        if self._timer:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take some bytes of a request."""
        if self.transport is None:
            return
        self._heard = self.loop.time()
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Give the same time for the next request."""
        super().on_response_complete()
        self._watch()

    @property
    def is_answering(self) -> bool:
        """Whether the request is not answered yet; its body may still be coming, in the time that the page gives it."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def is_at_work(self) -> bool:
        """Whether nobody but this node is to blame for the time that the connection takes."""
        return self.is_answering and not self.cycle.more_body and not self.transport.get_write_buffer_size()

    def _watch(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self._timer = self.loop.call_later(REQUEST_S, self._end_if_late)

    def _end_if_late(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        takes = self._unsent_bytes - unsent >= LEAST_BYTES
        if takes if unsent else self.is_answering:
            self._watch()
        else:
            self.transport.abort()

    def _end_most_silent(self) -> bool:
        ready = [one for one in self.connections if isinstance(one, PageConnection) and not one.is_at_work]
        if not ready:
            return False
        silent = min(ready, key=lambda one: one._heard)
        self.connections.discard(silent)
        silent.transport.abort()
        return True
