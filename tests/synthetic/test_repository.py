"""A whole synthetic repository: what lies where, that it can be carried on, and what it refuses."""

import errno
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest

from kicc_ml.core.errors import TargetError, UserError
from kicc_ml.core.locks import hold
from kicc_ml.synthetic import repository
from kicc_ml.synthetic.hospital import Habits, make_hospitals
from kicc_ml.synthetic.repository import synthesize

SMALL = {"matrix": 32, "slices": 12, "patients": 16, "sites": 2}


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("repository") / "made"
    synthesize(out, "demo", 7, **SMALL)
    return out


def test_every_planned_image_is_there_once(made):
    plan = pd.read_csv(made / "truth" / "images.csv", dtype={"patient_id": str})
    found = set()
    for path in made.rglob("*"):
        if path.is_file() and path.relative_to(made).parts[0] in set(plan["site"]):
            header = pydicom.dcmread(path, stop_before_pixels=True)
            found.add((header.InstitutionName, header.PatientID, header.AcquisitionDateTime, header.SeriesInstanceUID))
    planned = {
        (row.site, row.patient_id, pd.Timestamp(row.acquired).strftime("%Y%m%d%H%M%S")) for row in plan.itertuples()
    }
    assert {key[:3] for key in found} == planned
    assert len(found) == len(plan)


def test_masks_hold_the_burden_of_the_plan(made):
    plan = pd.read_csv(made / "truth" / "images.csv", dtype={"patient_id": str})
    burdens = sorted(plan.loc[plan["modality"] == "CT", "burden"])
    shares = []
    for folder in {path.parent for path in (made / "masks").rglob("ground_glass.nii.gz")}:
        mask = {p.name.removesuffix(".nii.gz"): nibabel.load(p).get_fdata() > 0 for p in folder.iterdir()}
        lesion, lung = mask["ground_glass"] | mask["consolidation"], mask["left_lung"] | mask["right_lung"]
        shares.append(lesion.sum() / lung.sum())
    np.testing.assert_allclose(sorted(shares), burdens, rtol=0.05, atol=0.002)


def test_the_same_arguments_write_the_same_bytes_even_after_an_interruption(made, tmp_path, monkeypatch):
    write_ct, written = repository.write_ct, []

    def failing(folder, *rest):
        written.append(folder)
        if len(written) == 5:
            raise KeyboardInterrupt
        write_ct(folder, *rest)

    out = tmp_path / "again"
    with monkeypatch.context() as patched:
        patched.setattr(repository, "write_ct", failing)
        patched.setattr(repository.os, "cpu_count", lambda: 1)  # in this process, where the fault is planted
        with pytest.raises(KeyboardInterrupt):
            synthesize(out, "demo", 7, **SMALL)
    assert not (out / "truth" / "complete.json").exists()
    before = {p: p.stat().st_mtime_ns for p in (out / "masks").rglob("*.nii.gz")}
    synthesize(out, "demo", 7, **SMALL)
    assert before
    assert contents(out) == contents(made)


def test_a_finished_repository_is_left_alone(made, monkeypatch):
    monkeypatch.setattr(repository, "draw_cohort", lambda *_: pytest.fail("drew the cohort again"))
    synthesize(made, "demo", 7, **SMALL)


def test_other_arguments_on_the_same_folder_are_refused(made):
    with pytest.raises(UserError, match="other arguments"):
        synthesize(made, "demo", 8, **SMALL)


def test_a_folder_with_something_else_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="not empty"):
        synthesize(tmp_path, "demo", 1)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_unknown_preset_is_refused_with_what_there_is(tmp_path):
    with pytest.raises(UserError, match="kicc19, demo"):
        synthesize(tmp_path / "out", "kicc20", 1)


def test_tables_only_writes_no_image_and_images_can_follow(tmp_path):
    synthesize(tmp_path, "demo", 7, tables_only=True, **SMALL)
    assert {p.name for p in tmp_path.iterdir()} == {"clinical.csv", "truth", ".kicc-key"}
    table = (tmp_path / "clinical.csv").read_bytes()
    synthesize(tmp_path, "demo", 7, **SMALL)
    assert (tmp_path / "masks").is_dir()
    assert (tmp_path / "clinical.csv").read_bytes() == table


