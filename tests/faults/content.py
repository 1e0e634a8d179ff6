"""What a folder of results holds, so that two of them can be compared: everything but times and logs."""

import gzip
import hashlib
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydicom import dcmread

#: Logs of a training and what it goes on from, and what an index has read, whole or in parts; they tell of the way and
#: not of the result.
LOGS = re.compile(
    r"(^|/)(checkpoints/.*|tensorboard/.*|events\.out\..*|metrics\.csv|multirun\.yaml|\.?index-\w+\.parquet(\.parts/.*)?)$"
)
#: Columns and keys that hold seconds or dates of the machine.
OF_THE_CLOCK = re.compile(r"^(seconds|timing_s|.*_seconds|created|written|date)$")
#: The line of a patient's page with the seconds of each stage, and that of a model card with those of a prediction.
STAGES = re.compile(rb"reading \d+\.\d,[^<]*</p>|Time of the prediction, median: [^ ]+ s")
#: In PDF files.
PDF_DATES = re.compile(rb"/(Creation|Mod)Date \(.*?\)")


def content_of(folder: Path) -> dict[str, Any]:
    """Relative path -> content of every file that is no log, hidden ones included."""
    return {name: content(path) for name, path in files_of(folder).items() if not LOGS.search(name)}


def files_of(folder: Path) -> dict[str, Path]:
    """Relative path -> path, of everything that is no folder."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if not path.is_dir()}


def is_hidden(name: str) -> bool:
    """Whether a relative path has a component that begins with a dot."""
    return any(part.startswith(".") for part in name.split("/"))


def content(path: Path) -> Any:
    """The content of a file less what the clock put there. Damaged files have a content too, their bytes."""
    data = path.read_bytes()
    read = _derived_object if path.parent.name == "dicom" else READERS.get(path.suffix, bytes)
    read = _manifest if path.name == ".kicc-export.json" else read
    try:
        return read(data)
    except Exception:  # whatever a parser raises of half a file
        return b"damaged: " + data


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """One line for each file that is missing, that nobody expected, or that differs."""
    missing = [f"missing: {name}" for name in expected if name not in found]
    unexpected = [f"unexpected: {name}" for name in found if name not in expected]
    differing = [
        f"differs: {name} {_where(found[name], expected[name])}"
        for name in expected
        if name in found and found[name] != expected[name]
    ]
    return missing + unexpected + differing


def _where(found: Any, expected: Any) -> str:
    """The first characters that are not the same."""
    one, other = str(found), str(expected)
    same = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), 0)
    at = max(0, same - 30)
    return f"({one[at : at + 80]!r} for {other[at : at + 80]!r})"


def _json(data: bytes) -> Any:
    return _without_clock(json.loads(data))


def _without_clock(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_clock(item) for key, item in value.items() if not OF_THE_CLOCK.search(key)}
    return [_without_clock(item) for item in value] if isinstance(value, list) else value


def _csv(data: bytes) -> str:
    return _table(pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False))


def _table(frame: pd.DataFrame) -> str:
    return frame.drop(columns=[name for name in frame if OF_THE_CLOCK.search(str(name))]).to_csv(index=False)


def _parquet(data: bytes) -> str:
    return _table(pd.read_parquet(io.BytesIO(data)))


def _page(data: bytes) -> bytes:
    return STAGES.sub(b"", data)


def _derived_object(data: bytes) -> list[Any]:
    """What was derived from an image, since each object gets UIDs and a time of its own."""
    read = dcmread(io.BytesIO(data))
    told = [read.get(name) for name in ("SOPClassUID", "Rows", "Columns", "NumberOfFrames", "PatientID")]
    pixels = [read.get(name) for name in ("PixelData", "FloatPixelData")]
    return [*told, *(hashlib.sha256(one).hexdigest() for one in pixels if one)]


def _pdf(data: bytes) -> bytes:
    return PDF_DATES.sub(b"", data)


def _manifest(data: bytes) -> Any:
    """Of a copy, without what its sources looked like on disk: those out of a zip file are unpacked anew each time."""
    folders = json.loads(data)["folders"]
    return {name: {file: [digest, size] for file, (digest, _, size) in one.items()} for name, one in folders.items()}


READERS = {
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
    ".html": _page,
    ".md": _page,
    ".gz": gzip.decompress,
    ".pdf": _pdf,
}
