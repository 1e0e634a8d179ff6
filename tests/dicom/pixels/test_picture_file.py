"""Radiographs as PNG and JPEG: nothing else behind these suffixes, upright as viewers show them, decoded apart."""

import io
import re
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kicc_ml.core.errors import UserError
from kicc_ml.dicom.index.sources import find_scans
from kicc_ml.dicom.pixels import picture_file
from kicc_ml.dicom.pixels.picture_file import describe_picture, read_picture
from kicc_ml.dicom.pixels.source import NotAnImage
from kicc_ml.dicom.series.image_files import make_radiograph_series, read_radiograph
from kicc_ml.dicom.series.reasons import REASONS
from kicc_ml.dicom.volume.read import read_volume
from tests.support.phantom_files import write_image

ORIENTATION = 0x0112
#: What a viewer does to the stored picture for each EXIF orientation (CIPA DC-008 4.6.4), as numpy says it.
UPRIGHT = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.T,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].T,
    8: lambda stored: np.rot90(stored, 1),
}
FILM = np.add.outer(np.arange(24) * 8, np.arange(16) * 4).astype(np.uint8)


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[ORIENTATION] = orientation
    return block


def code_of(path: Path) -> str:
    with pytest.raises(NotAnImage) as refusal:
        describe_picture(path)
    assert str(path) in str(refusal.value)
    assert refusal.value.code in REASONS
    return refusal.value.code


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_film_is_turned_as_its_exif_orientation_says(tmp_path: Path, orientation: int, suffix: str):
    path = tmp_path / f"film{suffix}"
    Image.fromarray(FILM).save(path, exif=exif(orientation), quality=100)
    upright = UPRIGHT[orientation](FILM)
    series = make_radiograph_series(path, site="", patient="")
    np.testing.assert_allclose(read_volume(series).array[..., 0], upright.T, atol=3)
    assert (series.rows, series.columns) == upright.shape


def test_a_damaged_exif_block_states_no_orientation(tmp_path: Path):
    path = tmp_path / "film.jpg"
    Image.fromarray(FILM).save(path, exif=exif(6), quality=100)
    path.write_bytes(path.read_bytes().replace(b"Exif\0\0MM\0*", b"Exif\0\0XX\0*"))
    np.testing.assert_allclose(read_radiograph(path), FILM.T, atol=3)


def test_sixteen_bits_are_read_whole_and_turned_too(tmp_path: Path):
    deep = FILM.astype(np.uint16) * 257 + 1
    Image.fromarray(deep).save(tmp_path / "film.png", exif=exif(6))
    np.testing.assert_array_equal(read_picture(tmp_path / "film.png"), np.rot90(deep, -1))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_colours_palettes_and_opaque_alpha_show_the_same_film(tmp_path: Path, mode: str):
    Image.fromarray(FILM).convert(mode).save(tmp_path / "film.png")
    np.testing.assert_array_equal(read_radiograph(tmp_path / "film.png"), FILM.T)


def test_a_cmyk_jpeg_and_the_first_picture_of_a_phones_pair_show_the_same_film(tmp_path: Path):
    grey = Image.fromarray(FILM)
    grey.convert("RGB").convert("CMYK").save(tmp_path / "print.jpg", quality=100)
    grey.save(tmp_path / "phone.mpo", save_all=True, append_images=[Image.new("L", (16, 24))], quality=100)
    (tmp_path / "phone.mpo").rename(tmp_path / "phone.jpg")
    for name in ("print.jpg", "phone.jpg"):
        np.testing.assert_allclose(read_radiograph(tmp_path / name), FILM.T, atol=4)


