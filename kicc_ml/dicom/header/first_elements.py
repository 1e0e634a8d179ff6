"""Read elements at the start of a DICOM file, within the limits of :mod:`kicc_ml.dicom.header.values`."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

from pydicom.dataset import FileDataset
from pydicom.filereader import read_partial
from pydicom.tag import Tag

from kicc_ml.dicom.header.values import BoundedStream


def read_first_elements(
    path: Path, keywords: Sequence[str], *, force: bool = False, inflates: bool = True
) -> FileDataset:
    """Read some elements of a file, and nothing behind the last of them.

    Args:
        path: the file.
        keywords: the elements.
        force: also read a file without preamble.
        inflates: also read a deflated file.

    Returns:
        those of the elements that the file has.

    Raises:
        TooLargeError: the elements up to the last are too large, or inflate too much.
        InvalidDicomError: the file has no preamble.
    """
    last = max(Tag(keyword) for keyword in keywords)
    with path.open("rb") as stream:
        return read_partial(
            cast(BinaryIO, BoundedStream(stream, inflates=inflates)),
            stop_when=lambda tag, _vr, _length: tag > last,
            force=force,
            specific_tags=[Tag(keyword) for keyword in keywords],
        )
