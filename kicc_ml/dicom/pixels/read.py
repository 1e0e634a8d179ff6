"""Read the stored values of DICOM images, directly from uncompressed files, else decoded in another process."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kicc_ml.dicom.header.parse import parse_header
from kicc_ml.dicom.header.values import TooLargeError, read_integer, read_number, read_numbers, read_pixel_spacing_mm
from kicc_ml.dicom.pixels.layout import PixelLayout
from kicc_ml.dicom.pixels.source import NotAnImage, PixelSource

DIGEST_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class Image:
    """Stored values ``[row, column]`` with the header values that position and scale them; None if not stated."""

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


def read_image(path: Path, frame: int | None = None) -> Image:
    """Read and decode one grey image.

    Args:
        path: the file.
        frame: index of a frame (from 0) of a multi-frame object; None for the only image of a file.

    Returns:
        the image, with the position and scale of its functional groups if it is a frame.

    Raises:
        NotAnImage: the image cannot be read, or is not one grey image.
    """
    return next(read_frames(path, None if frame is None else (frame,)))


def read_frames(path: Path, frames: Sequence[int] | None) -> Iterator[Image]:
    """Iterate over frames of a file. The file is opened and its header is read only once.

    Args:
        path: the file.
        frames: indices of frames (from 0) in the wanted order; None for the only image of a file.

    Raises:
        NotAnImage: a frame cannot be read; the error has the code of the fault.
    """
    try:
        with path.open("rb", buffering=0) as stream:
            source = PixelSource(stream, path)
            if frames is None and source.layout.frames > 1:
                raise NotAnImage("multi_frame", f"{path} holds {source.layout.frames} frames; say which is wanted")
            if source.layout.samples > 1:
                raise NotAnImage("dose_page", f"{path}: a colour picture where a grey one is needed")
            for index in frames or (0,):
                yield _make_image(source, index)
    except NotAnImage:
        raise
    except Exception as error:  # a damaged file raises anything
        raise _make_not_an_image(path, error) from error


def find_decoding_fault(path: Path) -> str:
    """Find out whether all frames of a file can be decoded, colour pictures included.

    Uncompressed pixels need no decoding; for them header and file length are checked.

    Returns:
        the reason code of the fault, or "".
    """
    try:
        with path.open("rb", buffering=0) as stream:
            source = PixelSource(stream, path)
            if not source.is_uncompressed:
                for index in range(source.layout.frames):
                    source.stored(index)
    except NotAnImage as fault:
        return fault.code
    except Exception as error:  # a damaged file raises anything
        return _make_not_an_image(path, error).code
    return ""


def compute_pixel_digest(path: Path) -> str:
    """Compute a hash of the stored pixel data, to detect whether two slices at one position are the same."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        left = parse_header(stream).pixel_length
        while left > 0 and (chunk := stream.read(min(left, DIGEST_CHUNK_BYTES))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()


def _make_not_an_image(path: Path, error: Exception) -> NotAnImage:
    if isinstance(error, TooLargeError | RecursionError | MemoryError):
        return NotAnImage("too_large", f"{path}: {error}; leave the file out")
    code = "unreadable" if isinstance(error, OSError) else "undecodable"
    return NotAnImage(code, f"{path}: cannot be decoded ({error}); leave the file out or export it again")


def _make_image(source: PixelSource, index: int) -> Image:
    values, layout = source.values(index), source.layout
    padding = _read_stored_value(values, "PixelPaddingValue", layout)
    limit = _read_stored_value(values, "PixelPaddingRangeLimit", layout)
    return Image(
        stored=source.stored(index),
        position_mm=read_numbers(values, "ImagePositionPatient", 3),
        orientation=read_numbers(values, "ImageOrientationPatient", 6),
        pixel_spacing_mm=read_pixel_spacing_mm(values),
        slope=read_number(values, "RescaleSlope"),
        intercept=read_number(values, "RescaleIntercept"),
        padding=None if padding is None else (padding, padding if limit is None else limit),
        stored_range=layout.range,
        inverted=values.get("PhotometricInterpretation") == "MONOCHROME1",
        rescale_type=values.get("RescaleType", "").upper(),
    )


def _read_stored_value(values: Mapping[str, str], name: str, layout: PixelLayout) -> int | None:
    """Read a value of type US or SS, which is often written with the wrong sign."""
    value = read_integer(values, name)
    if value is None:
        return None
    if layout.signed and value > 32767:
        return value - 65536
    return value + 65536 if not layout.signed and value < 0 else value