def test_a_film_that_is_transparent_in_places_is_refused(tmp_path: Path):
    alpha = Image.new("L", (16, 24), 255)
    alpha.putpixel((3, 3), 0)
    film = Image.fromarray(FILM)
    Image.merge("LA", (film, alpha)).save(tmp_path / "alpha.png")
    film.save(tmp_path / "key.png", transparency=int(FILM[5, 5]))
    Image.fromarray(FILM.astype(np.uint16)).save(tmp_path / "deep.png", transparency=int(FILM[5, 5]))
    for name in ("alpha.png", "key.png", "deep.png"):
        with pytest.raises(UserError, match=rf"{name}: .*transparent in places.*without transparency"):
            read_radiograph(tmp_path / name)


def test_a_transparent_grey_that_no_pixel_has_is_of_no_concern(tmp_path: Path):
    Image.fromarray(FILM).save(tmp_path / "film.png", transparency=255)
    np.testing.assert_array_equal(read_radiograph(tmp_path / "film.png"), FILM.T)


@pytest.mark.parametrize(
    ("form", "called"),
    [
        ("WEBP", "WebP"),
        ("TIFF", "Adobe TIFF"),
        ("GIF", "Compuserve GIF"),
        ("BMP", "Windows Bitmap"),
        ("EPS", "Encapsulated Postscript"),
        ("ICO", "Windows Icon"),
        ("DDS", "DirectDraw Surface"),
        ("ICNS", "Mac OS icns resource"),
        ("SGI", "SGI Image File Format"),
        ("JPEG2000", "JPEG 2000 (ISO 15444)"),
        ("AVIF", "AVIF"),
        ("PPM", "Pbmplus"),
        ("PCX", "Paintbrush"),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".jpeg"])
def test_any_other_format_is_refused_by_its_name(
    tmp_path: Path, form: str, called: str, suffix: str, caplog: pytest.LogCaptureFixture
):
    written = io.BytesIO()
    Image.fromarray(np.tile(FILM, (8, 8))[:128, :128]).convert("RGB").save(written, format=form)
    (tmp_path / f"film{suffix}").write_bytes(written.getvalue())
    with pytest.raises(UserError, match=rf"a {re.escape(called)} picture named {suffix}: save it as PNG"):
        find_scans(tmp_path, "arbitrary", spacing_known=False, modality="CXR")
    assert f"film{suffix} refused: a {called} picture named {suffix}: save it as PNG" in caplog.text


def test_postscript_behind_png_starts_no_ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    marker = tmp_path / "called"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {marker}\n")
    (tmp_path / "gs").chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "x.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    assert code_of(tmp_path / "x.png") == "picture_format"
    with pytest.raises(UserError, match="Encapsulated Postscript"):
        read_radiograph(tmp_path / "x.png")
    assert not marker.exists()


def test_a_dicom_file_named_png_is_called_one(tmp_path: Path):
    path = write_image(tmp_path / "one", np.zeros((4, 4), np.uint16)).rename(tmp_path / "one.png")
    with pytest.raises(NotAnImage, match="a DICOM picture named"):
        describe_picture(path)


@pytest.mark.parametrize("content", [b"", b"\x89", b"\x89PN", bytes(16), b"text of some kind"])
def test_what_is_no_picture_is_unreadable(tmp_path: Path, content: bytes):
    (tmp_path / "film.png").write_bytes(content)
    assert code_of(tmp_path / "film.png") == "unreadable"


def test_damaged_headers_are_refused_and_nothing_else_is_raised(tmp_path: Path):
    rng, film = np.random.default_rng(1), Image.fromarray(FILM)
    film.save(tmp_path / "a.jpg", exif=exif(6))
    film.save(tmp_path / "b.png", exif=exif(6))
    for number in range(60):
        source = tmp_path / ("a.jpg", "b.png")[number % 2]
        content = bytearray(source.read_bytes())
        for place in rng.integers(0, 160, 4):
            content[place % len(content)] = rng.integers(256)
        damaged = (tmp_path / "damaged").with_suffix(source.suffix)
        damaged.write_bytes(content[: rng.integers(1, len(content))] if number % 7 == 0 else content)
        with suppress(NotAnImage):
            coded = describe_picture(damaged)
            assert read_picture(damaged).shape == (coded.rows, coded.columns)


