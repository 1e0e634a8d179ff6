"""The whole line as a user walks it: the real scripts, on a small synthetic repository."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from pydicom import dcmread

from kicc_ml.core.regions import REGIONS
from kicc_ml.dicom.index.build import index_repository
from kicc_ml.dicom.volume.read import read_volume
from tests.support.commands import EVALUATE, KICC_ML, QUICK, TRAIN, finished, refused, run, train

pytestmark = pytest.mark.slow

SITES = ("busan-1", "daegu-1", "daejeon-1", "seoul-1")

LESION = (
    *("experiment=lesion_ct", "data.canonical.spacing_mm=[6,6,8]", "data.patch_size=[48,48,24]"),
    *("data.patches_per_epoch=4", "network.channels=[4,8,8,8]", *QUICK),
)
OUTCOME = (
    *("experiment=outcome", "data.canonical_ct.matrix=[16,16,12]", "data.canonical_cxr.size=32"),
    *("network.channels=[4,8]", "network.width=8", *QUICK),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("line")


@pytest.fixture(scope="module")
def repository(folder: Path) -> Path:
    size = ("--patients", 16, "--sites", 4, "--matrix", 48, "--slices", 24, "--seed", 3)
    result = run(*KICC_ML, "synthesize", "--preset", "demo", *size, folder / "repository")
    assert result.returncode == 0, result.stderr
    return folder / "repository"


@pytest.fixture(scope="module")
def lesion_run(repository: Path, folder: Path) -> Path:
    finished(train(repository, folder / "lesion_ct", *LESION))
    return folder / "lesion_ct"


@pytest.fixture(scope="module")
def outcome_run(repository: Path, folder: Path) -> Path:
    finished(train(repository, folder / "outcome", *OUTCOME))
    return folder / "outcome"


def copy_of(repository: Path, target: Path) -> tuple[Path, pd.DataFrame]:
    """A repository to spoil, and its table."""
    shutil.copytree(repository, target)
    return target, pd.read_csv(target / "clinical.csv", dtype=str)


FOLD_FILES = ("config.yaml", "split.json", "weights.safetensors", "metrics.csv", "predictions.csv")


def test_a_lesion_run_leaves_a_folder_per_hospital_and_a_report(lesion_run: Path):
    for site in SITES:
        assert {name for name in FOLD_FILES if (lesion_run / site / name).is_file()} == set(FOLD_FILES)
    cases = pd.read_csv(lesion_run / "cases.csv")
    assert set(cases["site"]) == set(SITES)
    assert (cases["site"] == cases["fold"]).all()
    assert cases["lesion_dice"].notna().any()
    for case_id in cases["case_id"]:
        assert (lesion_run / "severity" / case_id / "montage.png").is_file()
        assert (lesion_run / "severity" / case_id / "lesion.nii.gz").is_file()
    assert "<html" in (lesion_run / "report.html").read_text(encoding="utf-8")
    assert json.loads((lesion_run / "summary.json").read_text())["segmentation"]["lesion"]["dice"]["n"] > 0


def test_a_hospital_is_predicted_by_a_model_that_never_saw_it(lesion_run: Path):
    for site in SITES:
        (split,) = json.loads((lesion_run / site / "split.json").read_text())["folds"]
        predicted = pd.read_csv(lesion_run / site / "predictions.csv")
        assert set(predicted["case_id"]) <= set(split["test"])
        assert {case_id.split("_")[0] for case_id in split["test"]} == {site}
        assert site not in {case_id.split("_")[0] for case_id in (*split["train"], *split["val"])}


def test_an_outcome_run_sets_the_baselines_beside_the_network(outcome_run: Path):
    tables = [pd.read_csv(outcome_run / site / "predictions.csv") for site in SITES]
    rows = pd.concat(tables)
    models = {"network", "blend", "clinical", "age_sex", "boosting", "prevalence"}
    assert set(rows["model"]) == models
    assert set(rows["endpoint"]) == {"oxygen", "ventilation", "icu", "death"}
    assert len(rows) == 16 * 4 * len(models)
    assert not rows.duplicated(["case_id", "endpoint", "model"]).any()
    assert rows["probability"].between(0, 1).all()
    summary = json.loads((outcome_run / "summary.json").read_text())
    assert summary["outcome"]["oxygen"]["network"]["auroc_pooled"]["value"] is not None


def test_a_clinical_run_is_of_baselines_alone_and_says_who_was_left_out(repository: Path, folder: Path):
    page = finished(train(repository, folder / "clinical", "experiment=clinical"))
    rows = pd.concat([pd.read_csv(page.parent / site / "predictions.csv") for site in SITES])
    assert set(rows["model"]) == {"clinical", "age_sex", "boosting", "prevalence"}
    assert not list(page.parent.rglob("weights.safetensors"))
    flow = json.loads((page.parent / "flow.json").read_text())
    assert flow["rows"] == flow["cases"] == 16
    assert sum(count for what, count in flow["counts"].items() if what.startswith("cases with ")) == 16


def test_folders_of_any_name_are_trained_on_and_judged_as_typed(repository: Path, folder: Path):
    odd = folder / "병원 자료 (2020), study#1=final [x] 50% $y"
    shutil.copytree(repository, odd / "repository", ignore=shutil.ignore_patterns("masks"))
    page = finished(train(odd / "repository", odd / "run", "experiment=clinical"))
    assert page == odd / "run" / "report.html"
    assert finished(run(*EVALUATE, f"runs={odd / 'run'}")) == page
    listed = run(*KICC_ML, "cases", "cohort=repository", f"cohort.root={odd / 'repository'}")
    assert len(listed.stdout.split()) == 16


def test_extent_of_a_run_that_saw_the_tested_hospital_is_refused_before_anything_is_trained(
    repository: Path, lesion_run: Path, folder: Path
):
    message = refused(train(repository, folder / "leak", *OUTCOME, f"features_from={lesion_run}"))
    assert "experiment=extent" in message
    assert not list((folder / "leak").rglob("weights.safetensors"))


def test_outcome_models_get_extent_of_segmenters_that_saw_neither_hospital(repository: Path, folder: Path):
    page = finished(train(repository, folder / "extent", "experiment=extent", *LESION[1:]))
    cases = pd.read_csv(page.parent / "cases.csv")
    assert not cases["case_id"].duplicated().any()
    assert set(cases["site"]) == set(SITES)
    features = f"features_from={page.parent}"
    page = finished(train(repository, folder / "with-extent", "experiment=clinical", features))
    rows = pd.concat([pd.read_csv(page.parent / site / "predictions.csv") for site in SITES])
    assert {"extent", "clinical_extent", "clinical"} <= set(rows["model"])
    by_model = rows.pivot(index=["case_id", "endpoint"], columns="model", values="probability")
    assert (by_model["clinical_extent"] != by_model["clinical"]).any()


def test_a_summary_holds_no_nan(lesion_run: Path, outcome_run: Path):
    def refuse(name: str) -> None:
        raise AssertionError(name)

    for folder in (lesion_run, outcome_run):
        json.loads((folder / "summary.json").read_text(), parse_constant=refuse)


def stamps(run_folder: Path) -> dict[str, int]:
    return {site: (run_folder / site / "weights.safetensors").stat().st_mtime_ns for site in SITES}


def test_started_again_only_an_unfinished_fold_is_trained(repository: Path, outcome_run: Path):
    before = stamps(outcome_run)
    finished(train(repository, outcome_run, *OUTCOME))
    assert stamps(outcome_run) == before
    kept = pd.read_csv(outcome_run / "daegu-1" / "predictions.csv")
    (outcome_run / "daegu-1" / "predictions.csv").unlink()
    finished(train(repository, outcome_run, *OUTCOME))
    after = stamps(outcome_run)
    assert {site for site in SITES if after[site] != before[site]} == {"daegu-1"}
    pd.testing.assert_frame_equal(pd.read_csv(outcome_run / "daegu-1" / "predictions.csv"), kept)


def test_one_fold_by_name_is_trained_alone(repository: Path, folder: Path):
    finished(train(repository, folder / "alone", *OUTCOME, "split.fold=busan-1"))
    assert {path.parent.name for path in (folder / "alone").rglob("weights.safetensors")} == {"busan-1"}


def test_joblib_and_one_process_give_the_same_predictions(repository: Path, outcome_run: Path, folder: Path):
    finished(train(repository, folder / "joblib", *OUTCOME, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"))
    for site in SITES:
        serial, spread = (pd.read_csv(run / site / "predictions.csv") for run in (outcome_run, folder / "joblib"))
        pd.testing.assert_frame_equal(serial, spread, rtol=1e-5)


def test_other_settings_are_not_mixed_into_a_finished_run(repository: Path, outcome_run: Path):
    message = refused(train(repository, outcome_run, *OUTCOME, "seed=2"))
    assert "seed" in message
    assert "run_dir=" in message


def test_other_cases_are_not_mixed_into_a_finished_run(repository: Path, outcome_run: Path, folder: Path):
    fewer, table = copy_of(repository, folder / "fewer")
    table.drop(index=0).to_csv(fewer / "clinical.csv", index=False)
    assert "holds a finished fold" in refused(train(fewer, outcome_run, *OUTCOME))


def test_judging_a_run_again_gives_the_same_summary(lesion_run: Path):
    before = (lesion_run / "summary.json").read_text()
    (lesion_run / "summary.json").unlink()
    finished(run(*EVALUATE, f"runs={lesion_run}"))
    assert (lesion_run / "summary.json").read_text() == before


def test_a_model_of_all_cases_segments_niftis_on_their_own_grid(repository: Path, folder: Path):
    result = train(repository, folder / "everybody", *LESION, "split=all")
    assert result.returncode == 0, result.stderr
    source = folder / "niftis"
    source.mkdir()
    usable = [series for series in index_repository(repository) if series.usable and series.modality == "CT"]
    for number, (series, axes) in enumerate(zip(usable, ("RAS", "PSL"), strict=False)):
        volume = read_volume(series)
        image = nib.Nifti1Image(volume.array, volume.affine_ras)
        turn = nib.orientations.ornt_transform(
            nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes)
        )
        nib.save(image.as_reoriented(turn), source / f"scan{number}.nii.gz")
    result = run(*KICC_ML, "predict", "-i", source, "-o", folder / "predicted", "--run", folder / "everybody")
    assert result.returncode == 0, result.stderr
    assert set(pd.read_csv(folder / "predicted" / "predictions.csv")["case_id"]) == {"scan0", "scan1"}
    for name in ("scan0", "scan1"):
        scan = nib.load(source / f"{name}.nii.gz")
        assert (folder / "predicted" / name / "severity.json").is_file()
        for region in REGIONS:
            mask = nib.load(folder / "predicted" / name / f"{region}.nii.gz")
            assert mask.shape == scan.shape
            np.testing.assert_allclose(mask.affine, scan.affine, atol=1e-4)
            assert mask.get_data_dtype() == np.uint8


def test_the_folds_of_two_runs_predict_lesions_and_outcomes_of_a_hospitals_dicom_folder(
    repository: Path, lesion_run: Path, outcome_run: Path, folder: Path
):
    outcome = ("--outcome-run", outcome_run, "--clinical", repository / "clinical.csv")
    result = run(
        *KICC_ML, "predict", "-i", repository / "seoul-1", "-o", folder / "seoul", "--run", lesion_run, *outcome
    )
    assert result.returncode == 0, result.stderr
    rows = pd.read_csv(folder / "seoul" / "predictions.csv")
    assert len(rows) > 0
    assert all((folder / "seoul" / str(case_id) / "lesion.nii.gz").is_file() for case_id in rows["case_id"])
    risks = pd.read_csv(folder / "seoul" / "outcomes.csv")
    assert set(risks["case_id"]) == set(rows["case_id"])
    assert risks["probability"].between(0, 1).all()
    assert risks["clinical"][risks["endpoint"] == "oxygen"].between(0, 1).all()


def test_a_repository_laid_out_by_hand_runs_with_nothing_but_its_folder(repository: Path, folder: Path):
    by_hand, table = copy_of(repository, folder / "by-hand")
    names = {"busan-1": "한빛병원", "seoul-1": "St. Mary"}
    for site in SITES:
        if site in names:
            (by_hand / site).rename(by_hand / names[site])
        else:
            shutil.rmtree(by_hand / site)
    table = table[table["site"].isin(list(names))]
    table["site"] = table["site"].map(names)
    table[["site", "patient_id", "age_years", "sex", "icu"]].to_csv(by_hand / "clinical.csv", index=False)
    shutil.rmtree(by_hand / "truth")
    (by_hand / ".kicc-key").unlink()
    finished(train(by_hand, folder / "by-hand-run", *LESION))
    cases = pd.read_csv(folder / "by-hand-run" / "cases.csv")
    assert set(cases["site"]) == set(names.values())


def test_endpoints_that_a_table_does_not_have_are_unknown_not_wrong(repository: Path, folder: Path):
    few, table = copy_of(repository, folder / "few-columns")
    table[["site", "patient_id", "age_years", "sex", "icu"]].to_csv(few / "clinical.csv", index=False)
    page = finished(train(few, folder / "few-columns-run", *OUTCOME))
    outcome = json.loads((page.parent / "summary.json").read_text())["outcome"]
    assert outcome["icu"]["clinical"]["auroc_pooled"]["value"] is not None
    assert outcome["oxygen"]["network"]["auroc_pooled"]["value"] is None


def without_sex(table: pd.DataFrame) -> None:
    del table["sex"]


def strange_site(table: pd.DataFrame) -> None:
    table.loc[2, "site"] = "jeju-1"


def old_man(table: pd.DataFrame) -> None:
    table.loc[3, "age_years"] = "190"


def twice(table: pd.DataFrame) -> None:
    table.loc[1, "patient_id"] = table.loc[0, "patient_id"]


def one_person_at_two_hospitals(table: pd.DataFrame) -> None:
    table["person_id"] = [f"p{row}" for row in range(len(table))]
    table.loc[len(table) - 1, "person_id"] = "p0"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_sex, ("required column(s) missing: sex",)),
        (strange_site, ("line 4, site: 'jeju-1'",)),
        (old_man, ("line 5, age_years: '190'",)),
        (twice, ("patient_id", "once in the table")),
        (one_person_at_two_hospitals, ("person_conflict",)),
    ],
)
def test_a_table_that_cannot_be_right_is_refused_with_the_cell(
    repository: Path, tmp_path: Path, spoil: Callable[[pd.DataFrame], None], said: tuple[str, ...]
):
    spoilt = tmp_path / "repository"
    shutil.copytree(repository, spoilt, copy_function=os.link)  # the images are read, not changed
    table = pd.read_csv(spoilt / "clinical.csv", dtype=str)
    spoil(table)
    (spoilt / "clinical.csv").unlink()
    table.to_csv(spoilt / "clinical.csv", index=False)
    message = refused(train(spoilt, tmp_path / "run", *OUTCOME))
    assert all(words in message for words in said)
    assert not list((tmp_path / "run").glob("*/weights.safetensors"))


def test_an_empty_folder_is_refused_and_the_layout_told(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    message = refused(train(tmp_path / "empty", tmp_path / "run", *OUTCOME))
    assert str(tmp_path / "empty") in message
    assert "clinical.csv" in message


def test_a_mistyped_experiment_is_told_which_there_are():
    message = refused(run(*TRAIN, "experiment=typo"))
    assert all(name in message for name in ("typo", "demo", "lesion_ct", "outcome", "outcome_cxr"))


def test_a_mistyped_setting_is_refused_before_anything_is_read(tmp_path: Path):
    assert "sede" in refused(train(tmp_path, tmp_path / "run", *OUTCOME, "sede=2"))


def strained(repository: Path, target: Path) -> Path:
    """A hospital with one patient, one without a lesion, an endpoint that nobody met, a row without an image."""
    target, table = copy_of(repository, target)
    first_of_busan = table.index[table["site"] == "busan-1"][0]
    table = table[(table["site"] != "busan-1") | (table.index == first_of_busan)]
    table["death"], table["death_date"] = "0", None
    row = dict.fromkeys(table.columns) | {"site": "seoul-1", "patient_id": "no-image", "age_years": "50", "sex": "F"}
    pd.concat([table, pd.DataFrame([row])]).to_csv(target / "clinical.csv", index=False)
    healthy = series_uids(target / "daegu-1")
    findings = [path for path in (target / "masks").glob("*/*.nii.gz") if "lung" not in path.name]
    for mask in (path for path in findings if path.parent.name in healthy):
        image = nib.load(mask)
        nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), mask)
    return target


def series_uids(hospital: Path) -> set[str]:
    files = (path for path in hospital.rglob("*") if path.is_file())
    headers: list[Any] = [dcmread(path, stop_before_pixels=True, force=True) for path in files]
    return {str(header.get("SeriesInstanceUID", "")) for header in headers}


@pytest.fixture(scope="module")
def strained_repository(repository: Path, folder: Path) -> Path:
    return strained(repository, folder / "strained")


def test_what_cannot_be_judged_is_said_in_the_report_and_no_reason_to_fail(strained_repository: Path, folder: Path):
    page = finished(train(strained_repository, folder / "hard-outcome", *OUTCOME))
    summary = json.loads((page.parent / "summary.json").read_text())
    said = {(one["site"], one["endpoint"]) for one in summary["not_evaluable"]}
    assert ("busan-1", "icu") in said
    assert summary["outcome"]["death"]["network"]["auroc"]["value"] is None
    assert summary["outcome"]["death"]["network"]["auroc"]["reason"]
    assert "busan-1" in page.read_text(encoding="utf-8")


def test_a_hospital_without_a_lesion_is_reported_and_not_scored_zero(strained_repository: Path, folder: Path):
    page = finished(train(strained_repository, folder / "hard-lesion", *LESION))
    summary = json.loads((page.parent / "summary.json").read_text())
    figure = summary["sites"]["daegu-1"]["segmentation"]["lesion"]["dice"]
    assert (figure["mean"], figure["n"]) == (None, 0)
    assert "empty reference" in figure["reason"]
    assert summary["sites"]["daegu-1"]["segmentation"]["lung"]["dice"]["n"] > 0
