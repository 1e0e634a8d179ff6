"""Stored values of single files: what is decoded, what is refused, and that nothing takes the process along."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from kicc_ml.dicom.pixels.read import NotAnImage, find_decoding_fault, read_frames, read_image
from kicc_ml.dicom.series.reasons import REASONS
from tests.support.compressed_files import VALUES, compressed, signed_file
from tests.support.phantom_files import write_enhanced, write_image
from tests.support.phantoms import Grid, even_mm


def code_of(path: Path, frame: int | None = None) -> str:
    with pytest.raises(NotAnImage) as refusal:
        read_image(path, frame)
    assert path.name in str(refusal.value)
    return refusal.value.code


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
@pytest.mark.parametrize("bits", [16, 12])
def test_lossless_syntaxes_give_the_signed_values_back(tmp_path: Path, syntax: str, bits: int):
    path = compressed(signed_file(tmp_path / "one", bits), syntax)
    np.testing.assert_array_equal(read_image(path).stored, VALUES)
    assert find_decoding_fault(path) == ""


def test_big_endian_is_read_in_its_own_order(tmp_path: Path):
    one = pydicom.dcmread(signed_file(tmp_path / "one"))
    one.PixelData = VALUES.astype(">i2").tobytes()
    one.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    pydicom.dcmwrite(tmp_path / "big", one, implicit_vr=False, little_endian=False, force_encoding=True)
    np.testing.assert_array_equal(read_image(tmp_path / "big").stored, VALUES)


def test_high_bit_says_where_in_its_cell_a_value_lies(tmp_path: Path):
    path = write_image(tmp_path / "left", np.full((4, 4), 0x1230 + 7, np.uint16), BitsStored=12, HighBit=15)
    assert (read_image(path).stored == 0x123).all()


class TestContradictions:
    """A header that says something else than the compressed picture."""

    @pytest.mark.parametrize("changed", [{"Rows": 39}, {"Columns": 37}, {"SamplesPerPixel": 3}, {"BitsAllocated": 8}])
    @pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
    def test_other_size_or_depth_is_refused(self, tmp_path: Path, syntax: str, changed: dict[str, int]):
        path = compressed(signed_file(tmp_path / "one"), syntax, **changed)
        assert find_decoding_fault(path) == "codestream_mismatch"

    def test_other_coding_than_the_transfer_syntax_says_is_refused(self, tmp_path: Path):
        path = compressed(signed_file(tmp_path / "one"), JPEG2000Lossless)
        one = pydicom.dcmread(path)
        one.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        one.save_as(path)
        assert code_of(path) == "codestream_mismatch"

    def test_signed_picture_under_an_unsigned_header_is_refused(self, tmp_path: Path):
        path = compressed(signed_file(tmp_path / "one"), JPEG2000Lossless, PixelRepresentation=0)
        assert code_of(path) == "codestream_mismatch"

    def test_unsigned_picture_under_a_signed_header_is_refused_where_it_matters(self, tmp_path: Path):
        for name, high, refused in (("low", 30000, False), ("high", 40000, True)):
            plain = write_image(tmp_path / name, np.full((40, 36), high, np.uint16), BitsStored=16, HighBit=15)
            path = compressed(plain, JPEG2000Lossless, PixelRepresentation=1)
            if refused:
                assert code_of(path) == "codestream_mismatch"
            else:
                assert (read_image(path).stored == high).all()

    def test_values_beyond_the_bits_stored_are_refused(self, tmp_path: Path):
        path = compressed(signed_file(tmp_path / "one"), JPEG2000Lossless, BitsStored=11, HighBit=10)
        assert code_of(path) == "codestream_mismatch"

    def test_real_file_with_a_sign_its_codestream_has_not_is_refused(self, real_data: Path):
        path = real_data / "dicom_edge" / "header" / "J2K_pixelrep_mismatch.dcm"
        assert code_of(path) == "codestream_mismatch"


class TestRefusals:
    @pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
    def test_half_a_codestream_is_undecodable(self, tmp_path: Path, syntax: str):
        path = compressed(signed_file(tmp_path / "one"), syntax)
        one = pydicom.dcmread(path)
        stream = next(generate_frames(one.PixelData, number_of_frames=1))
        one.PixelData = encapsulate([stream[: len(stream) // 4 * 2]])
        one.save_as(path)
        assert code_of(path) == "undecodable"
        assert find_decoding_fault(path) == "undecodable"

    def test_codestream_that_ends_early_within_sound_lengths_is_undecodable(self, real_data: Path, tmp_path: Path):
        """libjpeg would fill the rest with values of its own making."""
        source = next((real_data / "dicom_ct" / "covidctmd_P001").glob("*.dcm"))
        one = pydicom.dcmread(source)
        stream = next(generate_frames(one.PixelData, number_of_frames=1))
        assert one.file_meta.TransferSyntaxUID == JPEGLosslessSV1
        one.PixelData = encapsulate([stream[:100_000] + b"\xff\xd9"])
        one.save_as(tmp_path / "one.dcm")
        assert code_of(tmp_path / "one.dcm") == "undecodable"

    def test_short_file_is_truncated(self, tmp_path: Path):
        path = signed_file(tmp_path / "one")
        path.write_bytes(path.read_bytes()[:-2])
        assert code_of(path) == "truncated"

    def test_picture_larger_than_any_is_refused_before_it_is_read(self, tmp_path: Path):
        assert code_of(write_image(tmp_path / "one", VALUES, Rows=65535, Columns=65535)) == "too_large"

    def test_unknown_transfer_syntax_is_undecodable(self, tmp_path: Path):
        one = pydicom.dcmread(signed_file(tmp_path / "one"))
        one.file_meta.TransferSyntaxUID = "1.2.840.113619.5.2"  # private, big endian pixels
        one.save_as(tmp_path / "one", implicit_vr=False, little_endian=True)
        assert code_of(tmp_path / "one") == "undecodable"

    def test_missing_file_is_unreadable(self, tmp_path: Path):
        assert code_of(tmp_path / "none") == "unreadable"

    def test_every_code_is_documented(self):
        codes = "undecodable codestream_mismatch truncated too_large unreadable not_an_image multi_frame dose_page"
        assert set(codes.split()) <= set(REASONS)


class TestFrames:
    @pytest.fixture
    def enhanced(self, tmp_path: Path) -> Path:
        return write_enhanced(tmp_path / "enhanced", Grid(even_mm(6, 4.0), rows=40, columns=36), (3, 1, 0, 5, 4, 2))

    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
    def test_a_frame_has_the_values_and_the_place_of_its_functional_groups(self, enhanced: Path, syntax: str):
        plain = pydicom.dcmread(enhanced)
        if syntax != ExplicitVRLittleEndian:
            compressed(enhanced, syntax)
        for index, (values, groups) in enumerate(
            zip(plain.pixel_array, plain.PerFrameFunctionalGroupsSequence, strict=True)
        ):
            image = read_image(enhanced, index)
            np.testing.assert_array_equal(image.stored, values)
            assert image.position_mm == pytest.approx(groups.PlanePositionSequence[0].ImagePositionPatient)
            assert (image.slope, image.intercept) == (1, -1024)

    def test_all_frames_are_read_from_one_opening_and_in_the_order_asked_for(
        self, enhanced: Path, monkeypatch: pytest.MonkeyPatch
    ):
        compressed(enhanced, RLELossless)
        alone = [read_image(enhanced, index).stored for index in (4, 0, 2)]
        opened: list[Path] = []
        monkeypatch.setattr(
            Path, "open", lambda path, *a, _open=Path.open, **k: opened.append(path) or _open(path, *a, **k)
        )
        together = [image.stored for image in read_frames(enhanced, (4, 0, 2))]
        np.testing.assert_array_equal(together, alone)
        assert opened == [enhanced]

    def test_several_frames_without_a_wish_are_refused_and_so_is_one_beyond_them(self, enhanced: Path):
        assert code_of(enhanced) == "multi_frame"
        assert code_of(enhanced, 6) == "undecodable"
