"""The Python interface: its names, that they work together, and that importing it is cheap."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest

import kicc_ml
from tests.support.consortium import GRID, write_patient, write_table

pytestmark = pytest.mark.usefixtures("cache_in_a_temporary_folder")
PATIENTS = [("siteA", "1"), ("siteA", "2"), ("siteB", "3"), ("siteB", "4")]
NAMES = {"__version__", "UserError", "evaluate", "grade", "index_series", "load_run", "read_cohort", "read_volume"}
NAMES |= {"prepare_data", "segment", "split_by_site", "write_dicom"}


@pytest.fixture
def consortium(tmp_path: Path) -> Path:
    for number, (site, patient_id) in enumerate(PATIENTS):
        write_patient(tmp_path, patient_id, site, added_hu=number)  # no two persons have the same pixels
    write_table(tmp_path, "".join(f"{site},{one},60,F,2020-03-01,12.5,0\n" for site, one in PATIENTS))
    return tmp_path


def halves(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Two lungs, and a lesion in the right one (x runs to the patient's left)."""
    right, left, lesion = (np.zeros(shape, bool) for _ in range(3))
    right[1:6, 2:10], left[8:13, 2:10], lesion[2:4, 3:8] = True, True, True
    return {"right_lung": right, "left_lung": left, "lung": right | left, "lesion": lesion}


def test_the_names_of_the_interface_stay():
    assert set(kicc_ml.__all__) == NAMES
    assert all(getattr(kicc_ml, name) is not None for name in NAMES)


def test_a_name_that_is_none_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Segment'"):
        _ = kicc_ml.Segment


def test_importing_it_imports_no_pytorch():
    code = "import sys, kicc_ml; kicc_ml.UserError; print({'torch', 'pandas', 'monai', 'pydicom'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_every_public_function_says_what_it_takes_gives_and_refuses():
    for name in NAMES - {"__version__", "UserError"}:
        text = getattr(kicc_ml, name).__doc__
        assert all(part in text for part in ("Args:", "Returns:")), name


def test_from_a_folder_to_cases_and_folds_that_leave_each_hospital_out(consortium: Path):
    series = kicc_ml.index_series(consortium)
    assert [one.verdict for one in series] == ["usable"] * 4
    cases = kicc_ml.read_cohort(consortium)
    assert [case.site for case in cases] == ["siteA", "siteA", "siteB", "siteB"]
    splits = kicc_ml.split_by_site(cases, val_fraction=0.5)
    assert [split.fold for split in splits] == ["siteA", "siteB"]
    assert set(splits[0].test) == {case.case_id for case in cases if case.site == "siteA"}


def test_a_series_and_its_folder_are_the_same_volume(consortium: Path):
    one = kicc_ml.index_series(consortium)[0]
    volume = kicc_ml.read_volume(one)
    np.testing.assert_array_equal(volume.array, kicc_ml.read_volume(one.files[0].parent).array)
    np.testing.assert_allclose(volume.array.transpose(2, 1, 0), np.round(GRID.hu), atol=1)


def test_a_folder_of_several_scans_is_refused_with_the_way_on(consortium: Path):
    with pytest.raises(kicc_ml.UserError, match="holds 4 scans; choose one of index_series"):
        kicc_ml.read_volume(consortium)


def test_an_array_without_a_place_is_refused(consortium: Path):
    with pytest.raises(kicc_ml.UserError, match="needs its affine_ras"):
        kicc_ml.segment(None, np.zeros((4, 4, 4)))  # type: ignore[arg-type]


def test_the_batches_of_a_fold_are_those_that_a_training_has(consortium: Path, tmp_path: Path):
    cases = kicc_ml.read_cohort(consortium)
    split = kicc_ml.split_by_site(cases, val_fraction=0.5)[0]
    settings = [
        "experiment=outcome",
        "data.canonical_ct.matrix=[8,8,4]",
        "data.canonical_cxr=null",
        "data.batch_size=1",
    ]
    data = kicc_ml.prepare_data(cases, split, settings, tmp_path / "store")
    batch = next(iter(data.train_dataloader()))
    assert batch["ct_bcxyz"].shape == (1, 1, 8, 8, 4)
    assert set(batch["case_id"]) <= set(split.train)


@pytest.mark.parametrize("setting", ["experiment=typo", "data.batchsize=4"])
def test_a_setting_that_is_none_is_a_user_error(consortium: Path, tmp_path: Path, setting: str):
    cases = kicc_ml.read_cohort(consortium)
    with pytest.raises(kicc_ml.UserError, match=setting.split("=")[1] if "typo" in setting else "batchsize"):
        kicc_ml.prepare_data(
            cases, kicc_ml.split_by_site(cases)[0], ["experiment=outcome", setting], tmp_path / "store"
        )


def test_masks_are_graded_and_go_back_to_the_pacs(consortium: Path, tmp_path: Path):
    one = kicc_ml.index_series(consortium)[0]
    volume = kicc_ml.read_volume(one)
    masks = halves(volume.array.shape)
    severity = kicc_ml.grade(masks, volume)
    assert severity.percent_involved == pytest.approx(100 * masks["lesion"].sum() / masks["lung"].sum())
    files = kicc_ml.write_dicom(one, masks, tmp_path / "objects", model="mine")
    kinds = {pydicom.dcmread(path).Modality for path in files}
    assert {"SEG", "SR"} <= kinds
    source = pydicom.dcmread(one.files[0], stop_before_pixels=True)
    assert {pydicom.dcmread(path).StudyInstanceUID for path in files} == {source.StudyInstanceUID}


def test_rows_become_the_figures_of_a_report():
    rows = pd.DataFrame(
        {
            "case_id": [str(number) for number in range(40)],
            "site": ["A", "B"] * 20,
            "fold": ["A", "B"] * 20,
            "endpoint": "death",
            "model": "network",
            "label": [0, 0, 1, 1] * 10,
            "probability": np.linspace(0.1, 0.9, 40),
        }
    )
    summary = kicc_ml.evaluate(pd.DataFrame(columns=["case_id", "site", "fold"]), rows)
    assert 0 <= summary["outcome"]["death"]["network"]["auroc"]["value"] <= 1
