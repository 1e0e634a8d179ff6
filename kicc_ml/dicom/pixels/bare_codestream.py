"""Strip a compressed frame of what no decoder needs: comments, application data, and bytes after its end.

The coded picture stays the same, bit for bit. Formats: JPEG: ITU-T T.81 B; JPEG-LS: T.87 C; JPEG 2000: T.800 A; RLE:
DICOM PS3.5 annex G.
"""

import struct
from itertools import pairwise

from kicc_ml.dicom.pixels.codestream import J2K_START, JP2_SIGNATURE, STANDALONE, START_OF_SCAN

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
#: Comments and application segments: names of programs, thumbnails, colour spaces. Grey pictures need none of them.
JPEG_DROPPED = {0xFE, *range(0xE0, 0xF0)}
RESTARTS = range(0xD0, 0xD8)
J2K_TILE, J2K_DATA, J2K_END, J2K_COMMENT = 0x90, 0x93, 0xD9, 0x64
#: Table of tile-part lengths, which a dropped comment makes wrong; decoders do not need it.
J2K_LENGTHS = 0x55
TILE_HEADER_BYTES = 12
RLE_HEADER_BYTES = 64


def strip_codestream(stream: bytes, pixels: int) -> bytes:
    """Strip a compressed frame down to its coded picture.

    Args:
        stream: one frame as it is stored.
        pixels: number of pixels of the frame, which is the number of values in each byte plane of RLE.

    Returns:
        the frame without comments, application data and bytes after its end.

    Raises:
        ValueError: the frame has another coding, or ends early.
    """
    try:
        if stream[:2] == JPEG_START:
            return _strip_jpeg(stream)
        if stream[:4] == J2K_START or stream.startswith(JP2_SIGNATURE):
            return _strip_jpeg_2000(stream[stream.index(J2K_START) :])
        return _strip_rle(stream, pixels)
    except (struct.error, IndexError) as error:
        raise ValueError("the compressed frame ends early") from error


def _strip_jpeg(stream: bytes) -> bytes:
    kept, at = [JPEG_START], 2
    while stream[at : at + 2] != JPEG_END:
        if stream[at] != 0xFF:
            raise ValueError("a marker of JPEG is missing")
        marker = stream[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        end = at + 2 if marker in STANDALONE else at + 2 + _read_segment_length(stream, at + 2)
        if marker == START_OF_SCAN:
            end = _find_scan_end(stream, end)
        if marker not in JPEG_DROPPED:
            kept.append(stream[at:end])
        at = end
    return b"".join([*kept, JPEG_END])


def _read_segment_length(stream: bytes, at: int) -> int:
    """Read the length of a segment, including its two bytes of length."""
    (length,) = struct.unpack_from(">H", stream, at)
    if length < 2 or at + length > len(stream):
        raise ValueError("a segment is longer than the compressed frame")
    return int(length)


def _find_scan_end(stream: bytes, at: int) -> int:
    """Find the next marker. In coded data ``FF`` is followed by a small byte or by a restart number."""
    while True:
        at = stream.find(b"\xff", at)
        if at < 0 or at + 1 >= len(stream):
            raise ValueError("the compressed frame has no end")
        if stream[at + 1] >= 0x80 and stream[at + 1] not in RESTARTS:
            return at
        at += 1


def _strip_jpeg_2000(stream: bytes) -> bytes:
    head, at = _split_segments(stream, 2, J2K_TILE)
    kept = [stream[:2], *head]
    while stream[at : at + 2] == bytes((0xFF, J2K_TILE)):
        length, header = _read_tile_part_length(stream, at), stream[at : at + TILE_HEADER_BYTES]
        segments, data = _split_segments(stream, at + TILE_HEADER_BYTES, J2K_DATA)
        part = b"".join([*segments, stream[data : at + length]])
        size = struct.pack(">I", TILE_HEADER_BYTES + len(part))
        kept += [header[:6], size, header[10:], part]
        at += length
    if stream[at : at + 2] != bytes((0xFF, J2K_END)):
        raise ValueError("a tile of JPEG 2000 is missing")
    return b"".join([*kept, bytes((0xFF, J2K_END))])


def _split_segments(stream: bytes, at: int, last: int) -> tuple[list[bytes], int]:
    """Split off the segments that stay, up to the marker ``last``, and return them with the marker's offset."""
    kept = []
    while stream[at + 1] != last or stream[at] != 0xFF:
        if stream[at] != 0xFF:
            raise ValueError("a marker of JPEG 2000 is missing")
        end = at + 2 + _read_segment_length(stream, at + 2)
        if stream[at + 1] not in (J2K_COMMENT, J2K_LENGTHS):
            kept.append(stream[at:end])
        at = end
    return kept, at


def _read_tile_part_length(stream: bytes, at: int) -> int:
    """Read the length of a tile-part. The last one may leave it open and then ends with the picture."""
    (length,) = struct.unpack_from(">I", stream, at + 6)
    length = int(length) or stream.rindex(bytes((0xFF, J2K_END))) - at
    if length < TILE_HEADER_BYTES or at + length > len(stream):
        raise ValueError("a tile is longer than the compressed frame")
    return length


def _strip_rle(stream: bytes, pixels: int) -> bytes:
    planes, *offsets = struct.unpack_from("<16I", stream)
    starts = offsets[:planes]
    if not 1 <= planes <= 15 or any(later <= earlier for earlier, later in pairwise([0, *starts])):
        raise ValueError("no compressed picture of a known kind begins here")
    segments = [_cut_byte_plane(stream, start, pixels) for start in starts]
    at, offsets = RLE_HEADER_BYTES, []
    for segment in segments:
        offsets.append(at)
        at += len(segment)
    header = struct.pack("<16I", planes, *offsets, *[0] * (15 - planes))
    return b"".join([header, *segments])


def _cut_byte_plane(stream: bytes, start: int, pixels: int) -> bytes:
    """Cut one byte plane after its last value, padded to even length."""
    at, left = start, pixels
    while left > 0:
        control = stream[at]
        if control < 128:
            at, left = at + 2 + control, left - control - 1
        elif control > 128:
            at, left = at + 2, left - (257 - control)
        else:
            at += 1
    if at > len(stream):
        raise ValueError("the compressed frame ends early")
    return stream[start:at] + b"\0" * ((at - start) % 2)
