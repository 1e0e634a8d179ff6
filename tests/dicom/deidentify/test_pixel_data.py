"""The pixel data of a copy hold the values of the image and nothing else."""

import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from kicc_ml.dicom.deidentify.copy import NotExportedError, write_deidentified
from kicc_ml.dicom.pixels.read import read_image
from tests.support.phantom_files import write_image

KEY, PATIENT = b"a key of the repository", "0123456789ab"
VALUES = np.random.default_rng(0).integers(0, 4096, (48, 40)).astype(np.uint16)
SIGNED = np.random.default_rng(1).integers(-2048, 2048, (48, 40)).astype(np.int16)
TEXT = np.zeros((48, 40), np.uint16)
TEXT[4:12, 4:30] = np.random.default_rng(2).integers(0, 2, (8, 26))  # what is written in a bit of its own
TWELVE = {"BitsStored": 12, "HighBit": 11}
SECRET = b"KIM CHULSOO 900101-1234567"


def copy_of(source: Path) -> Dataset:
    target = source.with_name("copy.dcm")
    write_deidentified(source, target, KEY, PATIENT)
    np.testing.assert_array_equal(read_image(target).stored, read_image(source).stored)
    return pydicom.dcmread(target)


def compress(path: Path, syntax: str) -> Path:
    dataset = pydicom.dcmread(path)
    dataset.compress(syntax, encoding_plugin="pyjpegls" if syntax == JPEGLSLossless else "pylibjpeg")
    dataset.save_as(path)
    return path


@pytest.mark.parametrize("bits", [12, 13, 14, 15])
def test_an_overlay_in_bits_above_those_stored_is_cleared_and_the_values_stay(tmp_path, bits):
    source = write_image(tmp_path / "one", VALUES | TEXT << bits, **TWELVE)
    np.testing.assert_array_equal(np.frombuffer(copy_of(source).PixelData, "<u2").reshape(VALUES.shape), VALUES)


def test_an_overlay_that_its_elements_place_there_is_cleared_too(tmp_path):
    place = Dataset()
    for element, vr, value in ((0x10, "US", 48), (0x11, "US", 40), (0x100, "US", 16), (0x102, "US", 12)):
        place.add_new((0x6000, element), vr, value)
    overlay = {f"overlay {number}": element for number, element in enumerate(place)}
    copy = copy_of(write_image(tmp_path / "one", VALUES | TEXT << 12, **TWELVE, **overlay))
    np.testing.assert_array_equal(np.frombuffer(copy.PixelData, "<u2").reshape(VALUES.shape), VALUES)
    assert (0x6000, 0x0102) not in copy


