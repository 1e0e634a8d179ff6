"""Damaged and hostile files through index and reading: each is a sound image or refused with a reason, in time.

``python -m tests.dicom.test_fuzz 10000 1`` runs that many mutations from that seed and prints what became of them;
``KICC_FUZZ`` sets their number for the slow test.
"""

import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from PIL import Image as Picture
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Series
from kicc_ml.dicom.index.build import index_sources
from kicc_ml.dicom.pixels.read import read_image
from kicc_ml.dicom.series.reasons import REASONS
from kicc_ml.dicom.volume.hounsfield import HU_FLOOR
from kicc_ml.dicom.volume.read import read_volume
from tests.support.damaged_files import MUTATIONS
from tests.support.phantom_files import write_enhanced, write_radiograph, write_series
from tests.support.phantoms import Grid, even_mm

SECONDS_A_FILE = 10
SLICES = 4
GRID = Grid(even_mm(SLICES, 5.0), rows=40, columns=36, pixel_spacing_mm=(6.0, 6.0))
COMPRESSED_BY_PYDICOM = (RLELossless, JPEG2000Lossless, JPEGLSLossless)
UNCOMPRESSED = (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)


def write_sources(root: Path) -> list[Path]:
    """Sound files to damage: CT in many transfer syntaxes, enhanced CT, a radiograph; real ones where they are."""
    plain = write_series(root / "explicit", GRID)
    for syntax in (*UNCOMPRESSED, *COMPRESSED_BY_PYDICOM):
        for path in plain:
            recode(path, root / syntax.replace(".", "_") / path.name, syntax)
    for path in plain:
        one = pydicom.dcmread(path)
        save_with(one, jpeg_lossless(one), JPEGLosslessSV1, root / "lossless" / path.name)
        save_with(in_8_bits(one), jpeg(one), JPEGBaseline8Bit, root / "baseline" / path.name)
    write_enhanced(root / "enhanced" / "one", GRID, range(SLICES))
    write_radiograph(root / "cxr" / "one", np.arange(1440, dtype=np.uint16).reshape(40, 36))
    phantoms = sorted(path for path in root.rglob("*") if path.is_file())
    return 3 * phantoms + real_files()  # most real ones are refused as they are


def real_files() -> list[Path]:
    folder = Path(os.environ.get("KICC_DATA", ""), "dicom_edge")
    return sorted(path for path in folder.rglob("*") if path.is_file()) if "KICC_DATA" in os.environ else []


def recode(source: Path, target: Path, syntax: str) -> None:
    one = pydicom.dcmread(source)
    if syntax in COMPRESSED_BY_PYDICOM:
        one.compress(syntax, encoding_plugin="pyjpegls" if syntax == JPEGLSLossless else "pylibjpeg")
    elif syntax == ExplicitVRBigEndian:
        one.PixelData = one.pixel_array.astype(">u2").tobytes()
    one.file_meta.TransferSyntaxUID = syntax
    target.parent.mkdir(exist_ok=True)
    little = syntax != ExplicitVRBigEndian
    pydicom.dcmwrite(
        target, one, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=little, force_encoding=True
    )


def save_with(one: pydicom.FileDataset, stream: bytes, syntax: str, target: Path) -> None:
    one.PixelData = encapsulate([stream])
    one["PixelData"].is_undefined_length = True
    one.file_meta.TransferSyntaxUID = syntax
    target.parent.mkdir(exist_ok=True)
    one.save_as(target)


def in_8_bits(one: pydicom.FileDataset) -> pydicom.FileDataset:
    one.BitsAllocated, one.BitsStored, one.HighBit, one.RescaleSlope = 8, 8, 7, 16
    return one


def jpeg(one: pydicom.FileDataset) -> bytes:
    with tempfile.SpooledTemporaryFile() as file:
        Picture.fromarray((np.arange(1440).reshape(40, 36) % 256).astype(np.uint8)).save(file, "JPEG")
        file.seek(0)
        return file.read()


