"""HTTP transport to a DICOMweb service: who receives credentials, how often to retry, and limits for answers.

The underlying libraries limit none of this: their timeout starts again with each byte.
"""

import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from threading import Event, Timer
from time import monotonic, sleep
from typing import Any
from urllib.parse import SplitResult, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, Retry
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, InvalidHeader

from kicc_ml.core.errors import UserError

#: The environment variable with an Authorization header, where a netrc does not serve (a token, for example),
#: and that with the host, or host:port, which it was given for.
AUTHORIZATION = "KICC_DICOMWEB_AUTHORIZATION"
AUTHORIZED_HOST = "KICC_DICOMWEB_HOST"
#: The environment variable with the hosts that may be reached without encryption.
PLAIN_HOSTS = "KICC_DICOMWEB_HTTP"
#: Number of attempts: four with pauses of 1, 2 and 4 s bridge a restarted proxy. A longer failure is reported.
MAX_ATTEMPTS = 4
PAUSE_S = 1.0
#: Longest pause that a service may ask for; if it asks for more, the answer is final.
MAX_PAUSE_S = 120.0
RETRIED_STATUSES = (
    *(HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.INTERNAL_SERVER_ERROR),
    *(HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT),
)
#: An answer may take so long, and a second more for each so many bytes of it: a service reads the files of a long
#: series before the first byte comes, and slow lines of hospitals have 2 Mbit/s.
MAX_ANSWER_S = 120.0
MIN_BYTES_PER_S = 250_000
#: Metadata of 2,000 slices have some 60 MiB, an enhanced CT of a thousand slices 0.5 GiB.
MAX_METADATA_BYTES = 2**28
MAX_OBJECT_BYTES = 2**31
CHUNK_BYTES = 2**20


class BeyondLimitError(Exception):
    """An answer is larger or slower than any valid one; the message says which."""


def open_session(url: str) -> requests.Session:
    """Open a session with the limits above that authenticates at the host of ``url`` by the environment or netrc.

    Raises:
        UserError: the environment holds an authorization header without its host.
    """
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _BoundedAdapter())
    header, host = os.environ.get(AUTHORIZATION), os.environ.get(AUTHORIZED_HOST, "")
    if header and not host.strip():
        asked = urlsplit(url).hostname
        raise UserError(
            f"${AUTHORIZATION} is sent to one host alone: say in ${AUTHORIZED_HOST} for which it was given "
            f"({AUTHORIZED_HOST}={asked}, if it is for this service)"
        )
    if header and _is_listed_host(urlsplit(url), host):
        session.auth = partial(_authorize, header)  # as a header of the session, a netrc would be put over it
    return session


def read_stated_pause_s(response: requests.Response) -> float | None:
    """Read after how many seconds the service wants the next request (``Retry-After``); None if it states none."""
    try:
        return Retry().get_retry_after(response.raw)
    except InvalidHeader:
        return None


def _authorize(header: str, request: requests.PreparedRequest) -> requests.PreparedRequest:
    request.headers["Authorization"] = header
    return request


def _is_listed_host(address: SplitResult, hosts: str) -> bool:
    """Whether the host of an address, or its host:port, is in a list separated by commas."""
    named = {host.strip().lower() for host in hosts.split(",")}
    port = address.port or {"http": 80, "https": 443}.get(address.scheme)
    return bool(named & {str(address.hostname), f"{address.hostname}:{port}"})


def _refuse_unencrypted(request: requests.PreparedRequest) -> None:
    """Raise UserError for http, including redirects to it, unless the user named the host.

    Requests to this machine may use http, except with credentials, which any local program could receive.
    """
    address = urlsplit(str(request.url))
    if address.scheme != "http" or _is_listed_host(address, os.environ.get(PLAIN_HOSTS, "")):
        return
    if _is_this_machine(str(address.hostname)) and "Authorization" not in request.headers:
        return
    raise UserError(
        f"http://{address.hostname}: credentials, names and images would go unencrypted; use https, "
        f"or set {PLAIN_HOSTS}={address.hostname} if the way there is trusted"
    )


def _is_this_machine(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


class _BoundedAdapter(HTTPAdapter):
    """Repeats requests where that helps, and reads each answer completely within the limits.

    Raises:
        UserError: the address may not be used.
        BeyondLimitError: an answer is too large or too slow.
    """

    def init_poolmanager(self, *arguments: Any, **settings: Any) -> None:
        super().init_poolmanager(*arguments, **settings)
        self.poolmanager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    def send(self, request: requests.PreparedRequest, *arguments: Any, **settings: Any) -> requests.Response:
        _refuse_unencrypted(request)
        for attempt in range(1, MAX_ATTEMPTS):
            own_s = PAUSE_S * 2 ** (attempt - 1)
            try:
                answer = self._ask(request, *arguments, **settings)
            except requests.exceptions.SSLError:
                raise
            except (requests.ConnectionError, requests.Timeout):
                sleep(own_s)
                continue
            pause_s = max(own_s, read_stated_pause_s(answer) or 0)
            if answer.status_code not in RETRIED_STATUSES or pause_s > MAX_PAUSE_S:
                return answer
            sleep(pause_s)
        return self._ask(request, *arguments, **settings)

    def _ask(self, request: requests.PreparedRequest, *arguments: Any, **settings: Any) -> requests.Response:
        start_s = monotonic()
        answer = super().send(request, *arguments, **(settings | {"stream": True}))
        is_object = "json" not in request.headers.get("Accept", "") and request.method == "GET"
        try:
            content = b"".join(_read_bounded(answer, start_s, MAX_OBJECT_BYTES if is_object else MAX_METADATA_BYTES))
        except (HTTPError, OSError) as error:
            raise requests.ConnectionError(error, request=request) from error
        finally:
            answer.close()
        answer._content = content
        answer._content_consumed = True
        return answer


def _read_bounded(answer: requests.Response, start_s: float, max_bytes: int) -> Iterator[bytes]:
    """Read the body of an answer in chunks.

    Raises:
        BeyondLimitError: it is too large or too slow.
    """
    size = 0
    while chunk := answer.raw.read1(CHUNK_BYTES, decode_content=True):
        size += len(chunk)
        if size > max_bytes:
            raise BeyondLimitError(f"an answer of more than {max_bytes // 2**20} MiB")
        if monotonic() - start_s > MAX_ANSWER_S + size / MIN_BYTES_PER_S:
            raise BeyondLimitError(f"{size} bytes of an answer in {monotonic() - start_s:.0f} s")
        yield chunk


@contextmanager
def limit_answer_time(connection: socket.socket) -> Iterator[None]:
    """Close a connection whose answer does not begin in time, even if single bytes of its head arrive."""
    expired = Event()

    def cut() -> None:
        expired.set()
        with suppress(OSError):  # closed meanwhile
            connection.shutdown(socket.SHUT_RDWR)

    timer = Timer(MAX_ANSWER_S, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception:
        if not expired.is_set():
            raise
    finally:
        timer.cancel()
    if expired.is_set():  # what had come by then may pass for a whole head
        raise BeyondLimitError(f"no answer in {MAX_ANSWER_S:.0f} s")


class _HttpConnection(HTTPConnection):
    def getresponse(self) -> Any:
        with limit_answer_time(self.sock):
            return super().getresponse()


class _HttpsConnection(HTTPSConnection):
    def getresponse(self) -> Any:
        with limit_answer_time(self.sock):
            return super().getresponse()


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection
