"""Check PNG and JPEG files by their headers, and decode them in another process."""

import warnings
from contextlib import suppress
from pathlib import Path
from typing import cast

import numpy as np
from PIL import ExifTags, Image, ImageFile

from kicc_ml.dicom.pixels.codestream import Codestream
from kicc_ml.dicom.pixels.decode_pool import DecodingError, decode_in_worker
from kicc_ml.dicom.pixels.decoders import PICTURE_FORMATS
from kicc_ml.dicom.pixels.source import NotAnImage

#: Maximum number of pixels: a radiograph of 36 x 43 cm scanned with 600 dpi has 86 million. Pillow warns above this.
MAX_PICTURE_PIXELS = 89_478_485
#: Maximum file size: the largest accepted picture, uncompressed with 16 bits, and as much of other content.
MAX_PICTURE_BYTES = 4 * MAX_PICTURE_PIXELS
#: EXIF orientations in which rows become columns.
QUARTER_TURNS = (5, 6, 7, 8)
#: Bytes needed to detect a format: the signature of DICOM follows a preamble of 128 bytes.
SIGNATURE_BYTES = 132


def describe_picture(path: Path) -> Codestream:
    """Describe a PNG or JPEG from its header: rows and columns as displayed, and bits of its grey values.

    Raises:
        NotAnImage: the file has another format, is an animation, has 16-bit colours, has more pixels than any
            radiograph, or its header is damaged.
    """
    try:
        if not path.is_file():
            raise NotAnImage("unreadable", f"{path}: there is no such file")
        if path.stat().st_size > MAX_PICTURE_BYTES:
            raise NotAnImage("too_large", f"{path}: larger than any radiograph; leave the file out")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the number of pixels is checked here
            with cast(ImageFile.ImageFile, Image.open(path, formats=PICTURE_FORMATS)) as picture:
                return _describe_open_picture(path, picture)
    except NotAnImage:
        raise
    except Exception as error:  # a damaged header can raise anything in the parser; the intake goes on
        raise _make_refusal(path, error) from error


def read_picture(path: Path, colours: bool = False) -> np.ndarray:
    """Read a PNG or JPEG in another process, upright by its EXIF orientation.

    Args:
        path: the file.
        colours: return colours instead of their luminance (ITU-R 601).

    Returns:
        the grey values ``[row, column]``, or 8-bit colours ``[row, column, rgb]``.

    Raises:
        NotAnImage: :func:`describe_picture` refuses the file, it is damaged, or it is transparent in places.
    """
    coded = describe_picture(path)
    if colours:
        coded = Codestream("picture", coded.rows, coded.columns, 3, 8)
    try:
        return decode_in_worker(path.read_bytes(), coded)
    except OSError as error:
        raise NotAnImage("unreadable", f"{path}: cannot be read ({error.strerror})") from error
    except DecodingError as error:
        fault = str(error).removeprefix("ValueError: ")
        remedy = "save it again, whole, upright and without transparency"
        raise NotAnImage("unreadable", f"{path}: cannot be read as a picture ({fault}); {remedy}") from error


def _describe_open_picture(path: Path, picture: ImageFile.ImageFile) -> Codestream:
    columns, rows = picture.size
    if rows * columns > MAX_PICTURE_PIXELS:
        raise NotAnImage(
            "too_large",
            f"{path}: {columns} x {rows} pixels are more than any radiograph has (at most {MAX_PICTURE_PIXELS}); "
            "save it smaller",
        )
    if picture.format == "PNG" and getattr(picture, "n_frames", 1) > 1:
        raise NotAnImage("multi_frame", f"{path}: an animation; save the one picture that is the radiograph")
    deep = picture.mode.startswith("I")
    if not deep and any("16" in str(tile[3]) for tile in picture.tile):
        remedy = "save it as PNG in 16-bit grey without transparency"
        raise NotAnImage("picture_format", f"{path}: 16-bit colours or transparency, which are not read; {remedy}")
    if _read_orientation(picture) in QUARTER_TURNS:
        rows, columns = columns, rows
    return Codestream("picture", rows, columns, 1, 16 if deep else 8)


def _read_orientation(picture: Image.Image) -> int | None:
    """Read the EXIF orientation that is stated before the pixels; Pillow's function for PNG would decode them first."""
    return Image.Image.getexif(picture).get(ExifTags.Base.Orientation)


def _make_refusal(path: Path, error: Exception) -> NotAnImage:
    if kind := _identify_format(path):
        return NotAnImage("picture_format", f"{path}: a {kind} picture named {path.suffix}: save it as PNG")
    return NotAnImage("unreadable", f"{path}: cannot be read as PNG or JPEG ({type(error).__name__}); is it whole?")


def _identify_format(path: Path) -> str:
    """Identify the format of a file that is neither PNG nor JPEG by its first bytes; "" if it is not known.

    Only the signatures of Pillow's formats are used, so that none of its decoders reads the file.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(SIGNATURE_BYTES)
    except OSError:
        return ""
    if start[128:] == b"DICM":
        return "DICOM"
    Image.init()
    for name, (opened, accepts) in Image.OPEN.items():
        with suppress(Exception):  # a signature shorter than the one that is looked for
            if name not in PICTURE_FORMATS and accepts and accepts(start[:16]) is not False:
                return str(getattr(opened, "format_description", name)).removesuffix(" image")
    return ""
