"""``kicc-ml`` as typed, on a repository of two hospitals laid down by hand."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from kicc_ml.apps import cli

TABLE = """site,patient_id,age_years,sex,fever,crp_mg_l,icu
seoul,007,60,M,1,12.5,0
seoul,008,40,F,0,,1
busan,007,80,F,,3.0,
"""


def write_slice(path: Path, patient: str, series: str, height_mm: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    image.PatientID, image.Modality, image.StudyDate = patient, "CT", "20200301"
    image.StudyInstanceUID, image.SeriesInstanceUID = series + ".1", series
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.ImageOrientationPatient, image.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, height_mm]
    image.PixelSpacing, image.Rows, image.Columns, image.SamplesPerPixel = [0.7, 0.5], 6, 8, 1
    image.PhotometricInterpretation, image.PixelRepresentation = "MONOCHROME2", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.RescaleSlope, image.RescaleIntercept = 1, -1024
    image.PixelData = np.full((6, 8), int(height_mm), np.uint16).tobytes()
    image.save_as(path, enforce_file_format=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two hospitals; a CT of 4 slices 5 mm apart in Seoul, one with a gap in Busan."""
    root = tmp_path / "repository"
    for number, height_mm in enumerate((0, 5, 10, 15)):
        write_slice(root / "seoul" / "x" / f"{number}", "007", "1.2.3", height_mm)
    for number, height_mm in enumerate((0, 5, 15, 20)):
        write_slice(root / "busan" / f"{number}.dcm", "007", "1.2.4", height_mm)
    (root / "clinical.csv").write_text(TABLE)
    return root


@pytest.fixture
def kicc_ml(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line; gives exit status, standard output and standard error."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["kicc-ml", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        status: object = 0
        try:
            cli.main()
        except SystemExit as stopped:
            status = stopped.code
        captured = capfd.readouterr()
        return int(status or 0), captured.out, captured.err  # type: ignore[call-overload]

    return run


Run = Callable[..., tuple[int, str, str]]


def test_the_command_starts_without_the_libraries_that_take_seconds_to_import():
    heavy = {"torch", "monai", "pytorch_lightning", "sklearn", "statsmodels", "matplotlib", "SimpleITK", "highdicom"}
    heavy |= {"scipy.ndimage", "scipy.sparse", "scipy.stats"}
    code = f"import sys, kicc_ml.apps.cli; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_help_names_every_command(kicc_ml: Run):
    status, out, _ = kicc_ml("--help")
    assert status == 0
    assert all(f" {name} " in out for name in ("synthesize", "index", "summary", "cases", "predict"))


def test_summary_as_json_counts_the_table_overall_and_by_hospital(repository: Path, kicc_ml: Run):
    status, out, _ = kicc_ml("summary", repository, "--json")
    figures = json.loads(out)
    assert status == 0
    assert (figures["patients"], figures["sites"], figures["men"], figures["women"]) == (3, 2, 1, 2)
    assert (figures["age_mean"], figures["age_min"], figures["age_max"]) == (60, 40, 80)
    assert (figures["fever"], figures["icu"]) == (1, 1)
    assert figures["by_site"]["seoul"]["patients"] == 2
    assert figures["by_site"]["seoul"]["fever"] == 1
    assert figures["by_site"]["busan"]["fever"] is None  # nobody was asked


def test_summary_prints_a_table_and_writes_it_as_csv(repository: Path, kicc_ml: Run, tmp_path: Path):
    status, out, _ = kicc_ml("summary", repository, "--csv", tmp_path / "table1.csv")
    assert status == 0
    assert "busan" in out
    assert not pd.read_csv(tmp_path / "table1.csv").empty


def test_index_as_json_has_the_verdict_of_each_series(repository: Path, kicc_ml: Run):
    status, out, _ = kicc_ml("index", repository, "--json")
    series = {row["site"]: row for row in json.loads(out) if row["kind"] == "series"}
    assert status == 0  # a refused series is a finding, not a failure
    assert (series["seoul"]["verdict"], series["seoul"]["slices"]) == ("usable", 4)
    assert series["seoul"]["spacing_mm"] == pytest.approx([0.5, 0.7, 5.0])
    assert (series["busan"]["verdict"], series["busan"]["reasons"]) == ("refused", ["missing_slice"])


def test_neither_patient_number_nor_uid_leaves_the_index(repository: Path, kicc_ml: Run, tmp_path: Path):
    _, out, _ = kicc_ml("index", repository, "--json", "--out", tmp_path / "sub" / "index.parquet")
    kept = pd.read_parquet(tmp_path / "sub" / "index.parquet")
    for row in [*json.loads(out), *kept.to_dict("records")]:
        assert row["patient"] not in ("007", "008")
        assert row["series"] not in ("1.2.3", "1.2.4")


def test_index_prints_the_reason_of_a_refusal(repository: Path, kicc_ml: Run):
    status, out, _ = kicc_ml("index", repository)
    assert status == 0
    assert "missing_slice" in out
    assert "1 series refused, 1 series usable" in out


def test_index_with_a_policy_and_decoding_writes_its_page(repository: Path, kicc_ml: Run, tmp_path: Path):
    page = tmp_path / "sub" / "index.html"
    status, out, _ = kicc_ml("index", repository, "--gaps", "resample", "--decode", "--html", page)
    assert status == 0
    assert "1 series repaired, 1 series usable" in out
    assert "missing_slice" in page.read_text()


def test_index_twice_from_the_cache_says_the_same(repository: Path, kicc_ml: Run):
    assert kicc_ml("index", repository, "--json") == kicc_ml("index", repository, "--json")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dask", "tcp://127.0.0.1"], "no scheduler answers"),
        (["--gaps", "guess"], "guess"),
        (["--tilt", "guess"], "guess"),
    ],
)
def test_a_setting_of_the_index_that_cannot_be_is_status_2(
    repository: Path, kicc_ml: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
):
    pytest.importorskip("distributed", reason="kicc_ml[dask] is not installed")
    monkeypatch.setattr("kicc_ml.dicom.index.cluster.MAX_CONNECT_SECONDS", 0.5)
    status, _, err = kicc_ml("index", repository, *arguments)
    assert status == 2
    assert said in err


