"""Predictions made elsewhere are scored against a cohort."""

import re
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from kicc_ml.apps.evaluate import print_results
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Case
from kicc_ml.report.external_predictions import evaluate_predictions, name_models
from tests.support.external_cohort import (
    AFFINE,
    make_cohort,
    make_lesion,
    read_summary,
    write_masks,
    write_probabilities,
)


def test_two_files_are_two_models_compared_on_the_same_cases(tmp_path: Path) -> None:
    cases = make_cohort(tmp_path / "cohort")
    files = [write_probabilities(tmp_path / f"{name}.csv", cases, seed) for seed, name in enumerate(("ours", "theirs"))]
    summary = read_summary(evaluate_predictions(name_models(files), cases, tmp_path / "report"))
    assert set(summary["outcome"]["icu"]) == {"ours", "theirs"}
    assert [(row["model"], row["against"], row["n"]) for row in summary["comparisons"] if row["metric"] == "brier"] == [
        ("ours", "theirs", 9)
    ]
    assert {row["grouping"] for row in summary["subgroups"]} == {"vendor"}


def test_a_folder_of_masks_is_scored_in_millimetres_of_the_scans(tmp_path: Path) -> None:
    cases = make_cohort(tmp_path / "cohort")
    folder = write_masks(tmp_path / "net", cases, 1)
    summary = read_summary(evaluate_predictions(name_models([folder]), cases, tmp_path / "report"))
    assert summary["segmentation"]["lesion"]["hd95_mm"]["mean"] == pytest.approx(2.0)
    assert summary["segmentation"]["lesion"]["dice"]["n"] == 9


def test_two_folders_have_a_report_each_and_are_compared_in_a_third(tmp_path: Path) -> None:
    cases = make_cohort(tmp_path / "cohort")
    named = name_models([write_masks(tmp_path / "near", cases, 1), write_masks(tmp_path / "far", cases, 3)])
    page = evaluate_predictions(named, cases, tmp_path / "report")
    (row,) = read_summary(page)["comparisons"]
    assert (row["model"], row["against"], row["better"]) == ("near", "far", "near")
    assert "near, far" in page.read_text(encoding="utf-8")
    assert read_summary(tmp_path / "report" / "far" / "report.html")["segmentation"]["lesion"]["dice"]["mean"] < 0.6


def test_a_mask_that_is_missing_or_on_another_grid_is_refused(tmp_path: Path) -> None:
    cases = make_cohort(tmp_path / "cohort")
    folder = write_masks(tmp_path / "net", cases, 1)
    (folder / "c4.nii.gz").unlink()
    with pytest.raises(UserError, match=r"1 missing \(c4\)"):
        evaluate_predictions(name_models([folder]), cases, tmp_path / "report")
    nib.save(nib.Nifti1Image(make_lesion(4)[::2], AFFINE), folder / "c4.nii.gz")
    with pytest.raises(UserError, match="grid"):
        evaluate_predictions(name_models([folder]), cases, tmp_path / "report")


def cut_file(path: Path) -> None:
    """What an interrupted copy leaves."""
    path.write_bytes(path.read_bytes()[:-30])


def compute_overlap(case_id: str, shift: int) -> float:
    one = make_lesion(int(case_id[1:])) > 0
    other = np.roll(one, shift, axis=0)
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_a_case_whose_own_scan_or_reference_is_damaged_is_set_aside_and_the_others_are_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    cases = make_cohort(tmp_path / "cohort")
    folders = [write_masks(tmp_path / "near", cases, 1), write_masks(tmp_path / "far", cases, 3)]
    cut_file(tmp_path / "cohort" / "c2_ct.nii.gz")
    cut_file(tmp_path / "cohort" / "c5_lesion.nii.gz")
    page = evaluate_predictions(name_models(folders), cases, tmp_path / "report")
    whole = [case_id for case_id in cases if case_id not in ("c2", "c5")]
    for name, shift in (("near", 1), ("far", 3)):
        rows = pd.read_csv(tmp_path / "report" / name / "cases.csv")
        assert dict(zip(rows["case_id"], rows["lesion_dice"], strict=True)) == pytest.approx(
            {case_id: compute_overlap(case_id, shift) for case_id in whole}
        )
    assert read_summary(page)["comparisons"][0]["n"] == len(whole)
    set_aside = read_summary(page)["quarantined"]
    assert set(set_aside) == {"c2", "c5"}
    assert "c2_ct.nii.gz" in set_aside["c2"]
    assert "the mask lesion: cannot be read" in set_aside["c5"]
    assert str(tmp_path) not in "".join(set_aside.values())  # a report is sent, and folders may name patients
    assert print_results(page) == 3
    assert "set aside: c5" in capsys.readouterr().out


