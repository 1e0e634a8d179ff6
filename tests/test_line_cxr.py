"""Radiographs from repository to prediction, as a user walks it."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest

from kicc_ml.dicom.index.build import index_repository
from kicc_ml.dicom.volume.read import read_volume
from tests.support.commands import KICC_ML, QUICK, finished, run, train

pytestmark = pytest.mark.slow

LESION_CXR = (
    *("experiment=lesion_cxr", "split=patient_kfold", "split.folds=2", "data.canonical.size=32"),
    *("data.patches_per_epoch=8", "network.channels=[4,8]", "network.strides=[2]", *QUICK),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("radiographs")


@pytest.fixture(scope="module")
def repository(folder: Path) -> Path:
    size = ("--patients", 12, "--sites", 2, "--matrix", 32, "--slices", 12, "--seed", 3)
    assert run(*KICC_ML, "synthesize", "--preset", "demo", *size, folder / "repository").returncode == 0
    return folder / "repository"


@pytest.fixture(scope="module")
def lesion_run(repository: Path, folder: Path) -> Path:
    finished(train(repository, folder / "lesion_cxr", *LESION_CXR))
    return folder / "lesion_cxr"


def test_every_held_out_radiograph_has_a_score_and_a_picture(lesion_run: Path):
    cases = pd.read_csv(lesion_run / "cases.csv")
    assert (cases["modality"] == "CXR").all()
    assert cases["right_lung_dice"].notna().all()
    for case_id in cases["case_id"]:
        assert (lesion_run / "severity" / case_id / "montage.png").is_file()
        page = (lesion_run / "severity" / case_id / "page.html").read_text(encoding="utf-8")
        assert "Geographic extent" in page
    summary = json.loads((lesion_run / "summary.json").read_text())
    assert summary["segmentation"]["lung"]["dice"]["low"] is not None


def test_new_radiographs_get_masks_on_their_own_pixels(lesion_run: Path, repository: Path, folder: Path):
    images = [series for series in index_repository(repository) if series.modality == "CXR" and series.usable][:2]
    for series in images:
        (folder / "new").mkdir(exist_ok=True)
        (folder / "new" / f"{series.uid}.dcm").write_bytes(series.files[0].read_bytes())
    result = run(*KICC_ML, "predict", "-i", folder / "new", "-o", folder / "out", "--run", lesion_run)
    assert result.returncode == 0, result.stderr
    rows = pd.read_csv(folder / "out" / "predictions.csv")
    assert len(rows) == 2
    shapes = {read_volume(series).array.shape for series in images}
    for case_id in rows["case_id"]:
        mask = nib.load(folder / "out" / str(case_id) / "lung.nii.gz")
        assert mask.shape in shapes
        assert mask.shape[2] == 1
        assert nib.aff2axcodes(mask.affine) == ("L", "I", "P")
        assert set(np.unique(mask.get_fdata())) <= {0, 1}


def test_a_new_radiograph_gets_a_page_and_objects_in_its_own_study(lesion_run: Path, repository: Path, folder: Path):
    film = next(series for series in index_repository(repository) if series.modality == "CXR" and series.usable)
    (folder / "one").mkdir()
    (folder / "one" / "film.dcm").write_bytes(film.files[0].read_bytes())
    result = run(*KICC_ML, "predict", "-i", folder / "one", "-o", folder / "page", "--run", lesion_run, "--dicom")
    assert result.returncode == 0, result.stderr
    (case,) = [path for path in (folder / "page").iterdir() if path.is_dir()]
    assert (case / "page.html").is_file()
    objects = [pydicom.dcmread(path) for path in sorted((case / "dicom").iterdir())]
    assert [made.Modality for made in objects] == ["OT", "SR"]
    study = pydicom.dcmread(film.files[0]).StudyInstanceUID
    assert {made.StudyInstanceUID for made in objects} == {study}
    assert run(*KICC_ML, "view", folder / "page", "--no-browse").returncode == 0
    assert "page.html" in (folder / "page" / "index.html").read_text(encoding="utf-8")