def test_an_overlay_below_the_values_is_cleared(tmp_path):
    source = write_image(tmp_path / "one", VALUES << 4 | TEXT, BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(np.frombuffer(copy_of(source).PixelData, "<u2").reshape(VALUES.shape), VALUES << 4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bit", [12, 15])
def test_negative_values_keep_their_sign_in_either_byte_order(tmp_path, order, bit):
    source = write_image(tmp_path / "one", SIGNED ^ (TEXT << bit).view(np.int16), **TWELVE)
    if order == ">":
        dataset = pydicom.dcmread(source)
        dataset.PixelData = (SIGNED ^ (TEXT << bit).view(np.int16)).astype(">i2").tobytes()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        pydicom.dcmwrite(source, dataset, implicit_vr=False, little_endian=False, force_encoding=True)
    copy = copy_of(source)
    np.testing.assert_array_equal(np.frombuffer(copy.PixelData, f"{order}i2").reshape(SIGNED.shape), SIGNED)


def test_pixel_data_without_foreign_bits_are_copied_byte_for_byte(tmp_path):
    for stored, tags in ((VALUES, TWELVE), (VALUES, {}), (SIGNED, TWELVE), (VALUES.astype(np.uint8), {})):
        source = write_image(tmp_path / "one", stored, **tags)
        assert copy_of(source).PixelData == pydicom.dcmread(source).PixelData


def test_bytes_behind_the_last_pixel_go(tmp_path):
    source = write_image(tmp_path / "one", VALUES, PixelData=VALUES.tobytes() + SECRET)
    assert copy_of(source).PixelData == VALUES.tobytes()


def test_odd_pictures_are_filled_up_with_zero(tmp_path):
    stored = np.arange(1, 16, dtype=np.uint8).reshape(3, 5)
    source = write_image(tmp_path / "one", stored, PixelData=stored.tobytes() + b"K")
    assert copy_of(source).PixelData == stored.tobytes() + b"\0"


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_compressed_pictures_stay_as_they_are_coded(tmp_path, syntax):
    source = compress(write_image(tmp_path / "one", VALUES, **TWELVE), syntax)
    coded = [
        next(generate_frames(one.PixelData, number_of_frames=1)) for one in (pydicom.dcmread(source), copy_of(source))
    ]
    assert coded[1] == coded[0] or syntax == JPEG2000Lossless  # whose encoder leaves its name in a comment


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_a_comment_and_bytes_behind_a_compressed_picture_go(tmp_path, syntax):
    source = compress(write_image(tmp_path / "one", VALUES, **TWELVE), syntax)
    dataset = pydicom.dcmread(source)
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    if syntax == JPEGLSLossless:
        frame = frame[:2] + b"\xff\xfe" + struct.pack(">H", 2 + len(SECRET)) + SECRET + frame[2:]
    dataset.PixelData = encapsulate([frame + SECRET])
    dataset.save_as(source)
    assert SECRET in source.read_bytes()
    copy_of(source)
    assert b"CHULSOO" not in source.with_name("copy.dcm").read_bytes()


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless])
def test_a_compressed_picture_with_something_in_its_unused_bits_is_refused(tmp_path, syntax):
    source = compress(write_image(tmp_path / "one", VALUES | TEXT << 12), syntax)
    dataset = pydicom.dcmread(source)
    dataset.BitsStored, dataset.HighBit = 12, 11
    dataset.save_as(source)
    with pytest.raises(NotExportedError, match="codestream_mismatch"):
        write_deidentified(source, tmp_path / "copy.dcm", KEY, PATIENT)
    assert not (tmp_path / "copy.dcm").exists()


@pytest.mark.parametrize("stored", [VALUES, SIGNED])
@pytest.mark.parametrize("syntax", [JPEG2000Lossless, RLELossless])
def test_a_compressed_picture_coded_with_more_bits_than_it_uses_is_written(tmp_path, stored, syntax):
    source = compress(write_image(tmp_path / "one", stored), syntax)
    dataset = pydicom.dcmread(source)
    dataset.BitsStored, dataset.HighBit = 12, 11
    dataset.save_as(source)
    copy_of(source)


def test_frames_of_a_compressed_object_stay_in_order(tmp_path):
    stored = np.stack([VALUES, VALUES + 1, VALUES[::-1]])
    source = write_image(tmp_path / "one", stored[0], NumberOfFrames=3, PixelData=stored.tobytes())
    write_deidentified(compress(source, RLELossless), tmp_path / "copy.dcm", KEY, PATIENT)
    np.testing.assert_array_equal(pydicom.dcmread(tmp_path / "copy.dcm").pixel_array, stored)


@pytest.mark.parametrize("sequence", ["SourceImageSequence", "IconImageSequence", "ReferencedImageSequence"])
def test_pictures_within_sequences_go(tmp_path, sequence):
    inner = Dataset()
    inner.Rows, inner.Columns, inner.BitsAllocated = 2, 2, 8
    inner.add_new("PixelData", "OB", SECRET)
    source = write_image(tmp_path / "one", VALUES, **{sequence: [inner]})
    copy_of(source)
    assert b"CHULSOO" not in source.with_name("copy.dcm").read_bytes()


def test_bytes_behind_the_entries_of_a_lookup_table_go(tmp_path):
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4, 0, 16])
    table.ModalityLUTType = "HU"
    table.add_new("LUTData", "OW", np.arange(4, dtype="<u2").tobytes() + SECRET)
    copy = copy_of(write_image(tmp_path / "one", VALUES, VOILUTSequence=[table]))
    assert copy.VOILUTSequence[0].LUTData == np.arange(4, dtype="<u2").tobytes()