def test_a_mask_of_a_case_whose_scan_was_refused_on_intake_is_named(tmp_path: Path) -> None:
    cases = make_cohort(tmp_path / "cohort")
    folder = write_masks(tmp_path / "net", cases, 1)
    cases["c3"] = replace(cases["c3"], ct=None)
    summary = read_summary(evaluate_predictions(name_models([folder]), cases, tmp_path / "report"))
    assert set(summary["quarantined"]) == {"c3"}
    assert "no usable CT" in summary["quarantined"]["c3"]
    assert summary["segmentation"]["lesion"]["dice"]["n"] == 8


def test_a_report_of_masks_and_probabilities_shows_the_worst_cases_of_both(tmp_path: Path) -> None:
    cases = make_cohort(tmp_path / "cohort")
    folder, file = write_masks(tmp_path / "net", cases, 1), write_probabilities(tmp_path / "theirs.csv", cases, 0)
    page = evaluate_predictions(name_models([folder, file]), cases, tmp_path / "report").read_text(encoding="utf-8")
    lowest = min(cases, key=lambda case_id: compute_overlap(case_id, 1))
    captions = re.findall(r"<figcaption>(c\d.*?)</figcaption>", page)
    assert captions[0].startswith(f"{lowest}, ")
    assert f"lesion Dice {compute_overlap(lowest, 1):.2f}" in captions[0]
    risk = pd.read_csv(file).set_index("case_id")["probability"]
    events = [case_id for case_id, case in cases.items() if case.endpoints["icu"]]
    missed = min(events, key=risk.get)
    assert any(f"{missed}, " in one and f"theirs {100 * risk[missed]:.1f} %" in one for one in captions)
    assert page.count("data:image/jpeg") == len(captions)


def test_a_damaged_prediction_is_refused_by_name(tmp_path: Path) -> None:
    cases = make_cohort(tmp_path / "cohort")
    folder = write_masks(tmp_path / "net", cases, 1)
    cut_file(folder / "c4.nii.gz")
    with pytest.raises(UserError, match=r"c4\.nii\.gz.*cannot be read"):
        evaluate_predictions(name_models([folder]), cases, tmp_path / "report")


def test_where_every_case_is_damaged_the_report_names_them_all(tmp_path: Path) -> None:
    cases = make_cohort(tmp_path / "cohort")
    folders = [write_masks(tmp_path / "near", cases, 1), write_masks(tmp_path / "far", cases, 3)]
    for case_id in cases:
        cut_file(tmp_path / "cohort" / f"{case_id}_ct.nii.gz")
    summary = read_summary(evaluate_predictions(name_models(folders), cases, tmp_path / "report"))
    assert set(summary["quarantined"]) == set(cases)
    assert summary["comparisons"] == []


def test_files_that_are_not_there_or_share_a_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"theirs\.csv: there is no such file"):
        name_models([tmp_path / "theirs.csv"])
    (tmp_path / "a").mkdir()
    for path in (tmp_path / "x.csv", tmp_path / "a" / "x.csv"):
        path.touch()
    with pytest.raises(UserError, match="same name"):
        name_models([tmp_path / "x.csv", tmp_path / "a" / "x.csv"])


def write_run(folder: Path, cases: dict[str, Case], without: str = "", **models: float) -> Path:
    """A finished run whose ``models`` predict each case of the endpoint with a probability of their own."""
    (folder / "busan").mkdir(parents=True)
    (folder / "busan" / "config.yaml").write_text("seed: 1\n")
    rows = [
        {"case_id": case_id, "site": case.site, "fold": "busan", "endpoint": "icu", "model": model, "label": 1.0}
        | {"probability": risk + place / 100}
        for model, risk in models.items()
        for place, (case_id, case) in enumerate(cases.items())
        if case_id != without
    ]
    pd.DataFrame(rows).to_csv(folder / "busan" / "predictions.csv", index=False)
    return folder


