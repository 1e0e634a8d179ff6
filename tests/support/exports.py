"""Helpers of test_taken_up_again and test_copy_folder."""

from pathlib import Path

import pydicom
from typer.testing import CliRunner, Result

from kicc_ml.apps.cli import app

SERIES = "1.2.3.1.1"


def export(source: Path, out: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["export-dataset", str(source), "-o", str(out), *options])


def contents(root: Path) -> dict[str, bytes]:
    """What a reader of the copy sees: the manifest tells times of files and differs."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name[0] != "."
    }


def change(path: Path, **tags: object) -> None:
    dataset = pydicom.dcmread(path)
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.save_as(path)


def first_export(source: Path, out: Path, *options: str) -> Path:
    ran = export(source, out, *options)
    assert ran.exit_code == 0, ran.output
    assert "taken away" not in ran.output
    return out
