"""How a header says pixels are laid out, and compressed pictures held against it.

Where a wrong statement makes no difference to the values nothing is lost by it; where it does, the picture is
refused rather than guessed: a CT read with the wrong sign is off by thousands of Hounsfield units.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kicc_ml.dicom.header.values import whole
from kicc_ml.dicom.pixels.codestream import PROCESSES, Codestream, describe
from kicc_ml.dicom.pixels.decode_pool import DecodingError, decoded


@dataclass(frozen=True)
class Cells:
    """How the header says pixels are laid out (PS3.5 section 8)."""

    rows: int
    columns: int
    samples: int
    frames: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool

    @classmethod
    def of(cls, values: Mapping[str, str]) -> "Cells":
        allocated = whole(values, "BitsAllocated") or 0
        stored = whole(values, "BitsStored") or allocated
        high = whole(values, "HighBit")
        return cls(
            rows=whole(values, "Rows") or 0,
            columns=whole(values, "Columns") or 0,
            samples=whole(values, "SamplesPerPixel") or 1,
            frames=whole(values, "NumberOfFrames") or 1,
            bits_allocated=allocated,
            bits_stored=stored,
            high_bit=stored - 1 if high is None else high,
            signed=bool(whole(values, "PixelRepresentation")),
        )

    @property
    def range(self) -> tuple[int, int]:
        """The lowest and the highest value that fit."""
        low = -(2 ** (self.bits_stored - 1)) if self.signed else 0
        return low, low + 2**self.bits_stored - 1


class MismatchError(Exception):
    """The compressed picture contradicts the header."""


def decompressed(stream: bytes, cells: Cells, syntax: str) -> np.ndarray:
    """Values of one compressed frame as the header means them. Raises MismatchError, DecodingError."""
    coded = describe(stream)
    if coded is None:
        raise DecodingError("no compressed picture of a known kind begins here")
    if coded.process == "rle":  # states byte planes only
        depth = coded.precision // cells.samples
        coded = Codestream("rle", cells.rows, cells.columns, cells.samples, depth)
    _check(coded, cells, syntax)
    return _as_stated(decoded(stream, coded), coded, cells)


def _check(coded: Codestream, cells: Cells, syntax: str) -> None:
    found = {"rows": coded.rows, "columns": coded.columns, "samples per pixel": coded.components}
    stated = {"rows": cells.rows, "columns": cells.columns, "samples per pixel": cells.samples}
    for name, count in found.items():
        if count != stated[name]:
            raise MismatchError(f"the compressed picture has {count} {name}, the header says {stated[name]}")
    if coded.process not in PROCESSES[syntax]:
        raise MismatchError(f"the picture is coded as {coded.process}, transfer syntax {syntax} says otherwise")
    if coded.precision > cells.bits_allocated or (coded.process == "rle" and coded.precision < cells.bits_allocated):
        raise MismatchError(f"the picture is coded with {coded.precision} bits, {cells.bits_allocated} are allocated")


def _as_stated(values: np.ndarray, coded: Codestream, cells: Cells) -> np.ndarray:
    """Coded values read by the sign and depth of the header; MismatchError where these would change them.

    JPEG and JPEG-LS code bits without saying what they mean: negative numbers come in two's complement of the
    coded depth. JPEG 2000 says whether it has a sign.
    """
    if coded.process == "rle":
        return without_unused_bits(values.view(values.dtype.str.replace("u", "i")) if cells.signed else values, cells)
    if cells.signed and coded.signed is None and coded.precision >= cells.bits_stored:
        filled = values.max(initial=0) < 2**cells.bits_stored  # encoders either extend the sign or leave zeros
        values = _from_twos_complement(values, cells.bits_stored if filled else coded.precision)
    elif cells.signed and not coded.signed and values.max(initial=0) >= 2 ** (coded.precision - 1):
        raise MismatchError(f"values use all {coded.precision} bits without a sign, the header says they are signed")
    low, high = cells.range
    if values.min(initial=0) < low or values.max(initial=0) > high:
        raise MismatchError(
            f"values run from {values.min()} to {values.max()}, which the {cells.bits_stored} bits "
            f"{'with' if cells.signed else 'without'} sign of the header cannot hold"
        )
    return values


def _from_twos_complement(values: np.ndarray, bits: int) -> np.ndarray:
    unused = 8 * values.dtype.itemsize - bits
    signed: np.ndarray = values.view(f"i{values.dtype.itemsize}")
    return (signed << unused) >> unused


def without_unused_bits(values: np.ndarray, cells: Cells) -> np.ndarray:
    """Bits outside those stored may hold an overlay or no sign (PS3.5 8.1.1): shift out, extend the sign."""
    bits = 8 * values.dtype.itemsize
    if not cells.bits_stored - 1 <= cells.high_bit < bits:
        raise ValueError(f"{cells.bits_stored} bits up to bit {cells.high_bit} are not within {bits}")
    if cells.bits_stored == bits:
        return values
    return (values << (bits - 1 - cells.high_bit)) >> (bits - cells.bits_stored)