def test_every_external_model_is_compared_with_each_baseline_of_a_run(tmp_path: Path) -> None:
    cases = make_cohort(tmp_path / "cohort")
    files = [write_probabilities(tmp_path / f"{name}.csv", cases, seed) for seed, name in enumerate(("ours", "theirs"))]
    run = write_run(tmp_path / "clinical", cases, clinical=0.3, prevalence=0.4, without="c8")
    page = evaluate_predictions(name_models(files), cases, tmp_path / "report", [run])
    summary = read_summary(page)
    assert set(summary["outcome"]["icu"]) == {"ours", "theirs", "clinical", "prevalence"}
    assert summary["outcome"]["icu"]["clinical"]["brier"]["events"] == 3, "outcomes are those of the cohort"
    pairs = [(row["model"], row["against"], row["n"]) for row in summary["comparisons"] if row["metric"] == "brier"]
    with_baselines = [(name, base, 8) for name in ("ours", "theirs") for base in ("clinical", "prevalence")]
    assert sorted(pairs) == sorted([("ours", "theirs", 9), *with_baselines])
    assert (summary["verdict"]["icu"]["model"], summary["verdict"]["icu"]["against"]) == ("ours", "clinical")
    text = page.read_text(encoding="utf-8")
    assert "1 cases were not predicted by it" in text
    assert "model ours" in text


def test_a_report_without_baselines_says_how_to_get_them_and_has_table_1(tmp_path: Path) -> None:
    cases = make_cohort(tmp_path / "cohort")
    page = evaluate_predictions(
        name_models([write_probabilities(tmp_path / "x.csv", cases, 0)]), cases, tmp_path / "report"
    )
    assert "experiment=clinical" in page.read_text(encoding="utf-8")
    assert "table_1" in read_summary(page)


def test_a_run_of_other_cases_or_endpoints_or_with_a_used_name_is_refused(tmp_path: Path) -> None:
    cases = make_cohort(tmp_path / "cohort")
    file = write_probabilities(tmp_path / "clinical.csv", cases, 0)
    fewer = {case_id: case for case_id, case in cases.items() if case_id != "c4"}
    part = write_probabilities(tmp_path / "part.csv", fewer, 0)
    with pytest.raises(UserError, match=r"another cohort.*c4"):
        evaluate_predictions({"part": part}, fewer, tmp_path / "r", [write_run(tmp_path / "all", cases, clinical=0.3)])
    with pytest.raises(UserError, match="clinical is the name of two models"):
        evaluate_predictions(name_models([file]), cases, tmp_path / "r", [tmp_path / "all"])
    other = write_run(tmp_path / "death", cases, clinical=0.3)
    table = other / "busan" / "predictions.csv"
    table.write_text(table.read_text().replace("icu", "death"))
    with pytest.raises(UserError, match="no predictions of icu"):
        evaluate_predictions({"x": file}, cases, tmp_path / "r", [other])


@pytest.mark.parametrize("value", [0.3, 2], ids=["probabilities", "two labels"])
def test_a_nifti_of_more_values_than_two_is_refused_by_name(tmp_path: Path, value: float) -> None:
    cases = make_cohort(tmp_path / "cohort")
    folder = write_masks(tmp_path / "net", cases, 0)
    array = make_lesion(4).astype(np.float32)
    array[0, 0, 0] = value
    nib.save(nib.Nifti1Image(array, AFFINE), folder / "c4.nii.gz")
    with pytest.raises(UserError, match=r"c4\.nii\.gz holds .* where a mask has two values"):
        evaluate_predictions(name_models([folder]), cases, tmp_path / "report")


def test_one_hospital_and_unknown_outcomes_are_reported_with_reasons(tmp_path: Path) -> None:
    cases = {
        case_id: replace(case, site="seoul", person="", endpoints={"icu": case.endpoints["icu"], "death": np.nan})
        for case_id, case in make_cohort(tmp_path / "cohort").items()
    }
    rows = [(case_id, endpoint, 0.5) for case_id in cases for endpoint in ("icu", "death")]
    pd.DataFrame(rows, columns=["case_id", "endpoint", "probability"]).to_csv(tmp_path / "x.csv", index=False)
    summary = read_summary(evaluate_predictions(name_models([tmp_path / "x.csv"]), cases, tmp_path / "report"))
    assert summary["outcome"]["death"]["x"]["auroc"]["reason"] == "no case with a known outcome"
    constant = summary["outcome"]["icu"]["x"]
    assert constant["auroc"]["value"] == 0.5
    assert constant["calibration_slope"]["reason"] == "probabilities are constant or separate the labels perfectly"
    assert {"site": "seoul", "endpoint": "death", "reason": "no case with a known outcome"} in summary["not_evaluable"]


def test_predictions_are_named_after_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "theirs" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "theirs" / "inner")
    assert list(name_models([Path("..")])) == ["theirs"]
    assert list(name_models([Path(".")])) == ["inner"]


@pytest.mark.parametrize("name", [".csv", "..csv", ".hidden.csv", "a\nb.csv"])
def test_predictions_without_a_name_for_their_report_are_refused(tmp_path: Path, name: str):
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"the predictions .* cannot be the name of a folder"):
        name_models([tmp_path / name])
