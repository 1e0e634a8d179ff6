"""Read the pixel layout from a header, and check compressed pictures against it.

A wrong statement that does not change the values is tolerated. Otherwise the picture is refused: a CT that is read with
the wrong sign is wrong by thousands of Hounsfield units.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kicc_ml.dicom.header.values import read_integer
from kicc_ml.dicom.pixels.codestream import PROCESSES, Codestream, describe_codestream
from kicc_ml.dicom.pixels.decode_pool import DecodingError, decode_in_worker


@dataclass(frozen=True)
class PixelLayout:
    """The pixel layout that the header states (PS3.5 section 8)."""

    rows: int
    columns: int
    samples: int
    frames: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool

    @classmethod
    def from_values(cls, values: Mapping[str, str]) -> "PixelLayout":
        """Read the pixel layout from header texts."""
        allocated = read_integer(values, "BitsAllocated") or 0
        stored = read_integer(values, "BitsStored") or allocated
        high = read_integer(values, "HighBit")
        return cls(
            rows=read_integer(values, "Rows") or 0,
            columns=read_integer(values, "Columns") or 0,
            samples=read_integer(values, "SamplesPerPixel") or 1,
            frames=read_integer(values, "NumberOfFrames") or 1,
            bits_allocated=allocated,
            bits_stored=stored,
            high_bit=stored - 1 if high is None else high,
            signed=bool(read_integer(values, "PixelRepresentation")),
        )

    @property
    def range(self) -> tuple[int, int]:
        """The lowest and the highest value that fit into the stored bits."""
        low = -(2 ** (self.bits_stored - 1)) if self.signed else 0
        return low, low + 2**self.bits_stored - 1


class MismatchError(Exception):
    """The compressed picture contradicts the header."""


def decompress(stream: bytes, layout: PixelLayout, syntax: str) -> np.ndarray:
    """Decode one compressed frame and interpret its values as the header states.

    Args:
        stream: the compressed frame.
        layout: the pixel layout of the header.
        syntax: UID of the transfer syntax.

    Returns:
        the values ``[row, column]``.

    Raises:
        MismatchError: the picture contradicts the header.
        DecodingError: the picture cannot be decoded.
    """
    coded = describe_codestream(stream)
    if coded is None:
        raise DecodingError("no compressed picture of a known kind begins here")
    if coded.process == "rle":  # states byte planes only
        depth = coded.precision // layout.samples
        coded = Codestream("rle", layout.rows, layout.columns, layout.samples, depth)
    _check_codestream(coded, layout, syntax)
    return _convert_as_stated(decode_in_worker(stream, coded), coded, layout)


def _check_codestream(coded: Codestream, layout: PixelLayout, syntax: str) -> None:
    found = {"rows": coded.rows, "columns": coded.columns, "samples per pixel": coded.components}
    stated = {"rows": layout.rows, "columns": layout.columns, "samples per pixel": layout.samples}
    for name, count in found.items():
        if count != stated[name]:
            raise MismatchError(f"the compressed picture has {count} {name}, the header says {stated[name]}")
    if coded.process not in PROCESSES[syntax]:
        raise MismatchError(f"the picture is coded as {coded.process}, transfer syntax {syntax} says otherwise")
    if coded.precision > layout.bits_allocated or (coded.process == "rle" and coded.precision < layout.bits_allocated):
        raise MismatchError(f"the picture is coded with {coded.precision} bits, {layout.bits_allocated} are allocated")


def _convert_as_stated(values: np.ndarray, coded: Codestream, layout: PixelLayout) -> np.ndarray:
    """Interpret coded values by the sign and bit depth of the header.

    JPEG and JPEG-LS code bits without a meaning: negative numbers are in two's complement of the coded depth.
    JPEG 2000 states whether its values are signed.

    Raises:
        MismatchError: the values do not fit what the header states.
    """
    if coded.process == "rle":
        return drop_unused_bits(values.view(values.dtype.str.replace("u", "i")) if layout.signed else values, layout)
    if layout.signed and coded.signed is None and coded.precision >= layout.bits_stored:
        filled = values.max(initial=0) < 2**layout.bits_stored  # encoders either extend the sign or leave zeros
        values = _convert_twos_complement(values, layout.bits_stored if filled else coded.precision)
    elif layout.signed and not coded.signed and values.max(initial=0) >= 2 ** (coded.precision - 1):
        raise MismatchError(f"values use all {coded.precision} bits without a sign, the header says they are signed")
    low, high = layout.range
    if values.min(initial=0) < low or values.max(initial=0) > high:
        raise MismatchError(
            f"values run from {values.min()} to {values.max()}, which the {layout.bits_stored} bits "
            f"{'with' if layout.signed else 'without'} sign of the header cannot hold"
        )
    return values


def _convert_twos_complement(values: np.ndarray, bits: int) -> np.ndarray:
    unused = 8 * values.dtype.itemsize - bits
    signed: np.ndarray = values.view(f"i{values.dtype.itemsize}")
    return (signed << unused) >> unused


def drop_unused_bits(values: np.ndarray, layout: PixelLayout) -> np.ndarray:
    """Drop bits outside the stored ones, which may hold an overlay (PS3.5 8.1.1), and extend the sign."""
    bits = 8 * values.dtype.itemsize
    if not layout.bits_stored - 1 <= layout.high_bit < bits:
        raise ValueError(f"{layout.bits_stored} bits up to bit {layout.high_bit} are not within {bits}")
    if layout.bits_stored == bits:
        return values
    return (values << (bits - 1 - layout.high_bit)) >> (bits - layout.bits_stored)
