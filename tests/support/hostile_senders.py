"""What a hostile sender sends to a DICOM port: damaged PDUs and objects, and connections that bring nothing."""

import random
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pydicom
from pydicom.filewriter import write_file_meta_info
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]

from tests.support.loopback_pacs import NODE, SENDER

ANSWER_S = 5.0


def record_pdus(port: int, made: pydicom.Dataset) -> list[bytes]:
    """The bytes of each PDU with which a sender stores an object and leaves."""
    sent: list[bytes] = []
    sender = AE(ae_title=SENDER)
    handlers: list[Any] = [(evt.EVT_DATA_SENT, lambda event: sent.append(event.data))]
    association = sender.associate(
        *("127.0.0.1", port), [build_context(CTImageStorage)], ae_title=NODE, evt_handlers=handlers
    )
    assert association.send_c_store(made).Status == 0
    association.release()
    return sent


def mutate(drawn: random.Random, data: bytes) -> bytes:
    """Damage some bytes: change, cut, insert, repeat, or write what is largest or nothing where a length may stand."""
    changed = bytearray(data)
    for _ in range(drawn.choice((1, 1, 2, 5, 20))):
        at = drawn.randrange(max(1, len(changed)))
        end = min(len(changed), at + drawn.choice((1, 2, 4, 40)))
        new = {
            "change": drawn.randbytes(end - at),
            "most": b"\xff" * (end - at),
            "none": bytes(end - at),
            "cut": b"",
            "repeat": bytes(changed[at:end]) * drawn.choice((2, 3, 50)),
            "insert": drawn.randbytes(drawn.choice((1, 2, 300))) + bytes(changed[at:end]),
        }
        changed[at:end] = new[drawn.choice(sorted(new))]
    return bytes(changed[: drawn.choice((len(changed),) * 9 + (len(changed) // 2,))])


def send_bytes(port: int, pdus: list[bytes]) -> None:
    """Send PDUs over a connection of their own, and wait until the node closes it, or for a little while."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as peer, suppress(OSError):
        for pdu in pdus:
            peer.sendall(pdu)
        peer.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + ANSWER_S
        while peer.recv(2**16) and time.monotonic() < deadline:
            pass


def store_encoded(association: Any, path: Path, made: pydicom.Dataset, encoded: bytes) -> int | None:
    """Store an object whose data set has these bytes; returns the status, None where none came.

    ``path`` is where the file is put, which the library sends as it is where it is told to send from the disk.
    """
    with path.open("wb") as file:
        file.write(bytes(128) + b"DICM")
        write_file_meta_info(file, made.file_meta)
        file.write(encoded)
    try:
        return association.send_c_store(path).get("Status")
    except RuntimeError:  # the association has ended
        return None


def drip(port: int, pdu: bytes, pause_s: float, most_s: float) -> float:
    """Send one byte after the other; returns after how many seconds the node has closed the connection."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as peer, suppress(OSError):
        for byte in pdu:
            peer.sendall(bytes([byte]))
            time.sleep(pause_s)
            assert time.monotonic() - began < most_s, "the node still waits"
    return time.monotonic() - began
