"""New scans are refused in plain words, or get a page and DICOM results; the list of patients is worst first."""

import html
import json
import re
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from kicc_ml.clinic.new_scan import (
    SCORES_FILE,
    NewScanPipeline,
    OutcomePredictor,
    list_patients,
    load_outcomes,
    make_risk_table,
)
from kicc_ml.cohort.patient_table import PatientTable
from kicc_ml.core.errors import UserError
from kicc_ml.core.progress import StageTimer
from kicc_ml.core.types import Risk
from kicc_ml.data.canonical import CanonicalCXR
from kicc_ml.dicom.series.image_files import make_nifti_series, write_nifti
from kicc_ml.models.baselines.radiograph_zones import ZONE_FEATURES, ZoneRidge
from kicc_ml.prediction.new_patient import OutcomeModel
from kicc_ml.prediction.new_radiograph_scores import ScoreModel
from kicc_ml.prediction.result import Result
from kicc_ml.prediction.risk import OutcomeRecord
from kicc_ml.prediction.segmentation import grade_severity, write_case
from kicc_ml.runs.folder import About, ClinicalFold, ZoneFold
from kicc_ml.severity.domain_shift import UnsuitableImage
from tests.support.predicted_scan import MODEL, NOTHING, film, predicted

KOREAN = {"SpecificCharacterSet": ["", "ISO 2022 IR 149"], "PatientName": "Hong^Gildong=洪^吉洞=홍^길동"}


def test_a_page_is_pseudonymous_and_an_identified_one_names_the_patient(tmp_path: Path):
    series, result = predicted(tmp_path, **KOREAN)
    NewScanPipeline(NOTHING, MODEL, report=True)(series, result, tmp_path / "plain")
    assert "길동" not in (tmp_path / "plain" / "page.html").read_text(encoding="utf-8")
    NewScanPipeline(NOTHING, MODEL, report=True, identified=True)(series, result, tmp_path / "named")
    assert "홍 길동" in (tmp_path / "named" / "page.html").read_text(encoding="utf-8")


def read_modes(folder: Path) -> dict[str, int]:
    paths = [folder, *(path for path in folder.iterdir() if path.is_file())]
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in paths}


def test_what_says_whose_it_is_can_be_read_by_its_user_alone(tmp_path: Path):
    series, result = predicted(tmp_path, **KOREAN)
    (tmp_path / "named").mkdir(mode=0o755)
    NewScanPipeline(NOTHING, MODEL, report=True, identified=True)(series, result, tmp_path / "named")
    modes = read_modes(tmp_path / "named")
    assert {modes.pop(name) for name in ("page.html", "summary.pdf", "montage.png")} == {0o600}
    assert modes["named"] == 0o700


