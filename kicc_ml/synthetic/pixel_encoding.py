"""Encode the pixels of one frame in the lossless transfer syntaxes that hospital archives use."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.uid import UID, JPEGLosslessSV1


def set_pixels(dataset: Dataset, stored_yx: np.ndarray, syntax: UID) -> None:
    """Put one frame into a dataset whose image description (Rows, BitsStored ...) already fits it."""
    stored_yx = np.ascontiguousarray(stored_yx)
    dataset.file_meta.TransferSyntaxUID = syntax
    if not syntax.is_compressed:
        dataset.PixelData = stored_yx.tobytes()
    elif syntax == JPEGLosslessSV1:
        dataset.PixelData = _encode_jpeg_lossless(stored_yx)
    else:
        frame = get_encoder(syntax).encode(
            stored_yx,
            rows=dataset.Rows,
            columns=dataset.Columns,
            samples_per_pixel=1,
            number_of_frames=1,
            bits_allocated=16,
            bits_stored=dataset.BitsStored,
            pixel_representation=dataset.PixelRepresentation,
            photometric_interpretation=dataset.PhotometricInterpretation,
        )
        dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB" if syntax.is_compressed else "OW"
    dataset["PixelData"].is_undefined_length = syntax.is_compressed


def choose_bits_stored(wanted: int, syntax: UID) -> int:
    """Choose the stored bits to state: GDCM's JPEG Lossless codes all 16 bits, and the header must agree."""
    return 16 if syntax == JPEGLosslessSV1 else wanted


def _encode_jpeg_lossless(stored_yx: np.ndarray) -> bytes:
    """Encode as encapsulated JPEG Lossless (process 14, selection value 1), which only GDCM can write here."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "frame.dcm"
        writer = SimpleITK.ImageFileWriter()
        writer.SetFileName(str(path))
        writer.SetImageIO("GDCMImageIO")
        writer.SetUseCompression(True)
        writer.SetCompressor("JPEG")  # at 16 bits this is the lossless process
        writer.Execute(SimpleITK.GetImageFromArray(stored_yx[None]))
        written = dcmread(path)
    if written.file_meta.TransferSyntaxUID != JPEGLosslessSV1:
        raise RuntimeError(f"SimpleITK wrote {written.file_meta.TransferSyntaxUID.name} instead of JPEG Lossless")
    return bytes(written.PixelData)
