"""Files that are encoded otherwise than their Transfer Syntax UID says: read exactly, or refused by name."""

from collections.abc import Callable
from io import BytesIO
from itertools import permutations
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from kicc_ml.dicom.deidentify.export import Selection, choose_series, export_series
from kicc_ml.dicom.deidentify.manifest import open_copy
from kicc_ml.dicom.header.read import read_headers
from kicc_ml.dicom.index.build import index_repository, read_index
from kicc_ml.dicom.pixels.read import NotAnImage, read_image
from kicc_ml.dicom.series.reasons import REASONS
from kicc_ml.dicom.series.remedies import REMEDIES
from kicc_ml.dicom.volume.read import read_volume
from tests.support.phantom_files import write_image

VALUES = np.random.default_rng(0).integers(0, 2000, (40, 36)).astype(np.uint16)
PLUGINS = {RLELossless: "pylibjpeg", JPEG2000Lossless: "pylibjpeg", JPEGLSLossless: "pyjpegls"}
PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
WRITTEN = (*PLAIN, *PLUGINS)
#: What tells a data manager that the transfer syntax is at fault.
NAMED = {"encoded_otherwise", "wrong_syntax", "codestream_mismatch"}


def encode(path: Path, syntax: str) -> None:
    """Encode a plain file anew, by pydicom."""
    one = pydicom.dcmread(path)
    if syntax in PLUGINS:
        one.compress(syntax, encoding_plugin=PLUGINS[syntax])
        one.save_as(path)
        return
    if syntax == ExplicitVRBigEndian:
        one.PixelData = one.pixel_array.astype(">u2").tobytes()
    one.file_meta.TransferSyntaxUID = syntax
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    pydicom.dcmwrite(path, one, implicit_vr=implicit, little_endian=little, force_encoding=True)


def claim(path: Path, syntax: str) -> None:
    """Write another transfer syntax into the file meta information, and leave the data set as it is."""
    content, meta = path.read_bytes(), read_file_meta_info(path)
    data_set = content[144 + meta.FileMetaInformationGroupLength :]
    meta.TransferSyntaxUID = syntax
    written = BytesIO()
    write_file_meta_info(written, meta)
    path.write_bytes(content[:132] + written.getvalue() + data_set)


def lying_file(path: Path, true: str, stated: str) -> Path:
    write_image(path, VALUES)
    encode(path, true)
    claim(path, stated)
    return path


@pytest.mark.parametrize("true", WRITTEN, ids=lambda uid: uid.keyword)
def test_what_is_stated_truly_is_read(tmp_path: Path, true: str):
    path = lying_file(tmp_path / "one", true, true)
    assert read_headers(tmp_path, path.name, "", b"")[0].fault == ""
    np.testing.assert_array_equal(read_image(path).stored, VALUES)


@pytest.mark.parametrize(("true", "stated"), [*permutations(PLAIN[:2])], ids=lambda uid: uid.keyword)
def test_implicit_and_explicit_are_told_apart_whatever_is_stated(tmp_path: Path, true: str, stated: str):
    path = lying_file(tmp_path / "one", true, stated)
    assert read_headers(tmp_path, path.name, "", b"")[0].fault == ""
    np.testing.assert_array_equal(read_image(path).stored, VALUES)


@pytest.mark.parametrize("true", WRITTEN, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("stated", [*WRITTEN, JPEGBaseline8Bit], ids=lambda uid: uid.keyword)
def test_any_other_false_statement_is_refused_by_name_and_never_read_wrongly(tmp_path: Path, true: str, stated: str):
    if true == stated or {true, stated} == {*PLAIN[:2]}:
        return
    path = lying_file(tmp_path / "one", true, stated)
    with pytest.raises(NotAnImage) as refusal:
        read_image(path)
    fault = read_headers(tmp_path, path.name, "", b"")[0].fault or refusal.value.code
    assert fault in NAMED & REASONS.keys() & REMEDIES.keys()


def test_a_damaged_file_is_not_said_to_state_a_false_syntax(tmp_path: Path):
    path = write_image(tmp_path / "one", VALUES)
    content = path.read_bytes()
    start = 144 + read_file_meta_info(path).FileMetaInformationGroupLength
    path.write_bytes(content[:start] + b"\xff" * 200)
    assert read_headers(tmp_path, path.name, "", b"")[0].fault in ("unreadable", "not_an_image")


@pytest.mark.parametrize(("true", "stated"), [*permutations(PLAIN[:2])], ids=lambda uid: uid.keyword)
def test_a_series_of_such_files_is_usable_and_so_is_its_deidentified_copy(
    tmp_path: Path, write_ct: Callable[..., list[Path]], true: str, stated: str
):
    (tmp_path / "in" / "busan").mkdir(parents=True)
    for number, path in enumerate(write_ct()):
        encode(path, true)
        claim(path, stated)
        path.rename(tmp_path / "in" / "busan" / f"{number}.dcm")
    found, selection = read_index([tmp_path / "in"]), Selection()
    with open_copy(tmp_path / "copy", [one.key for one in found]) as copy:
        export_series(choose_series(found, selection), selection, copy)
    for root in ("in", "copy"):
        (one,) = index_repository(tmp_path / root)
        assert one.verdict == "usable"
        assert read_volume(one).array[0, 0].tolist() == list(range(-24, -19)), "stored 1000 + k, intercept -1024"
