"""One file's header: two readers that agree, text in every encoding, frames in their places, and hostile files."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from kicc_ml.core.pseudonym import make_pseudonym
from kicc_ml.dicom.header import fast_parser as tags
from kicc_ml.dicom.header import parse
from kicc_ml.dicom.header.charsets import decode_text
from kicc_ml.dicom.header.read import read_headers
from tests.support.header_readers import KEY, Writer, header, with_sequence
from tests.support.plain_slices import save, slice_dataset, write_three_frames

NAME = "홍길동 흉부"


def by_walker(path: Path) -> tags.FastHeader | None:
    with path.open("rb", buffering=0) as stream:
        return tags.read_tags(stream)


def by_pydicom(path: Path) -> tuple[parse.ParsedHeader, int]:
    with path.open("rb", buffering=0) as stream:
        return parse.parse_by_pydicom(stream), stream.tell()


def assert_readers_agree(path: Path) -> None:
    walked = by_walker(path)
    assert walked is not None
    slow, at = by_pydicom(path)
    assert (walked.values, walked.syntax) == (slow.values, slow.syntax)
    assert (walked.pixel_length, walked.pixel_at) == (slow.pixel_length, at)


class TestReadersAgree:
    @pytest.mark.parametrize("syntax", ["", ImplicitVRLittleEndian])
    @pytest.mark.parametrize("undefined", [True, False])
    @pytest.mark.parametrize("depth", [1, 5, 20])
    def test_on_sequences_of_both_lengths_in_both_encodings(
        self, tmp_path: Path, syntax: str, undefined: bool, depth: int
    ):
        assert_readers_agree(with_sequence(depth, undefined, syntax, tmp_path / "slice"))

    def test_on_text_numbers_and_padding(self, tmp_path: Path, write_image: Writer):
        tags = {"Manufacturer": "ACME ", "KVP": "120.0", "PixelPaddingValue": -2000, "Exposure": "7"}
        tags |= {"PatientName": "Hong^Gildong", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}
        assert_readers_agree(write_image(tmp_path / "slice", np.zeros((4, 4), np.int16), **tags))

    def test_on_a_private_element_too_long_for_the_first_bytes(self, tmp_path: Path, write_image: Writer):
        private = pydicom.dataelem.DataElement(0x00091010, "OB", bytes(100_000))
        path = write_image(tmp_path / "slice", np.zeros((4, 4), np.uint16), private=private)
        assert by_walker(path).pixel_at > tags.HEAD_BYTES[0]  # type: ignore[union-attr]
        assert_readers_agree(path)

    def test_with_plain_pydicom_on_every_real_file(self, real_data: Path):
        walked = 0
        for path in sorted(real_data.glob("dicom_*/**/*")):
            if path.is_file() and by_walker(path) is not None:
                assert_readers_agree(path)
                walked += 1
        assert walked > 150

    def test_values_are_those_pydicom_shows(self, real_data: Path):
        """Against pydicom's own conversion, which shares nothing with ours."""
        for path in sorted((real_data / "dicom_ct").glob("*/*"))[::10]:
            if path.suffix == ".csv":
                continue
            read, shown = header(path), pydicom.dcmread(path, stop_before_pixels=True)
            assert read.position_mm == tuple(map(float, shown.ImagePositionPatient))
            assert read.orientation == tuple(map(float, shown.ImageOrientationPatient))
            assert (read.rows, read.columns, read.kvp) == (shown.Rows, shown.Columns, shown.get("KVP"))
            assert read.transfer_syntax == shown.file_meta.TransferSyntaxUID
            assert read.sop == make_pseudonym(KEY, shown.SOPInstanceUID or path.name)

    @pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
    def test_what_the_walker_leaves_to_pydicom_is_read_the_same(self, tmp_path: Path, write_image: Writer, syntax: str):
        plain = write_image(tmp_path / "plain", np.zeros((4, 4), np.uint16), KVP=110)
        dataset = pydicom.dcmread(plain)
        dataset.PixelData = bytes(32)
        other = tmp_path / "other"
        dataset.file_meta.TransferSyntaxUID = syntax
        order = {"implicit_vr": False, "little_endian": syntax != ExplicitVRBigEndian}
        pydicom.dcmwrite(other, dataset, force_encoding=True, **order)
        assert by_walker(other) is None
        read, expected = header(other), header(plain)
        assert read.transfer_syntax == syntax
        assert (read.position_mm, read.kvp, read.fault) == (expected.position_mm, 110.0, "")


