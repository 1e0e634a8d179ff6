"""A sweep that finds nothing says something only if it would have found what was there."""

import base64
import gzip
import io
import json
import zipfile
from pathlib import Path

import matplotlib.figure
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from torch.utils.tensorboard import SummaryWriter

from tests.attacks.digging import found_below, found_in
from tests.attacks.markers import (
    BORN,
    CHARACTERISTICS,
    DAYS,
    INVALID,
    NUMBER,
    TAGS,
    VALID,
    WORD,
    mark,
    mark_nifti,
    marks,
    spellings,
)
from tests.support.phantom_files import write_image

pytestmark = pytest.mark.slow

MARKS = marks()


def png() -> bytes:
    written, info = io.BytesIO(), PngInfo()
    info.add_text("Comment", WORD, zip=True)
    Image.new("L", (4, 4)).save(written, "PNG", pnginfo=info)
    return written.getvalue()


def pdf() -> bytes:
    written = io.BytesIO()
    with matplotlib.rc_context({"backend": "pdf"}):
        figure = matplotlib.figure.Figure()
        figure.text(0.1, 0.5, f"patient {WORD} and more")
        figure.savefig(written, format="pdf", metadata={"CreationDate": None})
    return written.getvalue()


def parquet() -> bytes:
    written = io.BytesIO()
    pd.DataFrame({"a": [[WORD], ["x"]] * 50}).to_parquet(written)
    return written.getvalue()


def archive() -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("a.txt", f"{WORD} " * 50)
    return written.getvalue()


def npy() -> bytes:
    written = io.BytesIO()
    np.save(written, np.array([WORD.encode()]))
    return written.getvalue()


PACKED = {
    **{"text": WORD.encode(), "lower case": WORD.lower().encode(), "gzip": gzip.compress(WORD.encode()), "npy": npy()},
    **{"png": png(), "pdf": pdf(), "parquet": parquet(), "zip": archive(), "in an address": b"a%51ZMARKERb"},
    **{"picture in a page": b'<img src="data:image/png;base64,' + base64.b64encode(png()) + b'">'},
    **{"entity": b"<p>&#81;ZMARKER</p>", "JSON": json.dumps({"a": WORD}).replace("Q", "\\u0051").encode()},
    **{"number": f'{{"phone": "010-{NUMBER}"}}'.encode(), "zip in gzip": gzip.compress(archive())},
    **{f"day {day}": f"on {day}.".encode() for day in spellings(BORN)[:-1]},
    **{"milliseconds": f"{spellings(DAYS[2])[-1]},".encode(), "day and time": b"20020409101112.000000"},
}


@pytest.mark.parametrize("packed", PACKED)
def test_a_mark_is_found_however_it_is_packed(packed: str):
    assert found_in(PACKED[packed], MARKS)


def test_a_mark_is_found_in_events_of_tensorboard(tmp_path: Path):
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_text("hospital", WORD)
    assert found_below(tmp_path, MARKS)


@pytest.mark.parametrize("values", [VALID, INVALID], ids=["valid", "invalid"])
def test_every_identifying_element_of_a_marked_file_is_found_by_itself(tmp_path: Path, values: dict[str, str]):
    source = write_image(tmp_path / "source", np.zeros((8, 8), np.uint16), StudyTime="1", SeriesInstanceUID="1.2.3")
    mark(source, tmp_path / "marked", int(values is INVALID))
    content = (tmp_path / "marked").read_bytes()
    missing = []
    for tag, vr in TAGS:
        if values is VALID and keyword_for_tag(tag) in CHARACTERISTICS:
            continue
        raw = values.get(vr, WORD).encode()
        where = content.find(tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little") + vr.encode())
        if where < 0 or (vr not in ("AS", "US") and not found_in(content[where : where + 90 + len(raw)], MARKS)):
            missing.append(keyword_for_tag(tag) or str(tag))
    assert not missing
    assert len(TAGS) > 600


def test_a_mask_is_marked_in_its_header_and_behind_it(tmp_path: Path):
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), tmp_path / "plain.nii.gz")
    mark_nifti(tmp_path / "plain.nii.gz", tmp_path / "marked" / "marked.nii.gz")
    assert found_below(tmp_path / "marked", MARKS)
    assert nib.load(tmp_path / "marked" / "marked.nii.gz").header["descrip"].item() == WORD.encode()
    assert len(nib.load(tmp_path / "marked" / "marked.nii.gz").header.extensions) == 1


def test_names_of_files_and_folders_are_looked_at(tmp_path: Path):
    (tmp_path / f"{BORN:%Y%m%d}").mkdir()
    (tmp_path / f"{BORN:%Y%m%d}" / "x").touch()
    assert len(found_below(tmp_path, MARKS)) == 2


def test_a_dicom_file_is_looked_at_as_it_is_parsed(tmp_path: Path):
    item = Dataset()
    item.PatientName = WORD
    write_image(tmp_path / "x", np.zeros((8, 8), np.uint16), ReferencedImageSequence=[item])
    assert found_below(tmp_path, MARKS)


def test_what_is_no_mark_is_not_found():
    assert not found_in(f"QZ MARKER 918273640 2.25.{NUMBER[:-1]} 219431127 {DAYS[0].year}".encode(), MARKS)
