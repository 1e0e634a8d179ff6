"""The stored values of one DICOM image: straight from the file where it is uncompressed, else decoded apart.

What a file says of its pixels is held against what the compressed picture says of itself. Where both readings
give the same values nothing is lost by a wrong statement; where they do not, the picture is refused rather than
guessed: a CT read with the wrong sign is off by thousands of Hounsfield units.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.encaps import generate_fragments, parse_basic_offsets, parse_fragments
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from kicc_ml.dicom.codestream import PROCESSES, Codestream, describe
from kicc_ml.dicom.decode_pool import DecodingError, decoded
from kicc_ml.dicom.elements import TooLargeError, number, numbers, open_dataset, pixel_spacing_mm, whole
from kicc_ml.dicom.parse import parsed, refuse_giants
from kicc_ml.dicom.pixel_length import is_truncated
from kicc_ml.records import UserError

#: Without a stated transfer syntax a file is what its bytes look like to the parser: never compressed.
UNCOMPRESSED = {"", ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
DIGEST_CHUNK_BYTES = 2**20


class NotAnImage(UserError):
    """Pixels that cannot be had, or not be trusted; ``code`` is a key of :data:`kicc_ml.dicom.reasons.REASONS`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Image:
    """Stored values ``[row, column]`` with what is needed to place and scale them; None where not stated."""

    stored: np.ndarray
    position_mm: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, ...] | None
    slope: float | None
    intercept: float | None
    padding: tuple[float, float] | None
    stored_range: tuple[int, int]  # the lowest and highest values that fit the bits stored
    inverted: bool  # MONOCHROME1: high values are dark
    rescale_type: str


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


def read_image(path: Path, frame: int | None = None) -> Image:
    """Read and decode one grey image: the only one of a file, or a frame (from 0) of a multi-frame object.

    Values are as stored, those of a frame scaled and placed by its functional groups. Raises NotAnImage.
    """
    return next(read_frames(path, None if frame is None else (frame,)))


def read_frames(path: Path, frames: Sequence[int] | None) -> Iterator[Image]:
    """Frames of a file in the order asked for, one at a time; the file is opened and its header read once.

    None means the only frame. Raises NotAnImage with the code of the fault.
    """
    try:
        with path.open("rb", buffering=0) as stream:
            source = _Source(stream, path)
            if frames is None and source.cells.frames > 1:
                raise NotAnImage("multi_frame", f"{path} holds {source.cells.frames} frames; say which is wanted")
            if source.cells.samples > 1:
                raise NotAnImage("dose_page", f"{path}: a colour picture where a grey one is needed")
            for index in frames or (0,):
                yield _image(source, index)
    except NotAnImage:
        raise
    except Exception as error:  # a damaged file raises anything
        raise _not_an_image(path, error) from error


def decoding_fault(path: Path) -> str:
    """The code of what keeps any frame of a file from being decoded; "" where all can be, colours included.

    Of uncompressed pixels the header and the length of the file say all there is to say.
    """
    try:
        with path.open("rb", buffering=0) as stream:
            source = _Source(stream, path)
            if source.syntax in PROCESSES or source.syntax not in UNCOMPRESSED:
                for index in range(source.cells.frames):
                    source.stored(index)
    except NotAnImage as fault:
        return fault.code
    except Exception as error:  # a damaged file raises anything
        return _not_an_image(path, error).code
    return ""


