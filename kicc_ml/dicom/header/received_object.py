"""Read what a received DICOM object is: its UIDs and its kind. Nothing of it is believed before it was checked."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from pydicom.dataset import Dataset
from pydicom.filereader import data_element_generator

from kicc_ml.core.errors import UserError
from kicc_ml.dicom.header.first_elements import read_first_elements
from kicc_ml.dicom.header.stated_tags import suppress_warnings
from kicc_ml.dicom.header.values import BoundedStream, TooLargeError, read_element_text

#: A UID (PS3.5 9.1): digits and dots. Components that begin with 0 are common and harmless.
UID = re.compile(r"[0-9](?:[0-9.]{0,62}[0-9])?")
#: Preamble and prefix of a file, before its meta information.
START_BYTES = 132
#: Of an Error Comment (PS3.7 C).
MAX_COMMENT_CHARACTERS = 64
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")


@dataclass(frozen=True, slots=True)
class ObjectIdentity:
    """The UIDs of a DICOM object, each of digits and dots only, and the transfer syntax of its file."""

    study: str
    series: str
    sop: str
    sop_class: str
    transfer_syntax: str


def read_object_identity(path: Path) -> ObjectIdentity:
    """Read the UIDs of a DICOM file.

    Raises:
        UserError: the file is not DICOM, is deflated or has too much before its UIDs, or one of these is no UID.
    """
    try:
        with suppress_warnings():
            dataset = read_first_elements(path, UIDS, inflates=False)
            uids = [read_element_text(dataset, name, "") for name in UIDS]
            syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
    except TooLargeError as error:
        raise UserError(f"the object cannot be taken ({error}); send it in Explicit VR Little Endian") from error
    except Exception as error:  # a damaged object can raise anything in the parser
        raise UserError(f"the object is not DICOM ({type(error).__name__}); send it again") from error
    for name, uid in zip((*UIDS, "TransferSyntaxUID"), (*uids, syntax), strict=True):
        if not UID.fullmatch(uid):
            raise UserError(f"the object states no valid {name}; have it corrected where it was made")
    study, series, sop, sop_class = uids
    return ObjectIdentity(study, series, sop, sop_class, syntax)


def make_answer(status: int, reason: str = "") -> Dataset:
    """Make the answer to a C-STORE.

    Args:
        status: the status code (PS3.4 B.2.3).
        reason: why the object was not stored; as much of it as an Error Comment holds is sent.

    Returns:
        the elements of the answer.
    """
    answer = Dataset()
    answer.Status = status
    if reason:
        answer.ErrorComment = reason[:MAX_COMMENT_CHARACTERS]
    return answer


def hash_content(path: Path) -> str:
    """Hash the data set of a DICOM file as it is encoded, without the meta information, which each receiver writes.

    Args:
        path: a file that :func:`read_object_identity` has read.

    Returns:
        the SHA-256 in hexadecimal digits.
    """
    with path.open("rb") as stream:
        stream.seek(START_BYTES)
        bounded = cast(BinaryIO, BoundedStream(stream))
        for _ in data_element_generator(bounded, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2):
            pass  # it leaves the stream at the first element of another group
        return hashlib.file_digest(stream, "sha256").hexdigest()
