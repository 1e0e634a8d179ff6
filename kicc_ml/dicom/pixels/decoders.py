"""Decoders of compressed frames, one per coding process, used by :mod:`kicc_ml.dicom.pixels.decode_worker` only.

Each has a permissive licence. They are chosen explicitly, because pydicom would try what is installed, beginning with
python-gdcm, which can crash on a broken file:

=========================  =====================================================
JPEG, 8 bit                Pillow (libjpeg-turbo)
JPEG, 12 bit               GDCM inside SimpleITK, whose libjpeg is built for it
JPEG Lossless              the same
JPEG-LS                    pyjpegls (CharLS)
JPEG 2000, High-Throughput pylibjpeg-openjpeg (OpenJPEG)
RLE                        pylibjpeg-rle
PNG and JPEG files         Pillow
=========================  =====================================================

They are imported when first needed, so that a worker starts in a tenth of a second.
"""

import io
import os
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kicc_ml.dicom.pixels.codestream import Codestream, Process

if TYPE_CHECKING:
    from PIL import Image

#: Folder in memory if there is one, because GDCM reads only files.
SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
#: Transfer syntax that is stated to GDCM for each process; it reads the rest from the codestream.
GDCM_SYNTAX = {"jpeg": "1.2.840.10008.1.2.4.51", "jpeg_lossless": "1.2.840.10008.1.2.4.57"}
#: The only picture formats that are opened; Pillow would otherwise try about forty, and Ghostscript.
PICTURE_FORMATS = ("PNG", "JPEG")
#: Start of the pixel data element with undefined length and an empty offset table, up to its one fragment.
PIXEL_DATA = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0)
END_OF_SEQUENCE = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def decode(stream: bytes, coded: Codestream) -> np.ndarray:
    """Decode one frame to its values as coded, without scaling or inversion.

    A picture file is turned upright, and its colours become grey if ``coded`` has one component.

    Returns:
        the values ``[row, column]`` or ``[row, column, component]``.

    Raises:
        Exception: decoders raise various errors on a damaged stream.
    """
    shape = (coded.rows, coded.columns, coded.components)[: 3 if coded.components > 1 else 2]
    return DECODERS[coded.process](stream, coded).reshape(shape)


def _decode_jpeg(stream: bytes, coded: Codestream) -> np.ndarray:
    return _decode_by_pillow(stream) if coded.precision == 8 else _decode_by_gdcm(stream, coded)


def _decode_by_pillow(stream: bytes) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(stream), formats=["JPEG"]) as picture:
        return np.asarray(picture)


def _decode_by_gdcm(stream: bytes, coded: Codestream) -> np.ndarray:
    """Decode with GDCM, in a minimal DICOM file that states what the codestream does, so that nothing is rescaled."""
    import SimpleITK

    fragment = stream + b"\0" * (len(stream) % 2)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(fragment))
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        path = Path(folder, "bare.dcm")
        path.write_bytes(b"".join((_make_minimal_header(coded), PIXEL_DATA, item, fragment, END_OF_SEQUENCE)))
        return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path), imageIO="GDCMImageIO"))


@cache
def _make_minimal_header(coded: Codestream) -> bytes:
    """Make a minimal DICOM file up to its pixel data."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, SecondaryCaptureImageStorage, generate_uid

    bare = Dataset()
    bare.SOPClassUID, bare.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    bare.Rows, bare.Columns, bare.SamplesPerPixel = coded.rows, coded.columns, coded.components
    bare.PhotometricInterpretation = "MONOCHROME2" if coded.components == 1 else "RGB"
    if coded.components > 1:
        bare.PlanarConfiguration = 0
    bare.BitsAllocated = 8 if coded.precision <= 8 else 16
    bare.BitsStored, bare.HighBit, bare.PixelRepresentation = coded.precision, coded.precision - 1, 0
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = UID(GDCM_SYNTAX[coded.process])
    written = io.BytesIO()
    bare.save_as(written, enforce_file_format=True)
    return written.getvalue()


def _decode_jpeg_ls(stream: bytes, coded: Codestream) -> np.ndarray:
    import jpeg_ls

    values, stated = jpeg_ls.decode_pixel_data(stream)
    return np.frombuffer(values, np.uint8 if stated["bits_per_sample"] <= 8 else np.uint16)


def _decode_jpeg_2000(stream: bytes, coded: Codestream) -> np.ndarray:
    import openjpeg

    return openjpeg.decode(stream)


def _decode_rle(stream: bytes, coded: Codestream) -> np.ndarray:
    import rle

    values = rle.decode_pixel_data(
        stream, version=2, rows=coded.rows, columns=coded.columns, bits_allocated=coded.precision
    )
    return np.frombuffer(values, f"<u{coded.precision // 8}")


def _decode_picture(stream: bytes, coded: Codestream) -> np.ndarray:
    """Decode a PNG or JPEG file as a viewer shows it: upright by its EXIF orientation, in grey or RGB."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(stream), formats=PICTURE_FORMATS) as picture:
        upright = ImageOps.exif_transpose(picture)
    if upright.size != (coded.columns, coded.rows):
        raise ValueError("its orientation is stated behind its pixels")
    if _is_transparent(upright):
        raise ValueError("it is transparent in places, and what lies behind is not stated")
    mode = {(1, 8): "L", (3, 8): "RGB"}.get((coded.components, coded.precision))
    return np.asarray(upright.convert(mode) if mode else upright)


def _is_transparent(picture: "Image.Image") -> bool:
    if not picture.has_transparency_data:
        return False
    if picture.mode.startswith("I"):  # one grey value is stated to be transparent
        return bool((np.asarray(picture) == picture.info["transparency"]).any())
    return bool((np.asarray(picture.convert("RGBA").getchannel("A")) < 255).any())


DECODERS: dict[Process, Callable[[bytes, Codestream], np.ndarray]] = {
    "jpeg": _decode_jpeg,
    "jpeg_lossless": _decode_by_gdcm,
    "jpeg_ls": _decode_jpeg_ls,
    "jpeg_2000": _decode_jpeg_2000,
    "rle": _decode_rle,
    "picture": _decode_picture,
}
