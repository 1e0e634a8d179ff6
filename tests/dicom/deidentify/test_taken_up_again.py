"""An export that is started again makes the copy that a first export would make, and says what it took away."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from kicc_ml.core.pseudonym import load_repository_key, make_pseudonym
from kicc_ml.dicom.deidentify.manifest import MANIFEST
from kicc_ml.dicom.index.build import index_sources
from kicc_ml.dicom.series.image_files import write_nifti
from tests.support.exports import SERIES, change, contents, export, first_export
from tests.support.phantom_files import write_image, write_series
from tests.support.phantoms import Grid, even_mm

pytestmark = pytest.mark.usefixtures("cache_in_a_temporary_folder")


def slices(root: Path) -> list[Path]:
    return sorted((root / "seoul").rglob("*.dcm")) if (root / "seoul").is_dir() else []


def is_as_new(source: Path, out: Path, tmp_path: Path) -> bool:
    return contents(first_export(source, tmp_path / "anew")) == contents(out)


def test_files_are_named_by_the_pseudonym_of_their_object(source, tmp_path):
    out = first_export(source, tmp_path / "out")
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in (source / "seoul").iterdir()]
    assert {path.stem for path in slices(out)} == {make_pseudonym(load_repository_key(source), uid) for uid in uids}


def test_a_slice_that_came_later_takes_its_own_place(source, tmp_path):
    late = sorted((source / "seoul").iterdir())[4]
    late.rename(tmp_path / "late")
    out = first_export(source, tmp_path / "out", "--verdict", "refused")  # for the slice that is missing
    assert len(slices(out)) == 11
    (tmp_path / "late").rename(late)
    assert export(source, out).exit_code == 0
    assert len(slices(out)) == 12
    (series,), _ = index_sources([out])
    assert (series.verdict, series.reasons) == ("usable", ())
    assert is_as_new(source, out, tmp_path)


def test_pixels_that_were_corrected_reach_the_copy_and_nothing_else_is_written(source, tmp_path):
    out = first_export(source, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in slices(out)}
    victim = sorted((source / "seoul").iterdir())[3]
    change(victim, PixelData=np.full((16, 16), 77, np.uint16).tobytes())
    assert export(source, out).exit_code == 0
    written = [path for path in slices(out) if before[path] != path.stat().st_mtime_ns]
    assert [pydicom.dcmread(path).PixelData for path in written] == [pydicom.dcmread(victim).PixelData]
    assert is_as_new(source, out, tmp_path)


def test_a_correction_that_leaves_size_and_time_of_the_file_is_seen_too(source, tmp_path):
    out = first_export(source, tmp_path / "out")
    victim = sorted((source / "seoul").iterdir())[3]
    status = victim.stat()
    change(victim, PixelData=np.full((16, 16), 77, np.uint16).tobytes())
    os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert victim.stat().st_size == status.st_size
    assert export(source, out).exit_code == 0
    assert is_as_new(source, out, tmp_path)


@pytest.mark.parametrize("what", ["burned in", "vanished", "deselected"])
def test_what_may_no_longer_be_in_the_copy_is_taken_away_and_said(source, tmp_path, what):
    film = source / "busan" / "film.dcm"
    write_image(film, np.zeros((8, 8), np.uint16), SOPClassUID="1.2.840.10008.5.1.4.1.1.1", Modality="CR")
    out = first_export(source, tmp_path / "out")
    assert len(list(out.rglob("*.dcm"))) == 13
    options = []
    for path in (source / "seoul").iterdir():
        if what == "burned in":
            change(path, BurnedInAnnotation="YES")
        elif what == "vanished":
            path.unlink()
        else:
            options = ["--site", "busan"]
    ran = export(source, out, *options)
    assert ran.exit_code == 0
    assert "taken away: 13 files" in ran.output.replace("\n", " ")  # twelve slices and their mask
    assert [path.name for path in out.iterdir() if path.name[0] != "."] == ["busan"]
    assert len(list(out.rglob("*.dcm"))) == 1


def test_one_slice_that_shows_text_takes_its_own_copy_away(source, tmp_path):
    out = first_export(source, tmp_path / "out")
    change(sorted((source / "seoul").iterdir())[5], BurnedInAnnotation="YES")
    assert "left out: 1 series: text is burned in" in export(source, out).output
    assert slices(out) == []


def test_a_file_that_can_no_longer_be_read_is_named_and_its_copy_taken_away(source, tmp_path):
    out = first_export(source, tmp_path / "out")
    victim = sorted((source / "seoul").iterdir())[5]
    victim.write_bytes(victim.read_bytes()[:-100])
    ran = export(source, out, "--verdict", "refused")
    assert len(slices(out)) == 11
    assert "taken away: " in ran.output


def test_somebodys_own_files_in_a_copy_stay(source, tmp_path):
    out = first_export(source, tmp_path / "out")
    own = [out / "README.txt", out / "seoul" / "note.dcm", slices(out)[0].with_name("protocol.pdf")]
    for path in own:
        path.write_text("mine")
    for path in (source / "seoul").iterdir():
        path.unlink()
    write_image(source / "busan" / "film", np.zeros((8, 8), np.uint16), SOPClassUID="1.2.840.10008.5.1.4.1.1.1")
    change(source / "busan" / "film", Modality="CR")
    assert "taken away: 13 files" in export(source, out).output
    assert [path.read_text() for path in own] == ["mine"] * 3


def test_what_a_killed_export_left_is_taken_away_with_the_rest(source, tmp_path):
    out = first_export(source, tmp_path / "out")
    manifest = json.loads((out / MANIFEST).read_text())
    manifest["folders"] = {name: {} for name in manifest["folders"]}  # as before anything was noted
    (out / MANIFEST).write_text(json.dumps(manifest))
    orphan = slices(out)[0].with_name("0123456789ab.dcm")
    orphan.write_bytes(b"of a slice that was not to be written")
    ran = export(source, out)
    assert ran.exit_code == 0
    assert not orphan.exists()
    assert is_as_new(source, out, tmp_path)


def test_a_copy_that_was_damaged_is_mended(source, tmp_path):
    out = first_export(source, tmp_path / "out")
    slices(out)[0].write_bytes(b"")
    slices(out)[1].unlink()
    assert export(source, out).exit_code == 0
    assert is_as_new(source, out, tmp_path)


def test_a_changed_mask_is_written_anew(source, tmp_path):
    out = first_export(source, tmp_path / "out")
    changed = np.zeros((16, 16, 12), bool)
    changed[2:9] = True
    write_nifti(source / "masks" / SERIES / "lesion.nii.gz", changed, np.eye(4))
    assert export(source, out).exit_code == 0
    assert is_as_new(source, out, tmp_path)
    shutil.rmtree(source / "masks")
    assert "taken away: 1 file of an earlier export" in export(source, out).output
    assert not (out / "masks").exists()


def test_slices_of_one_uid_are_all_written(tmp_path):
    root = tmp_path / "source"
    grid = Grid(even_mm(6, 5.0), rows=16, columns=16, pixel_spacing_mm=(6.0, 6.0))
    write_series(root / "seoul", grid, SOPInstanceUID="1.2.3.4.5")
    out = first_export(root, tmp_path / "out")
    assert len(slices(out)) == 6
    before = {path: path.stat().st_mtime_ns for path in slices(out)}
    assert export(root, out).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in slices(out)} == before
