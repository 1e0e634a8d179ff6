"""What a hospital is told to mend: each planted fault by name, the worst first, nobody's number or name in it."""

import csv
import json
import re
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from kicc_ml.apps.cli import app
from kicc_ml.cohort.doctor.findings import SEVERITIES, STAKES, Finding, worst_first
from kicc_ml.cohort.doctor.report import Diagnosis, examine, in_one_line
from kicc_ml.synthetic.repository import synthesize
from tests.support.phantom_files import write_radiograph

pytestmark = pytest.mark.usefixtures("cache_in_a_temporary_folder")


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("hospital") / "source"
    synthesize(root, "demo", 11, sites=1, patients=6, matrix=32, slices=12)
    return root


@pytest.fixture(scope="module")
def clean(hospital) -> Diagnosis:
    return examine(str(hospital))


@pytest.fixture(scope="module")
def ill(hospital, clean) -> Path:
    """The same hospital with six faults of six kinds; ``clean`` is examined before they are planted."""
    ct = series_of(hospital, "CT")
    strip_rescale(ct[0])
    slices(ct[1])[5].unlink()
    (radiograph,) = series_of(hospital, "CXR")[0].iterdir()
    radiograph.write_bytes(radiograph.read_bytes()[:-900])
    plant_screenshot(slices(ct[2])[0], ct[2].parent / "screen" / "1")
    spoil_table(hospital / "clinical.csv")
    return hospital


def series_of(root: Path, kind: str) -> list[Path]:
    return sorted(path for path in root.glob(f"daegu-1/*/*/{kind}-*"))


def slices(folder: Path) -> list[Path]:
    """The files of a series that are slices of it, from foot to head."""
    headers = {path: pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir()}
    axial = [path for path, one in headers.items() if one.get("ImageType", [""])[-1] == "AXIAL"]
    unique = {float(headers[path].SliceLocation): path for path in axial}
    return [unique[height] for height in sorted(unique)]


def strip_rescale(folder: Path) -> None:
    for path in slices(folder):
        dataset = pydicom.dcmread(path)
        del dataset.RescaleSlope, dataset.RescaleIntercept
        dataset.save_as(path)


def plant_screenshot(model: Path, path: Path) -> None:
    dataset = pydicom.dcmread(model)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID = "1.2.3.4.1", "1.2.3.4"
    dataset.ImageType, dataset.BurnedInAnnotation = ["DERIVED", "SECONDARY"], "YES"
    path.parent.mkdir()
    dataset.save_as(path)


def spoil_table(path: Path) -> None:
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    rows += [rows[1], rows[1] | {"patient_id": "9999999"}]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_clean_hospital_is_told_so_in_one_line(clean, hospital):
    line = in_one_line(clean)
    assert line.startswith("Nothing to mend: ")
    assert "of 6 patients can be used" in line
    assert "\n" not in line
    assert {one.severity for one in clean.findings} <= {"note"}


def test_six_planted_faults_are_named_the_worst_first(ill):
    found = examine(str(ill))
    grave = [one.code for one in found.findings if one.severity == "must mend"]
    planted = ["bad_cells", "no_image", "no_rescale", "missing_slice", "truncated", "burned_in"]
    assert set(planted) <= set(grave)
    in_order = [(SEVERITIES.index(one.severity), STAKES.index(one.stake)) for one in found.findings]
    assert in_order == sorted(in_order)
    assert [grave[0], grave[-1]] == ["bad_cells", "burned_in"]
    assert grave.index("no_image") < min(map(grave.index, planted[2:5]))


def test_each_finding_says_where_and_what_to_do(ill):
    found = {one.code: one for one in examine(str(ill)).findings}
    true = {one.code: one for one in examine(str(ill), true_paths=True).findings}
    assert found["bad_cells"].example == "line 3, patient_id"
    assert found["bad_cells"].count == 2
    assert "once in the table, not on lines 3 and 8" in found["bad_cells"].remedy
    assert found["no_image"].example == "line 9"
    assert "(1 slice in all)" in found["missing_slice"].sentence
    assert "Rescale Slope" in found["no_rescale"].remedy
    for code in ("no_rescale", "missing_slice", "truncated", "burned_in"):
        assert Path(true[code].example).is_file()
        assert re.fullmatch(r"[\w-]+/[0-9a-f]{12}/\d+", found[code].example)


