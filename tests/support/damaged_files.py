"""Ways to damage a DICOM file."""

import io
import random
import struct
import warnings
from collections.abc import Callable

import pydicom
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
)

BOMB_BYTES = 2**26


def bytes_flipped(data: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    end = len(data) if rng.random() < 0.5 else min(len(data), 2000)  # half of them in the header
    for _ in range(rng.choice((1, 3, 20))):
        damaged[rng.randrange(end)] = rng.randrange(256)
    return bytes(damaged)


def cut_short(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def piece_lost_or_doubled(data: bytes, rng: random.Random) -> bytes:
    start, size = rng.randrange(len(data)), rng.choice((1, 2, 7, 64, 500))
    return data[:start] + data[start : start + size] * rng.choice((0, 2)) + data[start + size :]


def length_falsified(data: bytes, rng: random.Random) -> bytes:
    """A length is 16 bits behind a short value representation, or 32 bits; giant, odd or nil here."""
    spot = rng.randrange(132, max(133, min(len(data) - 8, 3000)))
    lie = rng.choice((struct.pack("<I", 0xFFFFFFFF), struct.pack("<I", 2**31 - 1), struct.pack("<H", 65535), b"\0\0"))
    return data[:spot] + lie + data[spot + len(lie) :]


WORDS = (
    "",
    "0",
    "-1",
    "1e308",
    "nan",
    "inf",
    "abc",
    "99999999999999999999",
    "1\\2\\3",
    "\x1b$)C\xc8",
    "0.0\\0.0",
    "9" * 5000,
)
NUMBERS = (0, 1, 2, 7, 8, 12, 15, 16, 17, 32, 255, 4096, 16384, 65535)


def value_falsified(data: bytes, rng: random.Random) -> bytes:
    """A text or a number in the header replaced by an absurd one."""
    with warnings.catch_warnings(action="ignore"):
        one = pydicom.dcmread(io.BytesIO(data), force=True)
        element = rng.choice([tag for tag in one.keys() if tag != 0x7FE00010] or [None])  # noqa: SIM118 - a Dataset
        if element is None:
            return data
        vr = one.get_item(element).VR
        try:
            if vr in ("US", "SS"):
                one[element].value = rng.choice(NUMBERS)
            elif vr in ("DS", "IS", "CS", "UI", "LO", "DA", "TM", "SH", "PN"):
                one[element] = DataElement(element, vr, rng.choice(WORDS), validation_mode=IGNORE)
            written = io.BytesIO()
            pydicom.dcmwrite(written, one)
            return written.getvalue()
        except Exception:  # what pydicom will not write is damaged some other way
            return bytes_flipped(data, rng)


def nested_deep(data: bytes, rng: random.Random) -> bytes:
    """A sequence in a sequence in a sequence, before the pixel data; explicit files only are likely to be parsed."""
    depth = rng.choice((10, 100, 2000, 20000))
    opened = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    closed = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    at = max(data.find(b"\x08\x00\x20\x00"), 132)
    return data[:at] + opened * depth + closed * (depth if rng.random() < 0.5 else 0) + data[at:]


def bomb(data: bytes, rng: random.Random) -> bytes:
    """A deflated data set that swells a thousandfold."""
    with warnings.catch_warnings(action="ignore"):
        one = pydicom.dcmread(io.BytesIO(data), force=True)
        one.add_new(0x00091001, "OB", bytes(BOMB_BYTES))
        one.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        written = io.BytesIO()
        try:
            pydicom.dcmwrite(written, one, implicit_vr=False, little_endian=True)
        except Exception:  # what pydicom will not write is damaged some other way
            return bytes_flipped(data, rng)
        return written.getvalue()


MUTATIONS: tuple[tuple[Callable[[bytes, random.Random], bytes], int], ...] = (
    (bytes_flipped, 30),
    (cut_short, 10),
    (piece_lost_or_doubled, 15),
    (length_falsified, 20),
    (value_falsified, 20),
    (nested_deep, 4),
    (bomb, 1),
)