class TestValues:
    def test_each_field_is_read(self, tmp_path: Path, write_image: Writer):
        tags = {"AcquisitionNumber": 3, "TemporalPositionIdentifier": 2, "ContrastBolusAgent": "OMNI", "KVP": 100}
        tags |= {"CTDIvol": 2.5, "GantryDetectorTilt": -12, "RescaleType": "HU", "BurnedInAnnotation": "YES"}
        tags |= {"StudyTime": "0930", "AcquisitionDate": "20200302", "AcquisitionTime": "143005.25"}
        read = header(write_image(tmp_path / "a", np.zeros((4, 4), np.uint16), **tags))
        assert (read.acquisition, read.phase, read.contrast, read.kvp) == (3, 2.0, "OMNI", 100.0)
        assert (read.ctdi_vol_mgy, read.tilt_tag_degrees, read.rescale_type) == (2.5, -12.0, "HU")
        assert (read.burned_in, read.lossy, read.frame) == (True, False, None)
        assert (read.study_started, read.acquired) == (datetime(2020, 3, 1, 9, 30), datetime(2020, 3, 2, 14, 30, 5))

    @pytest.mark.parametrize(
        "tags",
        [
            {"Exposure": 12},
            {"ExposureInuAs": 12_000},
            {"ExposureTime": 500, "XRayTubeCurrent": 24},
            {"Exposure": 12, "ExposureTime": 500, "XRayTubeCurrent": 400},
        ],
    )
    def test_exposure_is_in_mas_however_it_is_stated(self, tmp_path: Path, write_image: Writer, tags: dict):
        assert header(write_image(tmp_path / "a", np.zeros((4, 4), np.uint16), **tags)).exposure_mas == 12.0

    @pytest.mark.parametrize("value", [b"abc ", b"1e999 ", b"nan ", b"1\\2\\3 ", b"\xff\xfe"])
    def test_a_number_that_is_none_is_missing_and_the_file_is_read(
        self, tmp_path: Path, write_image: Writer, value: bytes
    ):
        path = write_image(tmp_path / "a", np.zeros((4, 4), np.uint16), KVP="1" * len(value))
        path.write_bytes(path.read_bytes().replace(b"1" * len(value), value))
        assert (header(path).kvp, header(path).fault) == (None, "")

    def test_an_anonymisers_filler_is_no_date(self, tmp_path: Path, write_image: Writer):
        path = write_image(tmp_path / "a", np.zeros((4, 4), np.uint16), StudyDate="00010101")
        assert (header(path).acquired, header(path).study_started) == (None, None)

    @pytest.mark.parametrize(
        ("syntax", "stated", "lossy"),
        [
            ("1.2.840.10008.1.2.4.50", None, True),
            ("1.2.840.10008.1.2.4.91", None, True),
            ("1.2.840.10008.1.2.4.91", "00", False),
            ("1.2.840.10008.1.2.4.90", None, False),
            ("1.2.840.10008.1.2.1", "01", True),
        ],
    )
    def test_loss_is_known_from_the_flag_or_the_syntax(self, tmp_path: Path, syntax: str, stated: str, lossy: bool):
        dataset = slice_dataset(np.zeros((4, 4), np.uint16), LossyImageCompression=stated)
        if syntax != "1.2.840.10008.1.2.1":
            dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
            dataset["PixelData"].is_undefined_length = True
        assert header(save(tmp_path / "a", dataset, syntax)).lossy is lossy


