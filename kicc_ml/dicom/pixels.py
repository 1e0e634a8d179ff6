"""The stored values of one DICOM image, decoded by decoders in a stated order."""

import hashlib
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pydicom
import SimpleITK
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import pixel_array
from pydicom.uid import (
    JPEG2000,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from kicc_ml.dicom.elements import expected_bytes, number, numbers, open_dataset, pixel_spacing_mm, text
from kicc_ml.dicom.pixel_length import element_length
from kicc_ml.records import UserError

#: Which plug-in of pydicom decodes which transfer syntax: bit-exact and under MIT licence. Named, because
#: pydicom else tries what is installed, python-gdcm first, which can end the process on a broken file.
PLUGIN = {
    JPEGBaseline8Bit: "pillow",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    RLELossless: "pylibjpeg",
}
#: Decoded by SimpleITK, whose libraries hold the lossless and the 12-bit processes of JPEG.
BY_SIMPLEITK = {JPEGLossless, JPEGLosslessSV1, JPEGExtended12Bit}


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
    bits_stored: int
    signed: bool
    inverted: bool  # MONOCHROME1: high values are dark


def read_image(path: Path) -> Image:
    """Read and decode one single-frame grey image. Raises UserError where it cannot be decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the header was judged by the index
            with path.open("rb") as stream:
                dataset = open_dataset(stream)
                stored = _uncompressed(dataset, stream)
            return _image(dataset, _decoded(dataset, path) if stored is None else stored)
    except Exception as error:  # decoders raise anything on a damaged codestream
        raise UserError(f"{path}: cannot be decoded ({error}); leave the file out or export it again") from error


def pixel_digest(path: Path) -> str:
    """Hash of the pixel data as stored, to tell the same slice written twice from another at its position."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path, force=True, specific_tags=["PixelData"])
    return hashlib.sha256(dataset.PixelData).hexdigest()


def _uncompressed(dataset: FileDataset, stream: BinaryIO) -> np.ndarray | None:
    """Values straight from the file, which costs a third of a parse; None where it needs decoding.

    ``stream`` stands at the pixel data element.
    """
    syntax = dataset.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)
    bits = number(dataset, "BitsAllocated")
    plain = syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian) and bits in (8, 16)
    if not plain or (number(dataset, "SamplesPerPixel") or 1) > 1 or (number(dataset, "NumberOfFrames") or 1) > 1:
        return None
    shape = _shape(dataset)
    if element_length(dataset, stream) < expected_bytes(dataset):
        raise ValueError("the pixel data is shorter than rows x columns")
    kind = np.dtype(f"<{'i' if number(dataset, 'PixelRepresentation') else 'u'}{int(bits or 16) // 8}")
    values = np.frombuffer(stream.read(expected_bytes(dataset)), kind).reshape(shape)
    return _without_unused_bits(values, int(number(dataset, "BitsStored") or kind.itemsize * 8))


def _without_unused_bits(values: np.ndarray, bits_stored: int) -> np.ndarray:
    """Bits above BitsStored may hold an overlay or no sign (PS3.5 8.1.1): shift out, extend the sign."""
    unused = values.dtype.itemsize * 8 - bits_stored
    return (values << unused) >> unused if unused > 0 else values


def _decoded(dataset: FileDataset, path: Path) -> np.ndarray:
    syntax = dataset.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)
    if syntax in BY_SIMPLEITK:
        return _decoded_by_simpleitk(path)
    return pixel_array(pydicom.dcmread(path, force=True), decoding_plugin=PLUGIN.get(syntax, ""))


def _decoded_by_simpleitk(path: Path) -> np.ndarray:
    """Decode a JPEG codestream in a bare wrapping, so that SimpleITK neither rescales nor inverts."""
    source = pydicom.dcmread(path, force=True)
    bare = Dataset()
    for name in ("SamplesPerPixel", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"):
        setattr(bare, name, source[name].value)
    bare.PixelRepresentation = source.PixelRepresentation
    bare.PhotometricInterpretation = "MONOCHROME2"
    bare.SOPClassUID, bare.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    bare.PixelData = encapsulate([next(generate_frames(source.PixelData, number_of_frames=1))])
    bare["PixelData"].is_undefined_length = True
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = source.file_meta.TransferSyntaxUID
    with tempfile.TemporaryDirectory() as folder:
        wrapped = Path(folder, "bare.dcm")
        bare.save_as(wrapped, enforce_file_format=True)
        return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(wrapped), imageIO="GDCMImageIO")).reshape(
            _shape(bare)
        )


def _shape(dataset: Dataset) -> tuple[int, int]:
    return int(number(dataset, "Rows") or 0), int(number(dataset, "Columns") or 0)


def _image(dataset: FileDataset, stored: np.ndarray) -> Image:
    signed = bool(number(dataset, "PixelRepresentation"))
    if stored.shape != _shape(dataset):
        raise ValueError(f"decoded to {stored.shape}, the header says {_shape(dataset)}")
    padding = _stored_value(dataset, "PixelPaddingValue", signed)
    limit = _stored_value(dataset, "PixelPaddingRangeLimit", signed)
    return Image(
        stored=stored,
        position_mm=numbers(dataset, "ImagePositionPatient", 3),
        orientation=numbers(dataset, "ImageOrientationPatient", 6),
        pixel_spacing_mm=pixel_spacing_mm(dataset),
        slope=number(dataset, "RescaleSlope"),
        intercept=number(dataset, "RescaleIntercept"),
        padding=None if padding is None else (padding, padding if limit is None else limit),
        bits_stored=int(number(dataset, "BitsStored") or stored.dtype.itemsize * 8),
        signed=signed,
        inverted=text(dataset, "PhotometricInterpretation") == "MONOCHROME1",
    )


def _stored_value(dataset: Dataset, name: str, signed: bool) -> int | None:
    """A tag of type US or SS: left as bytes in implicit files, and often written with the wrong sign."""
    value = dataset.get(name)
    if isinstance(value, bytes) and len(value) == 2:
        return int.from_bytes(value, "little", signed=signed)
    if not isinstance(value, int):
        return None
    return value - 65536 if signed and value > 32767 else value
