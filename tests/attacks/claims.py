"""What a folder may look like after a command: nothing else touched, no text that acts, no cell that computes."""

import csv
import io
import os
from pathlib import Path

from tests.attacks.controls import controls_in

#: What a spreadsheet begins to compute at.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
BINARY = (".dcm", ".gz", ".nii", ".png", ".jpg", ".pdf", ".parquet", ".npy", ".safetensors", ".ckpt", ".zip")


def faults_of_files(folder: Path) -> list[str]:
    """Control characters in the texts of a folder and formulas in its tables."""
    found = []
    for place, _, files in os.walk(os.fsencode(folder)):
        for name in sorted(files):
            path = Path(os.fsdecode(os.path.join(place, name)))
            found += [f"{path.relative_to(folder)!s}: {fault}" for fault in faults_of_file(path)]
    return found


def faults_of_file(path: Path) -> list[str]:
    """Of a file that is no text, none."""
    if path.suffix.lower() in BINARY or b"\0" in (raw := path.read_bytes()):
        return []
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return ["is no UTF-8"] if path.suffix in (".csv", ".json", ".html", ".yaml", ".txt") else []
    found = [f"raw {one}" for one in controls_in(text)[:2]]
    return found + (formulas_in(text) if path.suffix == ".csv" else [])


def formulas_in(text: str) -> list[str]:
    """Cells of a CSV that a spreadsheet takes for a formula; numbers are none."""
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    return [f"formula {cell[:60]!r}" for cell in cells if cell.startswith(FORMULA) and not _is_number(cell)]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