def pixel_digest(path: Path) -> str:
    """Hash of the pixel data as stored, to tell the same slice written twice from another at its position."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        left = parsed(stream).pixel_length
        while left > 0 and (chunk := stream.read(min(left, DIGEST_CHUNK_BYTES))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()


def _not_an_image(path: Path, error: Exception) -> NotAnImage:
    if isinstance(error, TooLargeError | RecursionError | MemoryError):
        return NotAnImage("too_large", f"{path}: {error}; leave the file out")
    code = "unreadable" if isinstance(error, OSError) else "undecodable"
    return NotAnImage(code, f"{path}: cannot be decoded ({error}); leave the file out or export it again")


class _Source:
    """An open file whose header has been read, and the frames in it."""

    def __init__(self, stream: FileIO, path: Path) -> None:
        self.path = path
        self.header = parsed(stream)
        self.syntax = self.header.syntax
        refuse_giants(self.header.values)
        self.cells = Cells.of(self.header.values)
        self._stream: io.BufferedIOBase | FileIO = stream
        if self.syntax == DeflatedExplicitVRLittleEndian:
            self._stream, self._at = _inflated(path), 0
        else:
            self._at = stream.tell()
            self._check_length(stream)
        self._starts: list[int] = []

    def _check_length(self, stream: FileIO) -> None:
        if self.header.pixel_length == 0:
            raise NotAnImage("not_an_image", f"{self.path}: no pixel data")
        if is_truncated(self.header.values, self.syntax, self.header.pixel_length, stream):
            raise NotAnImage("truncated", f"{self.path}: ends before its pixel data does; export it again")

    def values(self, index: int) -> Mapping[str, str]:
        return self.header.frames[index] if self.header.frames else self.header.values

    def stored(self, index: int) -> np.ndarray:
        """Values of one frame as the header says they are to be read. Only its bytes are read."""
        if not 0 <= index < self.cells.frames:
            raise NotAnImage("undecodable", f"{self.path}: has {self.cells.frames} frames, none with number {index}")
        if self.syntax in UNCOMPRESSED:
            return self._uncompressed(index)
        if self.syntax not in PROCESSES:
            raise NotAnImage("undecodable", f"{self.path}: no decoder for transfer syntax {self.syntax}")
        try:
            return _as_stated(*_decompressed(self._codestream(index), self.cells, self.syntax), self.cells)
        except DecodingError as error:
            raise NotAnImage("undecodable", f"{self.path}: cannot be decoded ({error}); export it again") from error
        except _Mismatch as error:
            raise NotAnImage(
                "codestream_mismatch", f"{self.path}: {error}; have the archive export it uncompressed"
            ) from error

    def _uncompressed(self, index: int) -> np.ndarray:
        cells = self.cells
        if cells.bits_allocated not in (8, 16, 32):
            raise NotAnImage("undecodable", f"{self.path}: {cells.bits_allocated} bits per pixel are not supported")
        kind = np.dtype(f"{self.header.order}{'i' if cells.signed else 'u'}{cells.bits_allocated // 8}")
        values = np.empty((cells.rows, cells.columns), kind)
        self._stream.seek(self._at + index * values.nbytes)
        if self._stream.readinto(values.data.cast("B")) != values.nbytes:  # type: ignore[union-attr]
            raise NotAnImage("truncated", f"{self.path}: ends before its pixel data does; export it again")
        return without_unused_bits(values if kind.isnative else values.astype(kind.newbyteorder("=")), cells)

    def _codestream(self, index: int) -> bytes:
        """The fragments of one frame (PS3.5 A.4)."""
        stream = self._stream = (
            self._stream if isinstance(self._stream, io.BufferedReader) else io.BufferedReader(self._stream)
        )
        if not self._starts:
            stream.seek(self._at)
            self._starts = _frame_starts(stream, self.cells.frames)
        stream.seek(self._starts[index])
        last = index + 1 == len(self._starts)
        span = stream if last else io.BytesIO(stream.read(self._starts[index + 1] - self._starts[index]))
        return b"".join(generate_fragments(span))


def _inflated(path: Path) -> io.BytesIO:
    """Pixel data of a deflated file, which can be read as a whole only."""
    with path.open("rb") as stream:
        open_dataset(stream)  # checks what it would swell to
    return io.BytesIO(pydicom.dcmread(path, force=True, specific_tags=["PixelData"]).PixelData)


def _frame_starts(stream: io.BufferedReader, frames: int) -> list[int]:
    """Where the first fragment of each frame begins; the offset table is believed only where it is needed."""
    offsets = parse_basic_offsets(stream)
    base = stream.tell()
    count, fragments = parse_fragments(stream)
    if frames == 1:
        return fragments[:1]
    if count == frames:
        return fragments
    if len(offsets) == frames and set(offsets) <= {start - base for start in fragments}:
        return [base + offset for offset in offsets]
    raise ValueError(f"{count} fragments without a sound offset table for {frames} frames")


class _Mismatch(Exception):
    """The compressed picture contradicts the header."""


def _decompressed(stream: bytes, cells: Cells, syntax: str) -> tuple[np.ndarray, Codestream]:
    """Values as coded, once the codestream is known to have the size, depth and coding that are stated."""
    coded = describe(stream)
    if coded is None:
        raise DecodingError("no compressed picture of a known kind begins here")
    if coded.process == "rle":  # states byte planes only
        size = {"rows": cells.rows, "columns": cells.columns, "components": cells.samples}
        coded = replace(coded, **size, precision=coded.precision // cells.samples)
    found = {"rows": coded.rows, "columns": coded.columns, "samples per pixel": coded.components}
    stated = {"rows": cells.rows, "columns": cells.columns, "samples per pixel": cells.samples}
    for name, count in found.items():
        if count != stated[name]:
            raise _Mismatch(f"the compressed picture has {count} {name}, the header says {stated[name]}")
    if coded.process not in PROCESSES[syntax]:
        raise _Mismatch(f"the picture is coded as {coded.process}, transfer syntax {syntax} says otherwise")
    if coded.precision > cells.bits_allocated or (coded.process == "rle" and coded.precision < cells.bits_allocated):
        raise _Mismatch(f"the picture is coded with {coded.precision} bits, {cells.bits_allocated} are allocated")
    return decoded(stream, coded), coded


def _as_stated(values: np.ndarray, coded: Codestream, cells: Cells) -> np.ndarray:
    """Coded values read by the sign and depth of the header; _Mismatch where these would change them.

    JPEG and JPEG-LS code bits without saying what they mean: negative numbers come in two's complement of the
    coded depth. JPEG 2000 says whether it has a sign.
    """
    if coded.process == "rle":
        return without_unused_bits(values.view(values.dtype.str.replace("u", "i")) if cells.signed else values, cells)
    if cells.signed and coded.signed is None and coded.precision >= cells.bits_stored:
        filled = values.max(initial=0) < 2**cells.bits_stored  # encoders either extend the sign or leave zeros
        values = _from_twos_complement(values, cells.bits_stored if filled else coded.precision)
    elif cells.signed and not coded.signed and values.max(initial=0) >= 2 ** (coded.precision - 1):
        raise _Mismatch(f"values use all {coded.precision} bits without a sign, the header says they are signed")
    low, high = cells.range
    if values.min(initial=0) < low or values.max(initial=0) > high:
        raise _Mismatch(
            f"values run from {values.min()} to {values.max()}, which the {cells.bits_stored} bits "
            f"{'with' if cells.signed else 'without'} sign of the header cannot hold"
        )
    return values


def _from_twos_complement(values: np.ndarray, bits: int) -> np.ndarray:
    kind = np.int8 if values.dtype.itemsize == 1 else np.int16
    unused = 8 * values.dtype.itemsize - bits
    return (values.view(kind) << unused) >> unused


def without_unused_bits(values: np.ndarray, cells: Cells) -> np.ndarray:
    """Bits outside those stored may hold an overlay or no sign (PS3.5 8.1.1): shift out, extend the sign."""
    bits = 8 * values.dtype.itemsize
    if not cells.bits_stored - 1 <= cells.high_bit < bits:
        raise ValueError(f"{cells.bits_stored} bits up to bit {cells.high_bit} are not within {bits}")
    if cells.bits_stored == bits:
        return values
    return (values << (bits - 1 - cells.high_bit)) >> (bits - cells.bits_stored)


def _image(source: _Source, index: int) -> Image:
    values, cells = source.values(index), source.cells
    padding = _stored_value(values, "PixelPaddingValue", cells)
    limit = _stored_value(values, "PixelPaddingRangeLimit", cells)
    return Image(
        stored=source.stored(index),
        position_mm=numbers(values, "ImagePositionPatient", 3),
        orientation=numbers(values, "ImageOrientationPatient", 6),
        pixel_spacing_mm=pixel_spacing_mm(values),
        slope=number(values, "RescaleSlope"),
        intercept=number(values, "RescaleIntercept"),
        padding=None if padding is None else (padding, padding if limit is None else limit),
        stored_range=cells.range,
        inverted=values.get("PhotometricInterpretation") == "MONOCHROME1",
        rescale_type=values.get("RescaleType", "").upper(),
    )


def _stored_value(values: Mapping[str, str], name: str, cells: Cells) -> int | None:
    """A tag of type US or SS, which is often written with the wrong sign."""
    value = whole(values, name)
    if value is None:
        return None
    if cells.signed and value > 32767:
        return value - 65536
    return value + 65536 if not cells.signed and value < 0 else value
