"""Copy pixel data without anything but the pixel values.

Unused bits may hold an overlay with the patient's name (as the standard allowed until 2004). Bytes after the last pixel
and comments of compressed frames may hold anything. Native pixel data without these is copied byte for byte, and
compressed frames keep their coded picture.
"""

from dataclasses import replace

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.tag import Tag

from kicc_ml.dicom.header.pixel_length import is_compressed
from kicc_ml.dicom.header.values import compute_pixel_bytes, read_texts, read_transfer_syntax
from kicc_ml.dicom.pixels.bare_codestream import JPEG_START, strip_codestream
from kicc_ml.dicom.pixels.codestream import J2K_START, describe_codestream
from kicc_ml.dicom.pixels.decode_pool import DecodingError
from kicc_ml.dicom.pixels.layout import MismatchError, PixelLayout, decompress

PIXEL_DATA = Tag("PixelData")
OVERLAY_GROUPS = 0x60
OVERLAY_ROWS, OVERLAY_BIT, OVERLAY_DATA = 0x0010, 0x0102, 0x3000


class ForeignBitsError(Exception):
    """Unused bits of a compressed picture hold data, and cannot be cleared without coding it again."""


def has_overlay_among_values(source: Dataset) -> bool:
    """Whether an overlay is stated to lie in bits that also hold values, so that it cannot be removed."""
    layout = PixelLayout.from_values(read_texts(source))
    tags = source.keys()
    groups = {tag.group for tag in tags if tag.group >> 8 == OVERLAY_GROUPS and tag.element == OVERLAY_ROWS}
    embedded = [group for group in groups if (group, OVERLAY_DATA) not in source]
    of_values = range(layout.high_bit - layout.bits_stored + 1, layout.high_bit + 1)
    return any(_find_overlay_bit(source, group) in of_values for group in embedded)


def _find_overlay_bit(source: Dataset, group: int) -> int:
    """Find the bit of an overlay; the lowest if it is not stated."""
    element = source.get((group, OVERLAY_BIT))
    return int(element.value) if element is not None and isinstance(element.value, int) else 0


def copy_pixel_data(source: Dataset) -> DataElement | None:
    """Copy the element Pixel Data without unused bits, comments and bytes after the last pixel.

    Returns:
        the element; None if the source has none.

    Raises:
        ForeignBitsError: unused bits of a compressed picture hold data.
        ValueError, DecodingError: the frames contradict the header.
    """
    element = source.get_item(PIXEL_DATA)
    if element is None:
        return None
    values = read_texts(source)
    layout, syntax, raw = PixelLayout.from_values(values), read_transfer_syntax(source), bytes(element.value or b"")
    if syntax and is_compressed(syntax):
        frames = generate_frames(raw, number_of_frames=layout.frames)
        content = encapsulate([_clean_frame(frame, layout, syntax) for frame in frames])
    else:
        content = _clean_native_values(
            raw[: compute_pixel_bytes(values)], layout, "<" if source.original_encoding[1] else ">"
        )
    copy = DataElement(PIXEL_DATA, element.VR or "OW", content)
    copy.is_undefined_length = bool(syntax) and is_compressed(syntax)
    return copy


def _clean_native_values(raw: bytes, layout: PixelLayout, order: str) -> bytes:
    """Clear the unused bits of native pixel data (PS3.5 8.1.1), or fill them with the sign."""
    if layout.bits_stored != layout.bits_allocated:
        if layout.bits_allocated not in (8, 16, 32):
            raise ValueError(f"{layout.bits_allocated} bits per pixel are not supported")
        kind = np.dtype(f"{order}u{layout.bits_allocated // 8}")
        count = len(raw) // kind.itemsize
        raw = keep_used_bits(np.frombuffer(raw, kind, count), layout).astype(kind).tobytes()
    return raw + b"\0" * (len(raw) % 2)


def keep_used_bits(values: np.ndarray, layout: PixelLayout) -> np.ndarray:
    """Keep only the stored bits of unsigned values; the bits above a negative value become ones."""
    if not layout.bits_stored - 1 <= layout.high_bit < layout.bits_allocated:
        raise ValueError(
            f"{layout.bits_stored} bits up to bit {layout.high_bit} are not within {layout.bits_allocated}"
        )
    kind = values.dtype.type
    up_to_high = (1 << (layout.high_bit + 1)) - 1
    below = (1 << (layout.high_bit + 1 - layout.bits_stored)) - 1
    used: np.ndarray = values & kind(up_to_high & ~below)
    if layout.signed:
        above = kind(((1 << layout.bits_allocated) - 1) & ~up_to_high)
        used = np.where(values >> kind(layout.high_bit) & kind(1), used | above, used)
    return used


def _clean_frame(frame: bytes, layout: PixelLayout, syntax: str) -> bytes:
    coded = describe_codestream(frame)
    if coded is None:
        raise DecodingError("no compressed picture of a known kind begins here")
    frame = strip_codestream(frame, layout.rows * layout.columns)
    if coded.precision > layout.bits_stored:  # there is room for something else
        _check_unused_bits(frame, layout, syntax)
    return frame


def _check_unused_bits(frame: bytes, layout: PixelLayout, syntax: str) -> None:
    """Raise ForeignBitsError if bits outside the stored ones are neither zero nor the sign."""
    whole = replace(layout, bits_stored=layout.bits_allocated, high_bit=layout.bits_allocated - 1, signed=False)
    is_rle = frame[:2] != JPEG_START and frame[:4] != J2K_START  # RLE alone codes cells and not values
    try:
        stored = decompress(frame, whole if is_rle else layout, syntax)  # refuses what the stated bits cannot hold
    except MismatchError as error:
        raise ForeignBitsError from error
    if is_rle:
        empty_above = keep_used_bits(stored, replace(layout, signed=False))
        if ((keep_used_bits(stored, layout) != stored) & (empty_above != stored)).any():
            raise ForeignBitsError