class TestText:
    @pytest.mark.parametrize(
        ("raw", "charset"),
        [
            (NAME.encode("cp949"), "\\ISO 2022 IR 149"),
            (b"\x1b$)C" + NAME.encode("euc_kr"), "\\ISO 2022 IR 149"),
            (b"\x1b$)C" + NAME.encode("euc_kr"), ""),
            (b"\x1b$)C" + NAME.encode("euc_kr"), "ISO_IR 100"),
            (NAME.encode(), "ISO_IR 192"),
            (NAME.encode(), ""),
            (NAME.encode(), "ISO_IR 100"),
            (NAME.encode(), "\\ISO 2022 IR 149"),
            (NAME.encode("cp949"), "ISO_IR 192"),
            (NAME.encode("cp949"), ""),
            (NAME.encode("cp949"), "ISO_IR 100"),
            (NAME.encode("cp949"), "KLINGON 99"),
        ],
    )
    def test_korean_is_read_under_right_wrong_and_missing_character_sets(self, raw: bytes, charset: str):
        assert decode_text(raw, charset) == NAME

    def test_a_syllable_outside_euc_kr_is_read(self):
        assert decode_text("똠방각하".encode("cp949"), "") == "똠방각하"

    @pytest.mark.parametrize("word", ["Müller", "François", "Nuñez", "Søren"])
    def test_latin_letters_are_not_taken_for_korean(self, word: str):
        assert decode_text(word.encode("latin-1"), "ISO_IR 100") == word

    def test_japanese_escapes_are_read(self):
        assert decode_text("胸部".encode("iso2022_jp"), "\\ISO 2022 IR 87") == "胸部"

    @pytest.mark.parametrize("charset", ["", "ISO_IR 100", "ISO_IR 192", "\\ISO 2022 IR 149", "\\ISO 2022 IR 87", "?"])
    def test_any_bytes_under_any_set_give_text(self, charset: str):
        generator = np.random.default_rng(5)
        for _ in range(300):
            assert isinstance(decode_text(generator.bytes(12) + b"\x1b$B" * 2, charset), str)

    def test_view_is_found_in_a_description_in_korean(self, tmp_path: Path, write_image: Writer):
        plain = {"Modality": "CR", "SpecificCharacterSet": "ISO_IR 100", "SeriesDescription": "@" * 12}
        path = write_image(tmp_path / "a", np.zeros((4, 4), np.uint16), **plain)
        path.write_bytes(path.read_bytes().replace(b"@" * 12, "흉부 PA ".encode("cp949") + b"    "))
        assert header(path).view == "PA"

    def test_korean_of_two_sets_in_a_real_file(self, real_data: Path):
        read = header(real_data / "dicom_edge" / "header" / "chrKoreanMulti.dcm")
        assert (read.vendor, read.view, read.kvp) == ("Agfa-Gevaert AG", "PA", 0.0)
        assert read.fault == "truncated"  # it has no pixel data


class TestFrames:
    def test_each_frame_has_its_own_place_in_the_order_of_the_file(self, tmp_path: Path):
        path = write_three_frames(tmp_path / "a")
        frames = read_headers(tmp_path, path.name, "seoul", KEY)
        assert [one.frame for one in frames] == [0, 1, 2]
        assert [one.position_mm for one in frames] == [(0, 0, 30), (0, 0, 10), (0, 0, 20)]
        assert [one.acquisition for one in frames] == [1, 1, 2]
        assert {one.orientation for one in frames} == {(1, 0, 0, 0, 1, 0)}
        assert {(one.frames, one.has_rescale, one.rescale_type, one.kernel) for one in frames} == {
            (3, True, "HU", "B30f")
        }
        assert {(one.modality, one.image_type, one.phase) for one in frames} == {("CT", "ORIGINAL\\PRIMARY\\VOLUME", 4)}

    def test_a_frames_own_group_stands_over_the_shared_one(self, tmp_path: Path):
        write_three_frames(tmp_path / "a")
        spacings = [one.pixel_spacing_mm for one in read_headers(tmp_path, "a", "seoul", KEY)]
        assert spacings == [(0.5, 0.25), (0.7, 0.7), (0.5, 0.25)]

    def test_an_object_with_a_frame_missing_from_its_groups_is_one_header(self, tmp_path: Path):
        path = write_three_frames(tmp_path / "a", NumberOfFrames=4, PixelData=bytes(4 * 4 * 4 * 2))
        assert (header(path).frames, header(path).frame) == (4, None)

    def test_a_truncated_object_is_one_header(self, tmp_path: Path):
        path = write_three_frames(tmp_path / "a")
        path.write_bytes(path.read_bytes()[:-10])
        assert (header(path).fault, header(path).frames) == ("truncated", 3)
