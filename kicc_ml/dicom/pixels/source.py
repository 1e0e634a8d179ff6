"""Read single frames of an open DICOM file without reading the other frames."""

import io
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pydicom
from pydicom.encaps import generate_fragments, parse_basic_offsets, parse_fragments
from pydicom.uid import DeflatedExplicitVRLittleEndian

from kicc_ml.core.errors import UserError
from kicc_ml.dicom.header.encoding import UNCOMPRESSED, has_wrong_pixel_encoding
from kicc_ml.dicom.header.parse import parse_header, refuse_oversized
from kicc_ml.dicom.header.pixel_length import is_truncated
from kicc_ml.dicom.header.stated_tags import suppress_warnings
from kicc_ml.dicom.header.values import open_dataset
from kicc_ml.dicom.pixels.codestream import PROCESSES
from kicc_ml.dicom.pixels.decode_pool import DecodingError
from kicc_ml.dicom.pixels.layout import MismatchError, PixelLayout, decompress, drop_unused_bits


class NotAnImage(UserError):
    """Pixels that cannot be read or trusted; ``code`` is one of :mod:`kicc_ml.dicom.series.reasons`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class PixelSource:
    """An open file whose header has been read.

    Raises:
        NotAnImage: the pixel data is missing, incomplete, or wrongly encoded.
    """

    def __init__(self, stream: FileIO, path: Path) -> None:
        self.path = path
        self.header = parse_header(stream)
        refuse_oversized(self.header.values)
        self.layout = PixelLayout.from_values(self.header.values)
        self._starts: list[int] = []
        if self.header.syntax == DeflatedExplicitVRLittleEndian:
            self._stream: BinaryIO = _inflate(path)
            self._at = 0
        else:
            self._at = stream.tell()
            self._check_length(stream)
            self._stream = cast(BinaryIO, stream if self.header.syntax in UNCOMPRESSED else io.BufferedReader(stream))

    @property
    def is_uncompressed(self) -> bool:
        """Whether the values are stored without any compression."""
        return self.header.syntax in UNCOMPRESSED - {DeflatedExplicitVRLittleEndian}

    def values(self, index: int) -> Mapping[str, str]:
        """Return the header values of a frame, by keyword."""
        return self.header.frames[index] if self.header.frames else self.header.values

    def stored(self, index: int) -> np.ndarray:
        """Read the values of one frame as the header states them. Only the bytes of the frame are read."""
        if not 0 <= index < self.layout.frames:
            raise self._make_refusal("undecodable", f"has {self.layout.frames} frames, none with number {index}")
        syntax = self.header.syntax
        if syntax in UNCOMPRESSED:
            return self._read_uncompressed(index)
        if syntax not in PROCESSES:
            raise self._make_refusal("undecodable", f"no decoder for transfer syntax {syntax}")
        try:
            return decompress(self._read_codestream(index), self.layout, syntax)
        except DecodingError as error:
            raise self._make_refusal("undecodable", f"cannot be decoded ({error}); export it again") from error
        except MismatchError as error:
            remedy = "have the archive export it uncompressed"
            raise self._make_refusal("codestream_mismatch", f"{error}; {remedy}") from error

    def _make_refusal(self, code: str, message: str) -> NotAnImage:
        return NotAnImage(code, f"{self.path}: {message}")

    def _check_length(self, stream: FileIO) -> None:
        if self.header.pixel_length == 0:
            raise self._make_refusal("not_an_image", "no pixel data")
        if has_wrong_pixel_encoding(self.header.syntax, self.header.pixel_length, stream):
            raise self._make_refusal(
                "wrong_syntax", "its pixel data is not encoded as its transfer syntax says; export it again"
            )
        if is_truncated(self.header.values, self.header.syntax, self.header.pixel_length, stream):
            raise self._make_refusal("truncated", "ends before its pixel data does; export it again")

    def _read_uncompressed(self, index: int) -> np.ndarray:
        layout = self.layout
        if layout.bits_allocated not in (8, 16, 32):
            raise self._make_refusal("undecodable", f"{layout.bits_allocated} bits per pixel are not supported")
        kind = np.dtype(f"{self.header.order}{'i' if layout.signed else 'u'}{layout.bits_allocated // 8}")
        values = np.empty((layout.rows, layout.columns), kind)
        self._stream.seek(self._at + index * values.nbytes)
        if self._stream.readinto(values.data.cast("B")) != values.nbytes:  # type: ignore[attr-defined]
            raise self._make_refusal("truncated", "ends before its pixel data does; export it again")
        return drop_unused_bits(values if kind.isnative else values.astype(kind.newbyteorder("=")), layout)

    def _read_codestream(self, index: int) -> bytes:
        """Read the fragments of one frame (PS3.5 A.4)."""
        if not self._starts:
            self._stream.seek(self._at)
            self._starts = _find_frame_starts(self._stream, self.layout.frames)
        self._stream.seek(self._starts[index])
        if index + 1 == len(self._starts):
            return b"".join(generate_fragments(self._stream))
        return b"".join(generate_fragments(self._stream.read(self._starts[index + 1] - self._starts[index])))


@suppress_warnings()
def _inflate(path: Path) -> io.BytesIO:
    """Inflate the pixel data of a deflated file, which can only be read as a whole."""
    with path.open("rb") as stream:
        open_dataset(stream)  # checks the inflated size
    return io.BytesIO(pydicom.dcmread(path, force=True, specific_tags=["PixelData"]).PixelData)


def _find_frame_starts(stream: BinaryIO, frames: int) -> list[int]:
    """Find the offset of the first fragment of each frame. The offset table is used only if it is needed."""
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
