"""A compressed frame keeps its picture, bit for bit, and loses everything that is not the picture."""

import io
import struct

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import get_encoder
from pydicom.uid import UID, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from kicc_ml.dicom.pixels.bare_codestream import strip_codestream
from kicc_ml.dicom.pixels.codestream import describe_codestream
from kicc_ml.dicom.pixels.decode_pool import decode_in_worker
from kicc_ml.synthetic.pixel_encoding import set_pixels

VALUES = np.random.default_rng(3).integers(0, 65536, (45, 37), np.uint16)
SECRET = b"KIM CHULSOO 900101-1234567"
COMMENT = b"\xff\xfe" + struct.pack(">H", 2 + len(SECRET)) + SECRET
APPLICATION = b"\xff\xe5" + struct.pack(">H", 2 + len(SECRET)) + SECRET
LATIN = struct.pack(">H", 1)  # how the text of a comment of JPEG 2000 is written
COMMENT_2000 = b"\xff\x64" + struct.pack(">H", 4 + len(SECRET)) + LATIN + SECRET


def encoded(syntax: UID) -> bytes:
    rows, columns = VALUES.shape
    frame = get_encoder(syntax).encode(
        VALUES,
        rows=rows,
        columns=columns,
        samples_per_pixel=1,
        number_of_frames=1,
        bits_allocated=16,
        bits_stored=16,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
        encoding_plugin="pyjpegls" if syntax == JPEGLSLossless else "pylibjpeg",
    )
    return bytes(frame)


def jpeg(progressive: bool = False) -> bytes:
    stream = io.BytesIO()
    grey = Image.fromarray((VALUES >> 8).astype(np.uint8))
    grey.save(stream, "JPEG", progressive=progressive, restart_marker_blocks=2)
    return stream.getvalue()


def lossless_jpeg() -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    set_pixels(dataset, VALUES, JPEGLosslessSV1)
    encapsulated = dataset.PixelData
    start = encapsulated.index(b"\xff\xd8")
    return encapsulated[start : encapsulated.rindex(b"\xff\xd9") + 2]


JPEGS = {
    "baseline": jpeg(),
    "progressive": jpeg(progressive=True),
    "lossless": lossless_jpeg(),
    "ls": encoded(JPEGLSLossless),
}


def picture(frame: bytes) -> np.ndarray:
    coded = describe_codestream(frame)
    assert coded is not None
    if coded.process == "rle":
        coded = type(coded)("rle", *VALUES.shape, 1, 16)
    return decode_in_worker(frame, coded)


@pytest.mark.parametrize("coding", JPEGS)
def test_comments_and_application_data_of_jpeg_go_wherever_they_stand(coding: str):
    frame = JPEGS[coding]
    scan = frame.index(b"\xff\xda")
    marked = b"".join(
        [frame[:2], COMMENT, APPLICATION, b"\xff", COMMENT, frame[2:scan], APPLICATION, frame[scan:-2], COMMENT]
    )
    found = strip_codestream(marked + b"\xff\xd9" + SECRET, VALUES.size)
    assert SECRET not in found
    np.testing.assert_array_equal(picture(found), picture(frame))
    assert found.endswith(b"\xff\xd9")


@pytest.mark.parametrize("coding", JPEGS)
def test_a_jpeg_without_them_is_the_same_but_for_its_jfif_header(coding: str):
    frame = JPEGS[coding]
    assert strip_codestream(strip_codestream(frame, VALUES.size), VALUES.size) == strip_codestream(frame, VALUES.size)
    assert len(frame) - len(strip_codestream(frame, VALUES.size)) in (0, 18)  # JFIF: APP0 of 16 bytes and its marker


def with_tile_comment(frame: bytes, open_end: bool = False) -> bytes:
    """A comment in the header of the one tile-part, whose length then grows; or is left open, as the last one's may."""
    at = frame.index(b"\xff\x90")
    (length,) = struct.unpack_from(">I", frame, at + 6)
    assert length in (0, len(frame) - at - 2)
    stated = 0 if open_end else len(frame) - at - 2 + len(COMMENT_2000)
    return b"".join(
        [frame[: at + 6], struct.pack(">I", stated), frame[at + 10 : at + 12], COMMENT_2000, frame[at + 12 :]]
    )


@pytest.mark.parametrize("open_end", [False, True])
def test_comments_of_jpeg_2000_go_from_the_headers_of_picture_and_tiles(open_end: bool):
    frame = encoded(JPEG2000Lossless)
    tile = frame.index(b"\xff\x90")
    marked = with_tile_comment(frame[:tile] + COMMENT_2000 + frame[tile:], open_end)
    found = strip_codestream(marked + (b"" if open_end else SECRET), VALUES.size)
    assert SECRET not in found
    np.testing.assert_array_equal(picture(found), VALUES)


def test_a_jp2_file_around_a_codestream_goes():
    box = struct.pack(">I4s", 8 + len(SECRET), b"xml ") + SECRET
    frame = encoded(JPEG2000Lossless)
    wrapped = b"\x00\x00\x00\x0cjP  \r\n\x87\n" + box + struct.pack(">I4s", 8 + len(frame), b"jp2c") + frame + box
    found = strip_codestream(wrapped, VALUES.size)
    assert found.startswith(b"\xff\x4f\xff\x51")
    assert SECRET not in found
    np.testing.assert_array_equal(picture(found), VALUES)


def test_bytes_before_between_and_behind_the_planes_of_rle_go():
    frame = encoded(RLELossless)
    planes, first, second = struct.unpack_from("<3I", frame)
    assert planes == 2
    shifted = struct.pack("<16I", 2, 64 + 26, second + 2 * 26, *[0x4B494D20] * 13)
    marked = shifted + SECRET + frame[first:second] + SECRET + frame[second:] + SECRET
    found = strip_codestream(marked, VALUES.size)
    assert SECRET not in found
    assert b"KIM" not in found[:64]
    assert b" MIK" not in found[:64]
    np.testing.assert_array_equal(picture(found), VALUES)


@pytest.mark.parametrize("frame", [b"", b"\xff\xd8", b"no picture at all, not one".ljust(80), *JPEGS.values()])
def test_half_a_frame_is_an_error(frame: bytes):
    with pytest.raises(ValueError, match=r"."):
        strip_codestream(frame[: len(frame) // 2], VALUES.size)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless])
def test_half_a_frame_of_other_codings_is_an_error(syntax: UID):
    frame = encoded(syntax)
    with pytest.raises(ValueError, match=r"."):
        strip_codestream(frame[: len(frame) // 2], VALUES.size)
