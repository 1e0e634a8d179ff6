"""Stored values of single files: what is decoded, what is refused, and that nothing takes the process along."""

import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import joblib
import numpy as np
import psutil
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

from kicc_ml.dicom.pixels.codestream import Codestream, describe_codestream
from kicc_ml.dicom.pixels.decode_pool import DecodingError, decode_in_worker
from kicc_ml.dicom.pixels.read import NotAnImage, find_decoding_fault, read_frames, read_image
from kicc_ml.dicom.series.reasons import REASONS
from tests.support.phantom_files import write_enhanced, write_image
from tests.support.phantoms import Grid, even_mm

VALUES = np.random.default_rng(0).integers(-900, 2000, (40, 36)).astype(np.int16)


def compressed(path: Path, syntax: str, **changed: object) -> Path:
    """Compress a plain file in place, then change tags so that they contradict the codestream."""
    one = pydicom.dcmread(path)
    one.compress(syntax, encoding_plugin="pyjpegls" if syntax == JPEGLSLossless else "pylibjpeg")
    for name, value in changed.items():
        setattr(one, name, value)
    one.save_as(path)
    return path


def signed_file(path: Path, bits: int = 16) -> Path:
    tags = {"PixelRepresentation": 1, "BitsStored": bits, "HighBit": bits - 1, "RescaleIntercept": 0}
    return write_image(path, VALUES, **tags)


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


def decoding_workers() -> list[psutil.Process]:
    """The processes that decode for this one."""
    return [one for one in psutil.Process().children() if any("decode_worker" in word for word in one.cmdline())]


def crash_the_one_asked(workers: list[psutil.Process]) -> None:
    """Wait until a suspended worker has a request in its pipe, end it as a fault in its code would; wake the others."""
    pipes = [os.open(f"/proc/{one.pid}/fd/0", os.O_RDONLY | os.O_NONBLOCK) for one in workers]
    asked = None
    while asked is None:
        time.sleep(0.005)
        asked = next((one for one, pipe in zip(workers, pipes, strict=True) if bytes_waiting(pipe)), None)
    asked.send_signal(signal.SIGSEGV)
    for one in workers:
        one.resume()
    for pipe in pipes:
        os.close(pipe)


def bytes_waiting(pipe: int) -> int:
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]


class TestWorkers:
    """Decoding in processes apart."""

    stream = b"\xff\xd8\xff\xc3" + struct.pack(">HBHHB", 11, 16, 4, 4, 1)

    def sound(self, folder: Path) -> Path:
        return compressed(signed_file(folder / "sound"), RLELossless)

    def test_a_worker_that_dies_costs_one_file(self, tmp_path: Path):
        path = self.sound(tmp_path)
        read_image(path)
        workers = decoding_workers()
        for worker in workers:
            worker.suspend()  # so that none has answered before it dies
        killer = threading.Thread(target=crash_the_one_asked, args=(workers,), daemon=True)
        killer.start()
        with pytest.raises(NotAnImage, match="the decoder ended with status -11"):
            read_image(path)
        killer.join()
        np.testing.assert_array_equal(read_image(path).stored, VALUES)

    def test_a_decoder_that_hangs_is_ended(self, monkeypatch: pytest.MonkeyPatch):
        with pytest.raises(subprocess.CalledProcessError) as ended:
            self.run_worker("import time; decoders.DECODERS['rle'] = lambda s, c: time.sleep(60); w.SECONDS = 0.2")
        assert ended.value.returncode == -signal.SIGALRM

    def test_a_decoder_that_wants_too_much_memory_is_refused_it(self):
        reply = self.run_worker("decoders.DECODERS['rle'] = lambda s, c: np.ones(2**40, np.uint8)")
        assert b"MemoryError" in reply

    def run_worker(self, prelude: str) -> bytes:
        """A worker with one decoder replaced, asked once."""
        code = f"import numpy as np; from kicc_ml.dicom.pixels import decoders, decode_worker as w; {prelude}; w.main()"
        request = b'{"process": "rle", "rows": 4, "columns": 4, "components": 1, "precision": 16, "length": 0}\n'
        command = [sys.executable, "-c", code]
        return subprocess.run(command, input=request, stdout=subprocess.PIPE, check=True, timeout=30).stdout

    def test_they_work_within_processes_of_joblib(self, tmp_path: Path):
        path = self.sound(tmp_path)
        for stored in joblib.Parallel(2)(joblib.delayed(lambda p: read_image(p).stored)(path) for _ in range(4)):
            np.testing.assert_array_equal(stored, VALUES)

    def test_they_work_within_forked_processes_that_may_have_no_children(self, tmp_path: Path):
        path = self.sound(tmp_path)
        read_image(path)  # the parent has workers, which a fork must not share
        from torch.utils.data import DataLoader

        loader = DataLoader(_Files([path] * 4), num_workers=2, batch_size=None)
        for stored in loader:
            np.testing.assert_array_equal(stored, VALUES)

    def test_they_import_neither_torch_nor_monai(self):
        heavy = {"torch", "monai", "SimpleITK", "pydicom"}
        code = f"import sys, kicc_ml.dicom.pixels.decode_worker; print({heavy} & set(sys.modules))"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"

    def test_what_is_no_picture_is_an_error_and_the_worker_lives_on(self):
        for _ in range(2):
            with pytest.raises(DecodingError):
                decode_in_worker(self.stream, Codestream("jpeg_lossless", 4, 4, 1, 16))


class _Files:
    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        return read_image(self.paths[index]).stored


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"\xff\xd8\xff\xe0\0\x04ab\xff\xc1" + struct.pack(">HBHHB", 11, 12, 5, 6, 1), ("jpeg", 5, 6, 1, 12, None)),
        (b"\xff\xd8\xff\xff\xc3" + struct.pack(">HBHHB", 11, 16, 5, 6, 1), ("jpeg_lossless", 5, 6, 1, 16, None)),
        (b"\xff\xd8\xff\xf7" + struct.pack(">HBHHB", 11, 8, 5, 6, 3), ("jpeg_ls", 5, 6, 3, 8, None)),
        (
            b"\xff\x4f\xff\x51" + struct.pack(">HH8IHB", 41, 0, 16, 15, 10, 10, 16, 15, 0, 0, 1, 0x80 | 11),
            ("jpeg_2000", 5, 6, 1, 12, True),
        ),
        (struct.pack("<16I", 2, 64, 100, *[0] * 13), ("rle", 0, 0, 1, 16, None)),
    ],
)
def test_markers_are_read_as_the_standards_lay_them_out(stream: bytes, expected: tuple):
    assert describe_codestream(stream) == Codestream(*expected)


@pytest.mark.parametrize(
    "stream", [b"", b"\xff\xd8", b"\xff\xd8\xff\xda\0\x02", b"\xff\x4f\xff\x51\0", b"text of some kind"]
)
def test_what_has_no_known_markers_is_no_picture(stream: bytes):
    assert describe_codestream(stream) is None
