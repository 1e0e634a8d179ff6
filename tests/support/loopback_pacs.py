"""A PACS on loopback that counts what it is sent, and may be told to refuse; and a sender of studies."""

import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, build_context, evt
from pynetdicom.dimse_messages import C_STORE_RQ  # type: ignore[attr-defined]
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import CTImageStorage, Verification  # type: ignore[attr-defined]

TITLE, SENDER, NODE = "ARCHIVE", "SCANNER", "NODE"


def find_free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_until(holds: Callable[[], object], most_s: float = 300) -> None:
    """Wait for something that happens in another thread or process; most of the time it is there at once."""
    deadline = time.monotonic() + most_s
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@dataclass
class LoopbackPacs:
    """Counts stored objects by SOP instance UID. ``answer`` gives the status for one; None ends the association."""

    port: int
    answer: Callable[[str], int | None] = lambda sop: 0
    stored: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    folder: Path | None = None
    senders: Sequence[str] = ()
    tls: ssl.SSLContext | None = None

    @contextmanager
    def running(self) -> Iterator["LoopbackPacs"]:
        """Listen while the block runs."""
        entity = AE(ae_title=TITLE)
        entity.require_calling_aet = list(self.senders)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
        server = entity.start_server(
            ("127.0.0.1", self.port),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, self._take)],
            ssl_context=self.tls,
        )
        try:
            yield self
        finally:
            assert server is not None
            server.shutdown()

    def _take(self, event: evt.Event) -> int:
        request: Any = event.request
        sop = str(request.AffectedSOPInstanceUID)
        self.asked[sop] += 1
        status = self.answer(sop)
        if status is None:
            event.assoc.abort()
            return 0xC000
        if status == 0:
            self.stored[sop] += 1
            if self.folder:
                (self.folder / f"{sop}.dcm").write_bytes(event.encoded_dataset())
        return status


def connect(
    port: int,
    calling: str = SENDER,
    called: str = NODE,
    objects: Sequence[pydicom.Dataset] = (),
    tls: ssl.SSLContext | None = None,
) -> Any:
    """Open an association with a node, to store these objects as they are encoded, or CT slices."""
    sender = AE(ae_title=calling)
    kinds = {(str(one.SOPClassUID), str(one.file_meta.TransferSyntaxUID)) for one in objects}
    contexts = [build_context(sop_class, syntax) for sop_class, syntax in sorted(kinds)]
    sender.requested_contexts = [*(contexts or [build_context(CTImageStorage)]), build_context(Verification)]
    return sender.associate("127.0.0.1", port, ae_title=called, tls_args=(tls, "127.0.0.1") if tls else None)


def send(port: int, *objects: pydicom.Dataset, tls: ssl.SSLContext | None = None) -> list[int | None]:
    """Store objects in a node over one association; returns the status of each, None where none came."""
    association = connect(port, objects=objects, tls=tls)
    assert association.is_established
    statuses = [association.send_c_store(one).get("Status") for one in objects]
    association.release()
    return statuses


def is_listening(port: int, calling: str = SENDER) -> bool:
    """Whether a node answers at a port."""
    association = connect(port, calling)
    if association.is_established:
        association.release()
    return bool(association.is_released)


def begin_to_store(association: Any, made: pydicom.Dataset) -> None:
    """Send all of an object but its last part."""
    parts = list_parts(association, made)
    for part in parts[:-1]:
        association.dul.send_pdu(part)


def list_parts(association: Any, made: pydicom.Dataset, encoded: bytes | None = None) -> list[Any]:
    """The parts in which an object is stored, or these bytes as if they were it: first of the command, then of it."""
    (context,) = [one for one in association.accepted_contexts if one.abstract_syntax == made.SOPClassUID]
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = made.SOPClassUID, made.SOPInstanceUID
    syntax = context.transfer_syntax[0]
    request.DataSet = BytesIO(encoded or encode(made, syntax.is_implicit_VR, syntax.is_little_endian))
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    return list(message.encode_msg(context.context_id, association.acceptor.maximum_length))