def test_cases_are_one_a_line(repository: Path, kicc_ml: Run, tmp_path: Path):
    settings = ("cohort=repository", f"cohort.root={repository}", f"store_dir={tmp_path / 'store'}")
    status, out, _ = kicc_ml("cases", "experiment=outcome", *settings)
    assert status == 0
    ids = out.split()
    assert len(set(ids)) == len(ids) == 3
    assert sorted(one.split("_")[0] for one in ids) == ["busan", "seoul", "seoul"]


def test_cases_with_files_say_where_the_images_of_each_lie(repository: Path, kicc_ml: Run):
    status, out, _ = kicc_ml("cases", "--files", "cohort=repository", f"cohort.root={repository}")
    assert status == 0
    rows = [line.split(",") for line in out.splitlines()]
    assert rows[0] == ["case_id", "site", "ct", "cxr"]
    assert [(row[1], row[2]) for row in rows[1:] if row[2]] == [("seoul", str(repository / "seoul" / "x" / "0"))]


@pytest.mark.parametrize("command", ["index", "summary"])
def test_an_empty_folder_is_one_clear_line_and_status_2(tmp_path: Path, kicc_ml: Run, command: str):
    (tmp_path / "empty").mkdir()
    status, _, err = kicc_ml(command, tmp_path / "empty")
    assert status == 2
    (line,) = err.strip().splitlines()
    assert line.startswith("error: ")
    assert str(tmp_path / "empty") in line


def test_a_run_that_is_none_is_one_clear_line_and_status_2(tmp_path: Path, kicc_ml: Run):
    status, _, err = kicc_ml("predict", "-i", tmp_path, "-o", tmp_path / "out", "--run", tmp_path)
    assert status == 2
    assert "holds no finished run" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_an_unknown_preset_is_status_2_and_names_those_there_are(tmp_path: Path, kicc_ml: Run):
    status, _, err = kicc_ml("synthesize", tmp_path / "out", "--preset", "kicc20")
    assert status == 2
    assert "kicc19" in err
    assert "demo" in err


def test_tables_alone_are_synthesized_without_an_image(tmp_path: Path, kicc_ml: Run):
    status, out, _ = kicc_ml("synthesize", "--preset", "demo", "--seed", 5, "--tables-only", tmp_path / "out")
    assert status == 0
    assert out.splitlines()[-1] == f"repository: {tmp_path / 'out'}"
    status, out, _ = kicc_ml("summary", tmp_path / "out", "--json")
    assert json.loads(out)["patients"] == 48
