"""Everything that can be read in a file, however it is packed: what a sweep for marked values has to look through."""

import base64
import contextlib
import gzip
import html
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pyarrow.parquet
import pydicom
from PIL import Image

#: Packed in packed in packed is looked into, and no further.
MOST_LAYERS = 6
DATA_ADDRESS = re.compile(rb"data:[\w/+.-]*;base64,([A-Za-z0-9+/=\s]+)")
LONG_BASE64 = re.compile(rb"[A-Za-z0-9+/]{200,}={0,2}")
PDF_STREAM = re.compile(rb"stream\r?\n(.*?)\r?\nendstream", re.DOTALL)
PDF_SHOWN = re.compile(rb"\[((?:[^\[\]\\]|\\.){0,4000})\]\s*TJ|\(((?:[^()\\]|\\.)*)\)\s*Tj")
PDF_STRING = re.compile(rb"\(((?:[^()\\]|\\.)*)\)|<([0-9A-Fa-f\s]+)>")


def layers(content: bytes, depth: int = 0) -> Iterator[bytes]:
    """The bytes of a file and of everything within it, unpacked, decoded and parsed."""
    yield content
    if depth == MOST_LAYERS:
        return
    for inner in _inner(content):
        yield from layers(inner, depth + 1)


def _inner(content: bytes) -> Iterator[bytes]:
    if content[:2] == b"\x1f\x8b":
        yield _inflated_gzip(content)
    elif content[:4] == b"PK\x03\x04":
        yield from _of_zip(content)
    elif content[:4] == b"PAR1":
        yield _of_parquet(content)
    elif content[:5] == b"%PDF-":
        yield from _of_pdf(content)
    elif content[:8] == b"\x89PNG\r\n\x1a\n" or content[:3] == b"\xff\xd8\xff":
        yield _of_picture(content)
    elif content[128:132] == b"DICM":
        yield from _of_dicom(content)
    else:
        yield from _of_text(content)


def _inflated_gzip(content: bytes) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        return b""


def _of_zip(content: bytes) -> Iterator[bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            yield info.filename.encode("utf-8", "surrogateescape") + b"\n" + info.comment
            yield archive.read(info)


def _of_parquet(content: bytes) -> bytes:
    file = pyarrow.parquet.ParquetFile(io.BytesIO(content))
    rows = file.read().to_pylist()
    return f"{file.metadata}\n{file.schema_arrow.metadata}\n{rows}".encode()


def _of_pdf(content: bytes) -> Iterator[bytes]:
    """Streams, inflated, and the text that they show, whose letters are set one by one."""
    for found in PDF_STREAM.finditer(content):
        stream = found[1]
        with contextlib.suppress(zlib.error):
            stream = zlib.decompressobj().decompress(stream)
        yield stream
        yield b"\n".join(b"".join(_pdf_strings(shown[0])) for shown in PDF_SHOWN.finditer(stream))


def _pdf_strings(shown: bytes) -> Iterator[bytes]:
    for plain, hexadecimal in PDF_STRING.findall(shown):
        yield plain if plain else bytes.fromhex(hexadecimal.decode().strip() or "00").replace(b"\0", b"")


def _of_picture(content: bytes) -> bytes:
    """Text beside the pixels: chunks of PNG, comments, EXIF."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            return f"{picture.info}\n{dict(picture.getexif())}".encode("utf-8", "backslashreplace")
    except (OSError, ValueError, SyntaxError):
        return b""


def _of_dicom(content: bytes) -> Iterator[bytes]:
    dataset = pydicom.dcmread(io.BytesIO(content), force=True)
    for element in dataset.file_meta:
        yield str(element.value).encode("utf-8", "backslashreplace")
    for element in _readable_elements(dataset):
        if element.VR in ("OB", "OW", "UN") and isinstance(element.value, bytes):
            yield element.value
        else:
            yield str(element.value).encode("utf-8", "backslashreplace")


def _readable_elements(dataset: pydicom.Dataset) -> Iterator[pydicom.DataElement]:
    """All elements down to the first that is none: bytes after the last one read as an element of an unknown kind."""
    with contextlib.suppress(NotImplementedError):
        yield from dataset.iterall()


def _of_text(content: bytes) -> Iterator[bytes]:
    """What a text writes with other characters than its own: addresses, entities, escapes of JSON, base64."""
    if b"%" in content:
        yield unquote_to_bytes(content)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return
    if "&" in text and (plain := html.unescape(text)) != text:
        yield plain.encode("utf-8", "surrogatepass")
    if "\\u" in text:
        yield _of_json(text)
    for pattern in (DATA_ADDRESS, LONG_BASE64):
        for found in pattern.finditer(content):
            coded = re.sub(rb"\s", b"", found[found.re.groups])
            yield base64.b64decode(coded[: len(coded) // 4 * 4])


def _of_json(text: str) -> bytes:
    try:
        return json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8", "surrogatepass")
    except ValueError:
        return b""


#: Texts in lower case, each with the pattern that is looked for where it stands.
Marks = Mapping[bytes, re.Pattern[bytes]]


def marked(layer: bytes, marks: Marks) -> Iterator[re.Match[bytes]]:
    """The marks in plain bytes. Plain text is looked for first: a pattern of all of them takes a second a megabyte."""
    lower = layer.lower()
    for text, pattern in marks.items():
        if text in lower:
            yield from pattern.finditer(layer)


def found_in(content: bytes, marks: Marks) -> list[str]:
    """Every mark in all layers, each once, with what stands about it."""
    found: dict[bytes, str] = {}
    for layer in layers(content):
        for one in marked(layer, marks):
            about = layer[max(0, one.start() - 40) : one.end() + 40]
            found.setdefault(one[0], about.decode("utf-8", "backslashreplace"))
    return list(found.values())


def found_below(folder: Path, marks: Marks) -> dict[Path, list[str]]:
    """Findings by file, in its content and in its name below ``folder``."""
    by_file = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder)).encode("utf-8", "surrogateescape")
        found = [f"name {one[0].decode()!r}" for one in marked(name, marks)]
        if path.is_file() and not path.is_symlink():
            found += found_in(path.read_bytes(), marks)
        if found:
            by_file[path] = found
    return by_file
