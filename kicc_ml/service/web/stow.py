"""STOW-RS (PS3.18 10.5): objects that a program sends, streamed to the disk and taken in as those of C-STORE."""

import asyncio
import errno
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Scope

from kicc_ml.core.errors import UserError
from kicc_ml.dicom.header.received_object import ObjectIdentity, read_object_identity
from kicc_ml.service.audit import Event
from kicc_ml.service.intake import Intake, Status
from kicc_ml.service.web.access import Access, find_address

ADDRESS = "/dicom-web/studies"
MAX_BOUNDARY_BYTES = 70  # RFC 2046
RETRY_S = "60"
#: So much is written between two looks at the disk; each file takes a block at least.
ROOM_EVERY_BYTES, BLOCK_BYTES = 2**20, 4096


class ObjectTooLarge(Exception):
    """An object is larger than the node takes."""


@dataclass(frozen=True)
class Taken:
    """What became of one object; ``found`` is None where it was no DICOM."""

    found: ObjectIdentity | None
    status: Status


class ObjectParts:
    """Writes each part of a body into a file of its own, and has it taken in when it is whole."""

    def __init__(self, intake: Intake, boundary: bytes, most_bytes: int) -> None:
        self.taken: list[Taken] = []
        self._intake, self._most_bytes = intake, most_bytes
        self._part, self._size = ExitStack(), 0
        self._unlooked_bytes = 0
        self._path: Path | None = None
        self._file: BinaryIO | None = None
        self._is_whole = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_part_data": self._write,
                "on_part_end": self._end,
                "on_end": self._note_end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Take some bytes of the body.

        The disk is looked at once for each ``ROOM_EVERY_BYTES``, in one large part as in many small ones.

        Raises:
            ObjectTooLarge: a part is too large.
            OSError: the disk is full.
            FormParserError: the body has no parts.
        """
        self._parser.write(chunk)

    def end(self) -> None:
        """End the body.

        Raises:
            FormParserError: it was cut off.
        """
        self._parser.finalize()
        if not self._is_whole:
            raise FormParserError("the last boundary is missing")

    def close(self) -> None:
        """Remove what came of a part that never became whole."""
        self._part.close()

    def _note_end(self) -> None:
        self._is_whole = True

    def _begin(self) -> None:
        self._reserve(BLOCK_BYTES)
        self._path, self._size = self._part.enter_context(self._intake.temporary_file()), 0
        self._file = self._part.enter_context(self._path.open("xb"))

    def _write(self, data: bytes, start: int, end: int) -> None:
        assert self._file is not None
        self._size += end - start
        if self._size > self._most_bytes:
            raise ObjectTooLarge
        for begin in range(start, end, ROOM_EVERY_BYTES):
            part = memoryview(data)[begin : min(begin + ROOM_EVERY_BYTES, end)]
            self._reserve(len(part))
            self._file.write(part)

    def _reserve(self, count: int) -> None:
        self._unlooked_bytes += count
        if self._unlooked_bytes < ROOM_EVERY_BYTES:
            return
        self._unlooked_bytes = 0
        if not self._intake.has_room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _end(self) -> None:
        assert self._file is not None
        assert self._path is not None
        self._file.close()
        try:
            found = read_object_identity(self._path)
        except UserError:
            self.taken.append(Taken(None, Status.NOT_UNDERSTOOD))
        else:
            self.taken.append(Taken(found, self._intake.take(self._path).status))
        self._part.close()


@dataclass
class StowIntake:
    """Takes in what programs with the token send; so many at once, and each within the limits of the intake."""

    access: Access
    intake: Intake
    most_bytes: int
    idle_s: float
    at_once: int
    _running: int = field(default=0)

    async def answer(self, request: Request) -> Response:
        """Take in the objects of one request."""
        user = self.access.find_user(request)
        if user is None:
            return await run_in_threadpool(self.access.ask_to_log_in, request)
        if user.role != "program":
            return await run_in_threadpool(self.access.refuse, request, "not_allowed", user)
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/related" or options.get(b"type", b"application/dicom") != b"application/dicom":
            return PlainTextResponse("send multipart/related of application/dicom", 415)
        if not 0 < len(boundary) <= MAX_BOUNDARY_BYTES:
            return PlainTextResponse("the boundary is missing or too long", 400)
        if self._running >= self.at_once or not self.intake.has_room:
            return _make_busy()
        self._running += 1
        parts = ObjectParts(self.intake, boundary, self.most_bytes)
        try:
            refusal = await self._receive(request, parts)
        finally:
            self._running -= 1
            await run_in_threadpool(parts.close)
        studies = sorted({one.found.study for one in parts.taken if one.found and one.status == Status.STORED})
        if studies:
            event = Event("110104", "C", studies=studies)
            await run_in_threadpool(self.access.audit.note, event, user.name, find_address(request), user.role)
        return refusal or make_answer(parts.taken)

    async def _receive(self, request: Request, parts: ObjectParts) -> Response | None:
        stream = aiter(request.stream())
        try:
            while True:
                async with asyncio.timeout(self.idle_s):
                    chunk = await anext(stream, None)
                if chunk is None:
                    break
                await run_in_threadpool(parts.feed, chunk)
            await run_in_threadpool(parts.end)
        except ObjectTooLarge:
            return PlainTextResponse("an object is larger than this node takes", 413)
        except FormParserError:
            return PlainTextResponse("the body is damaged or was cut off", 400)
        except (TimeoutError, ClientDisconnect):
            return PlainTextResponse("too slow", 408)
        except OSError:
            return _make_busy()
        return None


def is_stow(scope: Scope) -> bool:
    """Whether a request brings objects, whose bounds are those of the intake."""
    return scope["method"] == "POST" and scope["path"].endswith(ADDRESS)


def make_answer(taken: Sequence[Taken]) -> Response:
    """Make the answer of the service (PS3.18 10.5.3): what was stored, and what was not and why."""
    stored = [_make_item(one) for one in taken if one.status == Status.STORED]
    failed = [_make_item(one) for one in taken if one.status != Status.STORED]
    if failed and not stored and all(one.status == Status.OUT_OF_RESOURCES for one in taken):
        return _make_busy()
    content = {"00081198": {"vr": "SQ", "Value": failed}} if failed else {}
    content |= {"00081199": {"vr": "SQ", "Value": stored}} if stored else {}
    status = 202 if stored and failed else 200 if stored else 409
    return JSONResponse(content, status, media_type="application/dicom+json")


def _make_item(one: Taken) -> dict[str, Any]:
    item: dict[str, Any] = {}
    if one.found:
        item["00081150"] = {"vr": "UI", "Value": [one.found.sop_class]}
        item["00081155"] = {"vr": "UI", "Value": [one.found.sop]}
    if one.status != Status.STORED:
        item["00081197"] = {"vr": "US", "Value": [int(one.status)]}
    return item


def _make_busy() -> Response:
    return PlainTextResponse("the node takes no more at the moment", 503, {"Retry-After": RETRY_S})
