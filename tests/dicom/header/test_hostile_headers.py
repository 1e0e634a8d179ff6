"""Headers made to harm are refused or read within limits, and say nothing of the patient."""

import io
import logging
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from kicc_ml.dicom.header import fast_parser as tags
from kicc_ml.dicom.header.read import read_headers
from kicc_ml.dicom.header.values import MAX_HEADER_BYTES
from tests.support.header_readers import KEY, Writer, header, with_sequence
from tests.support.plain_slices import save, slice_dataset, write_three_frames


class TestHostile:
    def test_nesting_beyond_any_image_is_too_large(self, tmp_path: Path):
        assert header(with_sequence(tags.MAX_DEPTH + 2, path=tmp_path / "a")).fault == "too_large"

    def test_nesting_of_thousands_neither_ends_nor_stops_the_process(self, tmp_path: Path, write_image: Writer):
        raw = write_image(tmp_path / "a", np.zeros((4, 4), np.uint16)).read_bytes()
        undefined = b"\xff\xff\xff\xff"
        opened = b"\x08\x00\x10\x11SQ\0\0" + undefined + b"\xfe\xff\x00\xe0" + undefined
        at = raw.index(b"\x08\x00\x20\x00DA")
        for start in (raw[:at], raw[132:at]):  # as the walker and as pydicom would read it
            (tmp_path / "a").write_bytes(start + opened * 50_000)
            assert header(tmp_path / "a").fault in ("too_large", "unreadable")

    @pytest.mark.parametrize("length", [0xFFFFFFF0, 0x7FFFFFFF])
    def test_a_giant_declared_length_is_not_believed(self, tmp_path: Path, write_image: Writer, length: int):
        comment = pydicom.dataelem.DataElement("PixelPaddingValue", "US", 0)
        raw = write_image(tmp_path / "a", np.zeros((4, 4), np.uint16), padding=comment).read_bytes()
        at = raw.index(b"\x28\x00\x20\x01US")
        (tmp_path / "a").write_bytes(raw[:at] + b"\x28\x00\x20\x01UN\0\0" + struct.pack("<I", length) + raw[at + 8 :])
        assert header(tmp_path / "a").fault in ("too_large", "unreadable", "truncated")

    def test_a_header_of_gigabytes_is_not_read_into_memory(self, tmp_path: Path, write_image: Writer):
        raw = write_image(tmp_path / "a", np.zeros((4, 4), np.uint16)).read_bytes()
        at = raw.index(b"\x28\x00\x10\x00US")  # a sparse element of 3 GiB of a wanted tag
        size = 3 * 2**30
        with (tmp_path / "a").open("wb") as stream:
            stream.write(raw[:at] + b"\x18\x00\x60\x00UN\0\0" + struct.pack("<I", size))
            stream.seek(size, io.SEEK_CUR)
            stream.write(raw[at:])
        assert size > MAX_HEADER_BYTES
        assert header(tmp_path / "a").fault == "too_large"

    @pytest.mark.parametrize("tags", [{"Rows": 65535, "Columns": 65535}, {"NumberOfFrames": 2_000_000_000}])
    def test_more_pixels_than_any_image_is_too_large(self, tmp_path: Path, write_image: Writer, tags: dict):
        assert header(write_image(tmp_path / "a", np.zeros((4, 4), np.uint16), **tags)).fault == "too_large"

    def test_a_deflated_bomb_is_too_large(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("kicc_ml.dicom.header.values.MAX_INFLATED_BYTES", 2**20)
        dataset = slice_dataset(np.zeros((1024, 1024), np.uint16))
        path = save(tmp_path / "a", dataset, DeflatedExplicitVRLittleEndian)
        assert path.stat().st_size < 2**16
        assert header(path).fault == "too_large"

    def test_endless_fragments_are_too_large(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("kicc_ml.dicom.header.pixel_length.MAX_FRAGMENTS", 100)
        dataset = slice_dataset(np.zeros((4, 4), np.uint16))
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8"] * 200)
        dataset["PixelData"].is_undefined_length = True
        assert header(save(tmp_path / "a", dataset, "1.2.840.10008.1.2.4.70")).fault == "too_large"

    def test_any_byte_changed_gives_an_answer(self, tmp_path: Path, write_image: Writer):
        raw = bytearray(write_three_frames(tmp_path / "a").read_bytes())
        generator = np.random.default_rng(7)
        for _ in range(300):
            mutated = bytearray(raw)
            for at in generator.integers(128, len(raw), 3):
                mutated[at] = generator.integers(256)
            (tmp_path / "b").write_bytes(mutated)
            assert read_headers(tmp_path, "b", "seoul", KEY)


class TestPrivacy:
    def test_no_warning_of_pydicom_quotes_a_value(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ):
        dataset = slice_dataset(np.zeros((4, 4), np.uint16), PatientName="Hong^Gildong")
        path = save(tmp_path / "a", dataset)
        secret = b"1.2.3.1.1"
        path.write_bytes(path.read_bytes()[132:].replace(secret, b"1.2.x.1.1").replace(b"20200301", b"2020SECR"))
        with caplog.at_level(logging.DEBUG):
            header(path)
        said = caplog.text + "".join(capfd.readouterr())
        assert not any(word in said for word in ("1.2.x", "SECR", "Hong"))

    @pytest.mark.parametrize(
        ("path", "word"),
        [
            ("seoul/A-17/0001", "A-17"),
            ("seoul/CT_HONG_GILDONG_2020/0001", "HONG"),
            ("seoul/honggildong/0001", "gildong"),
            ("seoul/홍길동/0001", "길동"),
            ("seoul/1.2.3.1.1.dcm", "1.2.3.1.1"),
        ],
    )
    def test_a_path_named_after_the_patient_is_shown_without(
        self, tmp_path: Path, write_image: Writer, path: str, word: str
    ):
        named = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Hong^Gildong=洪^吉洞=홍^길동"}
        write_image(tmp_path / path, np.zeros((4, 4), np.uint16), **named)
        (read,) = read_headers(tmp_path, path, "seoul", KEY)
        assert read.path == path
        assert read.shown
        assert word not in read.shown

    @pytest.mark.parametrize(
        "keyword", ["Manufacturer", "ManufacturerModelName", "ConvolutionKernel", "ContrastBolusAgent"]
    )
    def test_no_text_of_a_device_names_the_patient(self, tmp_path: Path, write_image: Writer, keyword: str):
        named = {"PatientName": "Hong^Gildong", "PatientID": "0012345", keyword: "GILDONG 64 0012345"}
        write_image(tmp_path / "x", np.zeros((4, 4), np.uint16), **named)
        read = header(tmp_path / "x")
        (said,) = [text for text in (read.vendor, read.model, read.kernel, read.contrast) if " 64 " in text]
        assert "GILDONG" not in said.upper()
        assert "0012345" not in said

    def test_a_short_number_of_a_patient_does_not_change_the_name_of_a_device(
        self, tmp_path: Path, write_image: Writer
    ):
        write_image(tmp_path / "x", np.zeros((4, 4), np.uint16), PatientID="64", ManufacturerModelName="Aquilion 64")
        assert header(tmp_path / "x").model == "Aquilion 64"

    def test_a_path_with_nothing_of_the_patient_is_shown_as_it_is(self, tmp_path: Path, write_image: Writer):
        write_image(tmp_path / "IM0017", np.zeros((4, 4), np.uint16), PatientID="17")
        assert header(tmp_path / "IM0017").shown == ""
