"""A received object is read within limits: no header and no deflated file fills the memory of the reader."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from kicc_ml.core.errors import UserError
from kicc_ml.dicom.header.patient_identity import read_patient_identity
from kicc_ml.dicom.header.received_object import read_object_identity
from kicc_ml.dicom.header.values import MAX_HEADER_BYTES
from tests.support.plain_slices import save, slice_dataset, write

IMAGE = np.zeros((4, 4), np.uint16)
UNDEFINED = b"\xff\xff\xff\xff"


def add_before(path: Path, tag: bytes, added: bytes) -> None:
    """Add bytes before an element of a file in Explicit VR."""
    raw = path.read_bytes()
    at = raw.index(tag)
    path.write_bytes(raw[:at] + added + raw[at:])


def make_item_of(size: int) -> bytes:
    """A sequence without stated lengths, whose one item has so many bytes."""
    content = b"\x08\x00\x04\x01UT\0\0" + size.to_bytes(4, "little") + bytes(size)
    ends = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    return b"\x08\x00\x50\x22SQ\0\0" + UNDEFINED + b"\xfe\xff\x00\xe0" + UNDEFINED + content + ends


def test_a_sequence_without_stated_length_is_read_up_to_a_limit(tmp_path: Path):
    path = write(tmp_path / "a.dcm", IMAGE)
    add_before(path, b"\x20\x00\x0d\x00UI", make_item_of(1000))
    assert read_object_identity(path).sop
    add_before(path, b"\x20\x00\x0d\x00UI", make_item_of(MAX_HEADER_BYTES))
    with pytest.raises(UserError, match="cannot be taken"):
        read_object_identity(path)


def test_what_lies_behind_the_uids_is_not_read(tmp_path: Path):
    path = write(tmp_path / "a.dcm", IMAGE)
    add_before(path, b"\x28\x00\x10\x00US", make_item_of(MAX_HEADER_BYTES))
    assert read_object_identity(path).sop


def test_a_deflated_object_is_refused_with_the_remedy(tmp_path: Path):
    path = save(tmp_path / "a.dcm", slice_dataset(IMAGE), DeflatedExplicitVRLittleEndian)
    with pytest.raises(UserError, match="send it in Explicit VR Little Endian"):
        read_object_identity(path)


def test_an_identity_is_no_longer_than_dicom_allows(tmp_path: Path):
    path = write(tmp_path / "a.dcm", IMAGE, PatientName="N" * 3000, PatientID="1" * 3000)
    found = read_patient_identity(path)
    assert (found["Name"], found["ID"]) == ("N" * 64, "1" * 64)
