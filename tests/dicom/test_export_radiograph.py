"""What was found on a radiograph goes back to its study: figures with their side where it is stated, and a picture."""

import shutil
import subprocess
from base64 import b64encode
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from kicc_ml.core.types import RadiographScore, Risk, Series, SeverityMap, Volume
from kicc_ml.dicom.header.views import read_display_orientation
from kicc_ml.dicom.index.build import index_sources
from kicc_ml.dicom.results.segmentation import PredictionSource
from kicc_ml.dicom.results.write import ScanFindings, write_objects
from kicc_ml.dicom.web.service import push
from tests.support.orthanc import PASSWORD, USER, Orthanc
from tests.support.phantom_files import write_radiograph
from tests.support.structured_reports import code_of, items

MODEL = "ab" * 32
SEVERITY = SeverityMap(
    **{"zone_percent": {"right_upper": 0.0, "right_lower": 70.0, "left_upper": 0.0, "left_lower": 5.0}},
    **{"zone_score": {}, "score": None, "percent_involved": 15.0, "percent_consolidated": None},
    **{"lung_ml": None, "lesion_ml": None, "lesion_g": None, "geographic_extent": 2},
    lung_percent={"right": 28.0, "left": 2.0},
)

BRIXIA = RadiographScore("brixia", 7.25, 18.0, 0.684, 2.9, 114)


def film_in(folder: Path, orientation: list[str] | None = None) -> Series:
    stored = np.random.default_rng(0).integers(0, 4095, (48, 40)).astype(np.uint16)
    tags = {"PatientOrientation": orientation, "SOPInstanceUID": generate_uid(), "PatientName": "Hong^Gildong"}
    write_radiograph(folder / "site" / "film.dcm", stored, **tags)
    (series,), _ = index_sources([folder])
    return series


def written(folder: Path, series: Series, model: str = MODEL) -> list[Path]:
    Image.new("RGB", (64, 48), (10, 20, 30)).save(folder / "montage.png")
    grey = Volume(np.zeros((40, 48, 1), np.float32), np.eye(4), "arbitrary")
    stated = read_display_orientation(series.files[0]) == "stated"
    risks = (Risk("icu", 0.31, 0.22, 0.43, {"slope": "0.90"}),)
    findings = ScanFindings(grey, {}, None, SEVERITY, folder / "montage.png", None, False, risks, (BRIXIA,), stated)
    return write_objects(
        PredictionSource(series, model, "0.1.0", {"training hospitals": "busan"}), findings, folder / "dicom"
    )


def shares(report: Dataset) -> dict[tuple[str, ...], float]:
    """The share involved by finding site and, where it is given, laterality."""
    found = {}
    for group in items(report, "125007"):
        sites = [child for child in group.ContentSequence if code_of(child) == "363698007"]
        for child in group.ContentSequence:
            if code_of(child) == "INVOLVED":
                side = [one.ConceptCodeSequence[0].CodeMeaning for one in sites[0].get("ContentSequence", [])]
                place = (sites[0].ConceptCodeSequence[0].CodeMeaning, *side)
                found[place] = float(child.MeasuredValueSequence[0].NumericValue)
    return found


def test_the_report_places_the_opacity_in_the_right_lower_field(tmp_path: Path):
    series = film_in(tmp_path, ["L", "F"])
    report = pydicom.dcmread(written(tmp_path, series)[0])
    found = shares(report)
    assert found["Lung",] == 15
    assert found["Lung", "Right"] == 28
    assert found["Lower zone of lung", "Right"] == 70
    assert found["Lower zone of lung", "Left"] == 5
    (extent,) = items(report, "EXTENT")
    assert extent.MeasuredValueSequence[0].NumericValue == 2
    (score,) = items(report, "FILM_SCORE")
    assert score.MeasuredValueSequence[0].NumericValue == 7.25
    assert "brixia 0-18" in str(report)
    texts = {element.value for element in report.iterall() if element.keyword == "TextValue"}
    assert texts >= {"r: 0.684", "mean error in points: 2.9", "held-out radiographs: 114"}
    (procedure,) = items(report, "121058")
    assert procedure.ConceptCodeSequence[0].CodeMeaning == "Plain X-ray of chest"


def test_where_the_file_states_no_side_the_report_has_none(tmp_path: Path):
    paths = written(tmp_path, film_in(tmp_path))
    assert shares(pydicom.dcmread(paths[0])) == {("Lung",): 15}
    assert not pydicom.dcmread(paths[1]).PatientOrientation


def test_report_and_picture_alone_lie_in_the_study_of_the_film(tmp_path: Path):
    series = film_in(tmp_path, ["L", "F"])
    paths = written(tmp_path, series)
    assert [path.name for path in paths] == ["report.dcm", "picture.dcm"]
    source = pydicom.dcmread(series.files[0])
    for path in paths:
        made = pydicom.dcmread(path)
        assert (made.StudyInstanceUID, made.PatientName) == (source.StudyInstanceUID, source.PatientName)
        assert made.SeriesInstanceUID != source.SeriesInstanceUID
    assert source.SOPInstanceUID in str(pydicom.dcmread(paths[0]))
    assert pydicom.dcmread(paths[1]).PatientOrientation == ["L", "F"]


def test_uids_are_those_of_the_film_and_the_model_though_films_share_a_series(tmp_path: Path):
    def uids(series: Series, model: str = MODEL) -> set[str]:
        return {pydicom.dcmread(path).SOPInstanceUID for path in written(tmp_path, series, model)}

    series, other = film_in(tmp_path / "one"), film_in(tmp_path / "other")
    headers = [pydicom.dcmread(film.files[0]) for film in (series, other)]
    assert headers[0].SeriesInstanceUID == headers[1].SeriesInstanceUID
    assert uids(series) == uids(series)
    assert not uids(series) & uids(other)
    assert not uids(series) & uids(series, "cd" * 32)


def test_orthanc_takes_finds_and_returns_report_and_picture_that_are_pushed(
    tmp_path: Path, archive: Orthanc, monkeypatch: pytest.MonkeyPatch
):
    login = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    monkeypatch.setenv("KICC_DICOMWEB_AUTHORIZATION", f"Basic {login}")
    monkeypatch.setenv("KICC_DICOMWEB_HOST", "127.0.0.1")
    paths = written(tmp_path, film_in(tmp_path, ["L", "F"]))
    push(archive.url, paths)
    archive.check_it_holds(paths)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="no dciodvfy here: apt-get install dicom3tools")
@pytest.mark.parametrize("orientation", [["L", "F"], None])
def test_dciodvfy_finds_no_error(tmp_path: Path, orientation: list[str] | None):
    for path in written(tmp_path, film_in(tmp_path, orientation)):
        said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        assert [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")] == [], path.name


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        *((["L", "F"], "stated"), (["LF", "FR"], "stated"), (["R", "F"], "otherwise"), (["L", "H"], "otherwise")),
        *((None, "unstated"), ("", "unstated"), (["L"], "otherwise")),
    ],
)
def test_a_film_lies_as_patient_orientation_says(tmp_path: Path, orientation: list[str] | None, expected: str):
    path = write_radiograph(tmp_path / "f.dcm", np.zeros((4, 4), np.uint16), PatientOrientation=orientation)
    assert read_display_orientation(path) == expected