@pytest.mark.parametrize("sites", [4, 17])
def test_every_habit_vendor_and_syntax_occurs_among_the_hospitals(sites):
    found = list(make_hospitals(3, [f"site-{i}" for i in range(sites)]).values())
    for name in Habits.__dataclass_fields__:
        assert 0 < sum(getattr(hospital.habits, name) for hospital in found) < sites
    assert len({hospital.vendor for hospital in found}) == 4
    assert len({hospital.transfer_syntax for hospital in found}) == 3
    assert {hospital.monochrome1 for hospital in found} == {True, False}
    assert {hospital.cxr_modality for hospital in found} == {"CR", "DX"}


def test_every_radiograph_has_masks_on_its_own_pixels_under_its_own_uid(made):
    radiographs = [
        header
        for path in made.rglob("CXR-*/*")
        if (header := pydicom.dcmread(path, stop_before_pixels=True)).Modality in ("CR", "DX")
    ]
    assert radiographs
    for header in radiographs:
        masks = [nibabel.load(path) for path in (made / "masks" / header.SOPInstanceUID).iterdir()]
        assert {mask.shape for mask in masks} == {(header.Columns, header.Rows, 1)}


def test_masks_that_somebody_has_drawn_in_since_stay_when_a_repository_is_carried_on(tmp_path):
    synthesize(tmp_path / "out", "demo", 7, **SMALL)
    mask = next((tmp_path / "out" / "masks").rglob("ground_glass.nii.gz"))
    mask.write_bytes(b"drawn by Dr Kim")
    (mask.parent / "notes.txt").write_text("drawn by Dr Kim")
    (tmp_path / "out" / "truth" / "complete.json").unlink()
    series = next(path.parent for path in (tmp_path / "out").rglob("*.dcm"))
    shutil.rmtree(series)
    synthesize(tmp_path / "out", "demo", 7, **SMALL)
    assert series.is_dir()
    assert mask.read_bytes() == b"drawn by Dr Kim"
    assert (mask.parent / "notes.txt").is_file()


def test_a_disk_that_fills_up_is_said_to_be_full(tmp_path, monkeypatch):
    monkeypatch.setattr(repository.os, "cpu_count", lambda: 1)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(repository, "write_ct", full)
    with pytest.raises(TargetError, match="No space left on device; make room"):
        synthesize(tmp_path / "out", "demo", 7, **SMALL)


def test_a_damaged_request_is_no_request_of_ours(tmp_path):
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "request.json").write_text("{")
    with pytest.raises(UserError, match="made with other arguments"):
        synthesize(tmp_path, "demo", 7, **SMALL)


def test_a_repository_that_another_process_writes_is_left_to_it(tmp_path):
    out = tmp_path / "out"
    (out / "truth").mkdir(parents=True)
    with (
        hold(out / "truth" / ".lock", "the repository"),
        pytest.raises(UserError, match=r"the repository .*out is being written by process \d+ .*wait for it"),
    ):
        synthesize(out, "demo", 7, tables_only=True, **SMALL)
    assert [path.name for path in out.rglob("*")] == ["truth"]


def test_a_process_killed_before_it_laid_its_request_down_is_taken_up(tmp_path):
    for left in ("truth/.partial-1-request.json", "truth/.lock"):
        (tmp_path / left).parent.mkdir(exist_ok=True)
        (tmp_path / left).touch()
        os.utime(tmp_path / left, (0, 0))
    synthesize(tmp_path, "demo", 7, tables_only=True, **SMALL)
    assert (tmp_path / "clinical.csv").is_file()
    assert not list(tmp_path.rglob(".partial-*"))


def test_a_folder_with_files_of_somebody_else_is_no_repository_that_was_begun(tmp_path):
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "thesis.odt").touch()
    with pytest.raises(UserError, match="is not empty"):
        synthesize(tmp_path, "demo", 7, tables_only=True, **SMALL)
    assert [path.name for path in tmp_path.rglob("*")] == ["truth", "thesis.odt"]


@pytest.mark.slow
def test_a_series_that_a_child_of_a_killed_process_finishes_first_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(repository.os, "cpu_count", lambda: 1)
    place, write_ct, first = repository.make_series_path, repository.write_ct, []

    def write_after_another(folder: Path, hu, grid, hospital, order) -> None:
        final = place(tmp_path / "out", order)
        final.mkdir()
        write_ct(final, hu, grid, hospital, order)
        first.append((final, final.stat().st_ino))
        write_ct(folder, hu, grid, hospital, order)

    monkeypatch.setattr(repository, "write_ct", write_after_another)
    synthesize(tmp_path / "out", "demo", 7, **SMALL)
    assert first
    assert all(final.stat().st_ino == number for final, number in first)
    assert not list((tmp_path / "out").rglob(".partial-*"))