def test_the_command_prints_and_gives_json_without_a_number_or_name_of_a_patient(ill):
    said = CliRunner().invoke(app, ["doctor", str(ill)])
    assert said.exit_code == 0
    assert said.output.index("must mend") < said.output.index("burned into the picture")
    written = json.loads(CliRunner().invoke(app, ["doctor", str(ill), "--json"]).stdout)
    assert written["findings"][0]["code"] == "bad_cells"
    for path in ill.glob("daegu-1/**/*"):
        if path.is_file():
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            for text in (said.output, json.dumps(written, ensure_ascii=False)):
                assert str(header.PatientID) not in text
                assert str(header.PatientName).split("=")[0] not in text


def test_a_folder_named_after_the_patient_is_named_by_a_pseudonym(tmp_path):
    write(tmp_path / "seoul" / "HONG GILDONG", PatientName="Hong^Gildong")
    found = {one.code: one for one in examine(str(tmp_path)).findings}
    assert found["identifying_path"].severity == "should mend"
    assert "GILDONG" not in str(examine(str(tmp_path))).upper()


def test_missing_numbers_and_wrong_character_sets_are_told(tmp_path):
    write(tmp_path / "seoul" / "a", PatientID="", PatientName="Kim")
    korean = write(tmp_path / "seoul" / "b", PatientName="XXXX")
    raw = korean.read_bytes()
    korean.write_bytes(raw.replace(b"XXXX", "길동".encode("cp949")))
    found = {one.code: one.example for one in examine(str(tmp_path)).findings}
    true = {one.code: one.example for one in examine(str(tmp_path), true_paths=True).findings}
    assert (Path(true["no_patient_id"]).name, Path(true["wrong_charset"]).name) == ("a", "b")
    assert re.fullmatch(r"seoul/[0-9a-f]{12}/1", found["no_patient_id"])


def test_images_without_a_row_and_one_person_at_two_hospitals_are_told(tmp_path):
    for site in ("seoul", "busan"):
        write(tmp_path / site / "1", PatientID="7", StudyInstanceUID=f"1.2.{len(site)}.{site[0] == 's':d}")
    write(tmp_path / "seoul" / "2", PatientID="8", StudyInstanceUID="1.2.9")
    head = "site,patient_id,person_id,age_years,sex\n"
    (tmp_path / "clinical.csv").write_text(head + "seoul,7,X,50,M\nbusan,7,X,,M\n")
    found = {one.code: one for one in examine(str(tmp_path)).findings}
    assert re.fullmatch(r"seoul/[0-9a-f]{12}/1", found["no_row"].example)
    assert found["person_at_two_sites"].severity == "must mend"
    assert found["no_age"].example == "line 3, age_years"


def test_a_folder_that_a_mac_has_spelt_finds_its_rows(tmp_path):
    write(tmp_path / normalize("NFD", "서울") / "1", PatientID="7")
    (tmp_path / "clinical.csv").write_text("site,patient_id,age_years,sex\n서울,7,50,M\n", encoding="utf-8")
    assert (
        in_one_line(examine(str(tmp_path))) == "Nothing to mend: 0 CT series and 1 radiograph of 1 patient can be used."
    )


def test_a_table_that_is_not_utf_8_is_told_with_the_remedy(tmp_path):
    write(tmp_path / "seoul" / "1")
    (tmp_path / "clinical.csv").write_bytes("site,patient_id\n서울,1\n".encode("cp949"))
    first = examine(str(tmp_path)).findings[0]
    assert first.code == "table_unreadable"
    assert "CSV UTF-8" in first.sentence


def test_order_is_severity_then_stake_then_count():
    finding = [
        Finding("note", "table", "d", "", 9),
        Finding("must mend", "privacy", "c", "", 9),
        Finding("must mend", "images", "b", "", 1),
        Finding("must mend", "images", "a", "", 2),
    ]
    assert [one.code for one in worst_first(finding)] == ["a", "b", "c", "d"]


def write(path: Path, **tags) -> Path:
    return write_radiograph(
        path, np.arange(64, dtype=np.uint16).reshape(8, 8), SeriesInstanceUID=f"1.2.3.{ord(path.name[-1])}", **tags
    )
