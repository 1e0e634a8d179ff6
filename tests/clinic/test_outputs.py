"""A result is compared with other hospitals than its own, and all of its files are written or none."""

from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest

from kicc_ml.clinic.held_out_case import read_oof_cases
from kicc_ml.clinic.outputs import (
    DICOM,
    PAGE,
    SHEET,
    ModelProvenance,
    OofCases,
    make_patient_page,
    write_case_outputs,
    write_dicom_results,
)
from kicc_ml.core.types import Volume
from kicc_ml.dicom.index.build import index_sources
from kicc_ml.dicom.volume.read import read_volume
from kicc_ml.prediction.result import MONTAGE, Result
from kicc_ml.severity.grade import grade
from kicc_ml.severity.image_features import measure_ct_features
from tests.support.phantom_files import write_series
from tests.support.phantoms import Grid, even_mm

MODEL = ModelProvenance("ab" * 32, {"model": "ab", "training hospitals": "busan, daegu"})


@pytest.fixture
def result() -> Result:
    rng = np.random.default_rng(0)
    right, left = np.zeros((2, 60, 50, 40), bool)
    right[8:28, 10:40, 4:36] = True
    left[34:52, 10:40, 4:36] = True
    lesion = np.zeros_like(right)
    lesion[10:20, 26:38, 6:12] = True
    hu = np.full(right.shape, 40.0)
    hu[right | left], hu[lesion] = -850, -500
    volume = Volume((hu + rng.normal(0, 15, hu.shape)).round().astype(np.int16), np.diag([-5.0, -5, 6, 1]), "hu")
    masks = {"right_lung": right, "left_lung": left, "lesion": lesion}
    features = measure_ct_features(volume, masks)
    return Result("seoul_1", volume, masks, grade(masks, volume.affine_ras, volume.array), features=features)


def make_oof_cases(result: Result, **changes: float) -> OofCases:
    """Five hospitals with ten scans like the result's own, but for the changes; predictions a little off."""
    features = dict(result.features) | changes
    rng = np.random.default_rng(1)
    rows = [
        {"site": f"h{site}", "percent_involved": share, "percent_involved_truth": share * rng.uniform(0.8, 1.2)}
        | {name: value * rng.uniform(0.97, 1.03) for name, value in features.items()}
        for site in range(5)
        for share in rng.uniform(1, 50, 10)
    ]
    return OofCases(pd.DataFrame(rows))


def test_a_scan_like_the_others_is_inside_and_has_an_interval(result: Result):
    page = make_patient_page(result, make_oof_cases(result), MODEL)
    assert (page.domain_check, page.out_of_range) == ("inside", ())
    low, high = page.scan.involved_interval
    assert low < result.severity.percent_involved < high


def test_a_scan_unlike_them_is_outside_and_says_why(result: Result):
    page = make_patient_page(result, make_oof_cases(result, noise_hu=70.0), MODEL)
    assert page.domain_check == "outside"
    assert page.out_of_range[0].feature == "noise_hu"


def test_more_doubt_than_of_nineteen_in_twenty_held_out_scans_is_unusual(result: Result):
    known = OofCases(make_oof_cases(result).rows.assign(uncertain_percent=np.linspace(0, 10, 50)))
    assert [known.flag_uncertainty(percent) for percent in (3.0, 9.8, None)] == ["usual", "unusual", "unknown"]
    assert OofCases(known.rows[:10]).flag_uncertainty(9.8) == "unknown"
    assert make_oof_cases(result).flag_uncertainty(9.8) == "unknown"


def test_without_held_out_cases_nothing_is_claimed(result: Result):
    page = make_patient_page(result, OofCases(pd.DataFrame()), MODEL)
    assert (page.domain_check, page.scan.involved_interval) == ("unchecked", None)


def test_an_image_with_nothing_in_common_with_them_is_not_called_inside(result: Result):
    others = OofCases(make_oof_cases(result).rows.drop(columns="noise_hu"))
    for features in ({}, {"noise_hu": 15.0}, {"soft_hu": None}):
        assert others.check_domain(features) == ("unchecked", ())


def test_a_hospital_whose_name_is_a_number_is_not_judged_by_its_own_scans(result: Result, tmp_path: Path):
    rows = make_oof_cases(result).rows
    rows.assign(site=rows["site"].str.replace("h", "10")).to_csv(tmp_path / "cases.csv", index=False)
    assert set(read_oof_cases(tmp_path).drop_site("101").rows["site"]) == {"100", "102", "103", "104"}


def test_a_hospital_is_not_judged_by_its_own_scans(result: Result):
    rows = make_oof_cases(result).rows
    own = rows.assign(site="own", noise_hu=70.0)
    both = OofCases(pd.concat([rows, own], ignore_index=True))
    assert set(both.drop_site("own").rows["site"]) == set(rows["site"])


def test_montage_page_and_sheet_lie_in_the_folder_of_the_case(result: Result, tmp_path: Path):
    write_case_outputs(tmp_path / "case", result, make_patient_page(result, make_oof_cases(result), MODEL))
    assert {path.name for path in (tmp_path / "case").iterdir()} == {MONTAGE, PAGE, SHEET}
    assert "training hospitals" in (tmp_path / "case" / PAGE).read_text(encoding="utf-8")


def test_a_sheet_that_fails_leaves_no_page(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*given):
        raise OSError("disk full")

    monkeypatch.setattr("kicc_ml.clinic.outputs.make_summary_pdf", broken)
    with pytest.raises(OSError, match="disk full"):
        write_case_outputs(tmp_path / "case", result, make_patient_page(result, make_oof_cases(result), MODEL))
    assert not (tmp_path / "case").exists()


def test_dicom_goes_into_the_study_it_came_from(tmp_path: Path):
    write_series(tmp_path / "site" / "scan", Grid(even_mm()))
    (series,), _ = index_sources([tmp_path / "site"])
    volume = read_volume(series)
    lung = volume.array < -300
    masks = {"right_lung": lung, "left_lung": np.zeros_like(lung), "lesion": lung & (volume.array > -600)}
    result = Result("seoul_1", volume, masks, grade(masks, volume.affine_ras, volume.array))
    page = make_patient_page(result, OofCases(pd.DataFrame()), MODEL)
    write_case_outputs(tmp_path / "case", result, page)
    written = write_dicom_results(tmp_path / "case", result, page, series, MODEL)
    assert {path.parent for path in written} == {tmp_path / "case" / DICOM}
    studies = {pydicom.dcmread(path).StudyInstanceUID for path in written}
    assert studies == {pydicom.dcmread(series.files[0]).StudyInstanceUID}
