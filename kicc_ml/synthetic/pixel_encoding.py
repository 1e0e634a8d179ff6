"""Pixels of one frame in the transfer syntaxes that hospitals' archives use."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEG2000Lossless, JPEGLosslessSV1


def set_pixels(dataset: Dataset, stored_yx: np.ndarray, syntax: UID) -> None:
    """Put ``stored_yx`` into a monochrome dataset whose image description already fits it, losslessly."""
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == JPEGLosslessSV1:
        dataset.PixelData = _jpeg_lossless(stored_yx)
    else:
        dataset.PixelData = np.ascontiguousarray(stored_yx).tobytes()
    dataset["PixelData"].VR = "OB" if syntax == JPEGLosslessSV1 else "OW"
    if syntax == JPEG2000Lossless:
        dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    dataset["PixelData"].is_undefined_length = syntax.is_compressed


def _jpeg_lossless(stored_yx: np.ndarray) -> bytes:
    """Encapsulated JPEG Lossless (process 14, selection value 1); only GDCM, inside SimpleITK, writes it freely."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "frame.dcm"
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(path))
        writer.SetImageIO("GDCMImageIO")
        writer.SetUseCompression(True)
        writer.SetCompressor("JPEG")  # for 16 bit this is the lossless process
        writer.Execute(sitk.GetImageFromArray(np.ascontiguousarray(stored_yx)[None]))
        written = dcmread(path)
        if written.file_meta.TransferSyntaxUID != JPEGLosslessSV1:
            raise RuntimeError(
                f"SimpleITK wrote {written.file_meta.TransferSyntaxUID.name}, not JPEG Lossless"
            )
        return bytes(written.PixelData)


__all__ = ["encapsulate", "set_pixels"]