def read_slices(page: Path) -> list[str]:
    return re.findall(r'"slices": \[(.*?)\]', html.unescape(page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("of", ["ct", "film"])
def test_of_a_scan_with_text_burned_in_only_the_map_is_shown(tmp_path: Path, of: str):
    series, result = predicted(tmp_path) if of == "ct" else film(tmp_path)
    named = replace(series, reasons=("burned_in",))
    other = replace(result, volume=replace(result.volume, array=np.flip(result.volume.array, axis=0).copy()))
    shown = {}
    for number, (one, seen) in enumerate([(named, result), (named, other), (series, result), (series, other)]):
        NewScanPipeline(NOTHING, MODEL, report=True)(one, seen, tmp_path / f"{number}")
        page = (tmp_path / f"{number}" / "page.html").read_text(encoding="utf-8")
        assert ("text is burned into it" in page) == (one is named)
        picture = (tmp_path / f"{number}" / "montage.png").read_bytes()
        shown[number] = (read_slices(tmp_path / f"{number}" / "page.html"), picture)
    assert shown[0] == shown[1]  # nobody can tell one image from the other
    assert shown[2][0] != shown[3][0]
    assert shown[2][1] != shown[3][1]
    NewScanPipeline(NOTHING, MODEL, report=True, identified=True)(named, result, tmp_path / "inside")
    assert read_slices(tmp_path / "inside" / "page.html") == shown[2][0]


def test_dicom_is_written_where_it_is_asked_for(tmp_path: Path):
    series, result = predicted(tmp_path, **KOREAN)
    NewScanPipeline(NOTHING, MODEL, report=True)(series, result, tmp_path / "plain")
    assert not (tmp_path / "plain" / "dicom").exists()
    NewScanPipeline(NOTHING, MODEL, dicom=True)(series, result, tmp_path / "both")
    names = {pydicom.dcmread(path).PatientName for path in (tmp_path / "both" / "dicom").iterdir()}
    assert {str(name) for name in names} == {KOREAN["PatientName"]}


def test_a_scan_without_lungs_is_refused_before_anything_is_written(tmp_path: Path):
    series, result = predicted(tmp_path)
    empty = {name: np.zeros_like(mask) for name, mask in result.masks.items()}
    none = Result(result.case_id, result.volume, empty, grade_severity(result.volume, empty))
    with pytest.raises(UnsuitableImage, match="no lungs were found"):
        NewScanPipeline(NOTHING, MODEL)(series, none, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_a_report_a_scan_is_checked_and_nothing_else(tmp_path: Path):
    series, result = predicted(tmp_path)
    NewScanPipeline(NOTHING, MODEL)(series, result, tmp_path / "out")
    assert not (tmp_path / "out" / "page.html").exists()
    assert NewScanPipeline(NOTHING, MODEL).is_whole(series, tmp_path / "out")
    assert not NewScanPipeline(NOTHING, MODEL, report=True).is_whole(series, tmp_path / "out")


def test_slices_with_a_series_each_get_a_warning_and_no_dicom(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    series, result = predicted(tmp_path)
    apart = replace(series, reasons=("uid_per_slice",))
    clinic = NewScanPipeline(NOTHING, MODEL, dicom=True)
    clinic(apart, result, tmp_path / "out")
    assert "has a SeriesInstanceUID for each slice" in caplog.text
    assert not (tmp_path / "out" / "dicom").exists()
    assert clinic.is_whole(apart, tmp_path / "out")


def test_a_nifti_gets_a_warning_and_no_dicom_because_it_has_no_study(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    _, result = predicted(tmp_path)
    write_nifti(tmp_path / "scan.nii.gz", result.volume.array, result.volume.affine_ras)
    series = make_nifti_series(tmp_path / "scan.nii.gz", site="", patient="scan", units="hu")
    clinic = NewScanPipeline(NOTHING, MODEL, dicom=True)
    clinic(series, result, tmp_path / "out")
    assert "is not DICOM" in caplog.text
    assert not (tmp_path / "out" / "dicom").exists()
    assert clinic.is_whole(series, tmp_path / "out")


@pytest.mark.parametrize("case_id", ["javascript:alert(1)", "a#1", "50%41", "q?x=1", "환자 7", "<b>", '"onload="x'])
def test_a_patient_of_any_name_is_linked_to_the_own_page_only(tmp_path: Path, case_id: str):
    _, result = predicted(tmp_path, **KOREAN)
    folder = tmp_path / "out" / case_id
    write_case(folder, result.masks, result.volume, result.severity, {}, StageTimer())
    (folder / "page.html").touch()
    listing = list_patients(tmp_path / "out").read_text(encoding="utf-8")
    (link,) = re.findall(r'<a href="([^"]*)"', listing)
    parts = urlsplit(html.unescape(link))
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
    assert (tmp_path / "out" / unquote(parts.path)).samefile(folder / "page.html")


def test_patients_of_a_folder_are_listed_with_links_to_their_pages(tmp_path: Path):
    series, result = predicted(tmp_path)
    folder = tmp_path / "out" / "seoul_1"
    NewScanPipeline(NOTHING, MODEL, report=True)(series, result, folder)
    write_case(folder, result.masks, result.volume, result.severity, {}, StageTimer())
    assert 'href="./seoul_1/page.html"' in list_patients(tmp_path / "out").read_text(encoding="utf-8")


def test_a_radiograph_gets_page_picture_and_dicom_with_the_opacity_where_it_lies(tmp_path: Path):
    series, result = film(tmp_path)
    clinic, folder = NewScanPipeline(NOTHING, MODEL, dicom=True), tmp_path / "out"
    clinic(series, result, folder)
    assert "Radiograph and map" in (folder / "page.html").read_text(encoding="utf-8")
    assert {path.name for path in folder.iterdir() if path.is_file()} >= {"page.html", "montage.png"}
    assert not (folder / "summary.pdf").exists()
    assert {path.name for path in (folder / "dicom").iterdir()} == {"report.dcm", "picture.dcm"}
    assert result.severity.zone_percent["right_lower"] == 80
    assert clinic.is_whole(series, folder)


def test_the_scores_of_a_film_are_in_its_file_on_its_page_and_in_its_report(tmp_path: Path):
    series, result = film(tmp_path)
    ridges = {"brixia": ZoneRidge([0.0] * ZONE_FEATURES, 0.4)}
    figures = {"brixia": {"zones": {"pearson": {"value": 0.684}, "mae": {"value": 2.94, "n": 114}}}}
    model = ScoreModel([ZoneFold(tmp_path, About({}, ["rome"]), ridges)], CanonicalCXR(32), figures)
    clinic, folder = NewScanPipeline(NOTHING, MODEL, dicom=True, score_model=model), tmp_path / "out"
    clinic(series, result, folder)
    (kept,) = json.loads((folder / SCORES_FILE).read_text())["scores"]
    assert (kept["score"], kept["points"], kept["r"], kept["films"]) == ("brixia", pytest.approx(7.2), 0.684, 114)
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert all(said in page for said in ("<strong>7.2</strong> / 18", "<td>0.68</td>", "<td>2.9</td>", "<td>114</td>"))
    assert "Predicted score of a radiologist" in str(pydicom.dcmread(folder / "dicom" / "report.dcm"))
    assert clinic.is_whole(series, folder)
    (folder / SCORES_FILE).unlink()
    assert not clinic.is_whole(series, folder)


def test_a_radiograph_without_lungs_is_refused_before_anything_is_written(tmp_path: Path):
    series, none = film(tmp_path, lungs=False)
    with pytest.raises(UnsuitableImage, match="no lung fields were found"):
        NewScanPipeline(NOTHING, MODEL, report=True)(series, none, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_patient_called_like_a_file_of_the_results_is_listed_like_any_other(tmp_path: Path):
    _, result = predicted(tmp_path)
    write_case(tmp_path / "out" / "severity.json", result.masks, result.volume, result.severity, {}, StageTimer())
    assert "severity.json" in list_patients(tmp_path / "out").read_text(encoding="utf-8")


def test_a_folder_without_predictions_is_the_users_error(tmp_path: Path):
    with pytest.raises(UserError, match="holds no prediction"):
        list_patients(tmp_path)


def test_the_patients_earlier_scan_stands_on_the_page_with_the_change(tmp_path: Path):
    out, scans = tmp_path / "out", {}
    for name, day in (("before", "20200301"), ("now", "20200309")):
        study = {"StudyInstanceUID": generate_uid(), "StudyDate": day, "AcquisitionDate": day, "PatientID": "P7"}
        series, result = predicted(tmp_path / name, **study)
        result = replace(
            result, case_id=name, severity=replace(result.severity, lesion_ml={"before": 30, "now": 75}[name])
        )
        scans[name] = series
        NewScanPipeline(NOTHING, MODEL, report=True, scans=scans)(series, result, out / name)
        write_case(out / name, result.masks, result.volume, result.severity, {}, StageTimer())
    page = (out / "now" / "page.html").read_text(encoding="utf-8")
    assert "+45 mL" in page
    assert page.count('<canvas class="plane"') == 2
    assert "+45" in list_patients(out).read_text(encoding="utf-8")
    assert "Since the previous scan" not in (out / "before" / "page.html").read_text(encoding="utf-8")


def test_a_table_without_a_model_to_use_it_is_the_users_error(tmp_path: Path):
    assert load_outcomes(None, None) is None
    with pytest.raises(UserError, match="--outcome-run"):
        load_outcomes(None, tmp_path / "clinical.csv")


def test_a_run_of_the_clinical_model_alone_needs_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    alone = OutcomeModel((), (ClinicalFold(tmp_path, About({}, ["seoul"]), {}),), OutcomeRecord())
    monkeypatch.setattr("kicc_ml.clinic.new_scan.outcome_model", lambda *_: alone)
    with pytest.raises(UserError, match="--clinical"):
        load_outcomes(tmp_path, None)


class AskedModel:
    """Keeps what it was asked, and says that everybody has a risk of 0.4."""

    def __init__(self) -> None:
        self.asked: list[tuple[Mapping, Mapping]] = []

    def risks(self, images: Mapping, values: Mapping) -> tuple[Risk, ...]:
        self.asked.append((images, values))
        return (Risk("icu", 0.4, 0.2, 0.6, {}, clinical=0.3),)

    def basis(self, images: Mapping, values: Mapping) -> str:
        return f"{len(images)} image"


def test_outcomes_are_predicted_from_the_scan_its_extent_and_the_patients_row(tmp_path: Path):
    series, result = predicted(tmp_path, PatientID="P7")
    model = AskedModel()
    patients = PatientTable({("seoul", "P7"): {"age_years": 71.0}, ("seoul", "P8"): {"age_years": 20.0}})
    clinic = NewScanPipeline(NOTHING, MODEL, dicom=True, outcomes=OutcomePredictor(model, patients))  # type: ignore[arg-type]
    clinic(series, result, tmp_path / "out" / "case")
    ((images, values),) = model.asked
    assert images == {"ct": result.volume}
    assert (values["age_years"], values["ct_lesion_ml"]) == (71, result.severity.lesion_ml)
    kept = json.loads((tmp_path / "out" / "case" / "outcome.json").read_text())
    assert kept["predicted_from"] == "1 image"
    assert (kept["risks"][0]["probability"], kept["risks"][0]["clinical"]) == (0.4, 0.3)
    assert "20–60" in (tmp_path / "out" / "case" / "page.html").read_text(encoding="utf-8")
    assert "Predicted risk" in str(pydicom.dcmread(tmp_path / "out" / "case" / "dicom" / "report.dcm"))
    (row,) = make_risk_table(tmp_path / "out").to_dict("records")
    assert (row["endpoint"], row["probability"], row["clinical"]) == ("icu", 0.4, 0.3)
    assert not clinic.is_whole(series, tmp_path / "out" / "another")


def test_the_page_tells_the_time_of_each_stage_before_it(tmp_path: Path):
    series, result = predicted(tmp_path)
    with result.stages("lungs"):
        pass
    NewScanPipeline(NOTHING, MODEL, report=True, intake_s=1.25)(series, result, tmp_path / "out")
    assert "intake, by scan 1.2" in (tmp_path / "out" / "page.html").read_text(encoding="utf-8")
    assert {"lungs", "intake, by scan", "page and sheet"} <= result.stages.seconds.keys()