def jpeg_lossless(one: pydicom.FileDataset) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        writer = SimpleITK.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.SetCompressor("JPEG")
        writer.UseCompressionOn()
        writer.SetFileName(f"{folder}/coded.dcm")
        writer.Execute(SimpleITK.GetImageFromArray(one.pixel_array[None]))
        coded = pydicom.dcmread(f"{folder}/coded.dcm", force=True)
        return next(pydicom.encaps.generate_frames(coded.PixelData, number_of_frames=1))


# --- what must hold of each


def outcome(folder: Path, damaged: Path, decode: bool) -> str:
    """Index the folder, read what is usable and the damaged file itself; how it went, in a word."""
    series, rows = index_sources([folder], decode=decode)
    listed = [path for one in series for path in one.files] + [row.path for row in rows]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert sorted(set(listed)) == files
    assert {row.reason for row in rows} <= set(REASONS)
    for one in series:
        assert set(one.reasons) <= set(REASONS)
        assert one.usable or one.reasons
        if one.usable:
            check_volume(one)
    check_image(damaged)
    reasons = [row.reason for row in rows if row.path == damaged]
    verdicts = [one.verdict for one in series if damaged in one.files]
    return f"refused file: {reasons[0]}" if reasons else f"in a series: {verdicts[0]}"


def check_volume(series: Series) -> None:
    with suppress(UserError), coded():
        volume = read_volume(series)
        assert np.isfinite(volume.array).all()
        assert np.isfinite(volume.affine_ras).all()
        if volume.units == "hu":
            assert volume.array.min() >= HU_FLOOR


def check_image(path: Path) -> None:
    with suppress(UserError), coded():
        image = read_image(path)
        assert image.stored.ndim == 2
        assert image.stored.size


@contextmanager
def coded() -> Iterator[None]:
    """Lets those refusals through that give a documented reason."""
    try:
        yield
    except UserError as refusal:
        if getattr(refusal, "code", None) not in REASONS:
            raise AssertionError("a refusal without a reason") from refusal
        raise


def outcomes(root: Path, count: int, seed: int) -> Iterator[tuple[str, float]]:
    """What became of each of ``count`` mutations, and in how many seconds."""
    sources = write_sources(root / "sources")
    rng = random.Random(seed)
    mutations, weights = zip(*MUTATIONS, strict=True)
    for number in range(count):
        source = rng.choice(sources)
        (mutation,) = rng.choices(mutations, weights)
        folder = root / "case" / "seoul"
        folder.mkdir(parents=True, exist_ok=True)
        if source.is_relative_to(root):
            for other in source.parent.iterdir():
                (folder / other.name).write_bytes(other.read_bytes())
        damaged = folder / source.name
        damaged.write_bytes(mutation(source.read_bytes(), rng))
        start = time.perf_counter()
        try:
            word = outcome(folder.parent, damaged, decode=rng.random() < 0.5)
        except Exception as error:
            raise AssertionError(f"mutation {number}, seed {seed}: {mutation.__name__} of {source.name}") from error
        yield f"{mutation.__name__}: {word}", time.perf_counter() - start
        for path in folder.iterdir():
            path.unlink()


def run(root: Path, count: int, seed: int) -> Counter[str]:
    words: Counter[str] = Counter()
    for word, seconds in outcomes(root, count, seed):
        assert seconds < SECONDS_A_FILE, word
        words[word] += 1
    return words


def test_damaged_files_are_sound_images_or_refused_with_a_reason(tmp_path: Path):
    words = run(tmp_path, 200, seed=1)
    assert sum(words.values()) == 200
    assert any("refused file" in word for word in words)
    assert any("usable" in word for word in words)


@pytest.mark.slow
def test_thousands_of_damaged_files_are_sound_images_or_refused_with_a_reason(tmp_path: Path):
    count = int(os.environ.get("KICC_FUZZ", "2000"))
    assert sum(run(tmp_path, count, seed=2).values()) == count


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        begun = time.perf_counter()
        for what, times in sorted(run(Path(scratch), int(sys.argv[1]), seed=int(sys.argv[2])).items()):
            print(f"{times:6d}  {what}")
        print(f"{time.perf_counter() - begun:.0f} s")