def test_png_under_a_jpeg_suffix_is_read(tmp_path: Path):
    Image.fromarray(FILM).save(tmp_path / "film.jpg", format="PNG")
    np.testing.assert_array_equal(read_radiograph(tmp_path / "film.jpg"), FILM.T)


def test_an_animation_is_refused(tmp_path: Path):
    Image.fromarray(FILM).save(tmp_path / "film.png", save_all=True, append_images=[Image.fromarray(FILM // 2)])
    assert code_of(tmp_path / "film.png") == "multi_frame"


def png(columns: int, rows: int, bits: int, colour_type: int, pixels: bytes, *late: tuple[bytes, bytes]) -> bytes:
    """A PNG file as the standard lays it out; chunks of ``late`` stand behind the pixels."""
    header = struct.pack(">2I5B", columns, rows, bits, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", pixels), *late, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


@pytest.mark.parametrize("colour_type", [2, 4, 6])
def test_sixteen_bits_of_colour_or_alpha_are_refused_and_not_cut_to_eight(tmp_path: Path, colour_type: int):
    samples = {2: 3, 4: 2, 6: 4}[colour_type]
    pixels = zlib.compress((b"\0" + b"\x12\x34" * samples * 4) * 4)
    (tmp_path / "film.png").write_bytes(png(4, 4, 16, colour_type, pixels))
    assert code_of(tmp_path / "film.png") == "picture_format"


def test_a_quarter_turn_stated_behind_the_pixels_is_refused(tmp_path: Path):
    pixels = zlib.compress((b"\0" + bytes(4)) * 8)
    late = (b"eXIf", exif(6).tobytes().removeprefix(b"Exif\0\0"))
    (tmp_path / "film.png").write_bytes(png(4, 8, 8, 0, pixels, late))
    with pytest.raises(UserError, match=r"film\.png: .*orientation is stated behind its pixels"):
        read_radiograph(tmp_path / "film.png")


def test_more_pixels_than_any_film_are_refused_from_the_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "bomb.png").write_bytes(png(13_000, 13_000, 8, 0, zlib.compress(bytes(13_001) * 1000)))
    monkeypatch.setattr(picture_file, "decode_in_worker", pytest.fail)
    assert code_of(tmp_path / "bomb.png") == "too_large"
    with pytest.raises(NotAnImage, match="13000 x 13000 pixels are more than any radiograph has"):
        read_picture(tmp_path / "bomb.png")


def test_the_pixels_of_a_stranger_are_never_decoded_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from PIL import ImageFile

    Image.fromarray(FILM).save(tmp_path / "film.png")
    Image.fromarray(FILM).save(tmp_path / "film.jpg")
    monkeypatch.setattr(ImageFile.ImageFile, "load", pytest.fail)
    for name in ("film.png", "film.jpg"):
        series = make_radiograph_series(tmp_path / name, site="", patient="")
        assert read_volume(series).array.shape == (16, 24, 1)


def test_headers_alone_start_no_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Image.fromarray(FILM).save(tmp_path / "film.png")
    monkeypatch.setattr(picture_file, "decode_in_worker", pytest.fail)
    assert make_radiograph_series(tmp_path / "film.png", site="", patient="").usable


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_half_a_picture_is_refused(tmp_path: Path, suffix: str):
    noise = np.random.default_rng(0).integers(0, 255, (60, 60)).astype(np.uint8)
    path = tmp_path / f"film{suffix}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(UserError, match=r"film.*cannot be read as a picture.*whole"):
        read_radiograph(path)


def test_colours_are_kept_where_they_are_asked_for(tmp_path: Path):
    rgb = np.stack([FILM, FILM[::-1], FILM // 2], axis=-1)
    Image.fromarray(rgb).save(tmp_path / "montage.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "montage.png", colours=True), rgb)
