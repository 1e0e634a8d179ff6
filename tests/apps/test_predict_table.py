"""Patients of a hospital not seen, of whom there is a table alone: predicted by a run, judged as anybody's are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from kicc_ml.apps.cli import app
from kicc_ml.cohort.public.aiforcovid import aiforcovid
from kicc_ml.cohort.repository import repository
from kicc_ml.cohort.table_file import read_cells
from kicc_ml.core.files import write_table, write_yaml
from kicc_ml.core.types import Case, Split, index_by_id
from kicc_ml.data.datamodule import PatientDataModule
from kicc_ml.data.store import VolumeStore
from kicc_ml.evaluation.external import make_prediction_rows
from kicc_ml.prediction.outcome import held_out_outcome
from kicc_ml.runs.folder import CONFIG, PREDICTIONS, about_data, fold_folder


def write_published(folder: Path, hospitals: dict[str, float], patients: int = 40) -> Path:
    """A table of AIforCOVID, made up; CRP decides the course, and is in mg/dL where the factor is 0.1."""
    rng = np.random.default_rng(len(hospitals))
    tables = []
    for hospital, factor in hospitals.items():
        crp = rng.gamma(4, 20, patients)
        severe = crp + rng.normal(0, 10, patients) > 70
        columns = {"Hospital": hospital, "Age": rng.normal(65, 10, patients), "Sex": rng.integers(0, 2, patients)}
        names = [f"{hospital}_{number}.png" for number in range(patients)]
        outcomes = {"Prognosis": np.where(severe, "SEVERE", "MILD"), "Death": (severe & (crp > 90)).astype(int)}
        tables.append(pd.DataFrame({"ImageFile": names, **columns, "CRP": crp * factor, **outcomes}))
    folder.mkdir()
    pd.concat(tables).to_excel(folder / "AIforCOVID.xlsx", index=False)
    return folder / "AIforCOVID.xlsx"


def train_on(cases: list[Case], run: Path) -> Path:
    """A run of clinical models, of one fold that holds out the last hospital."""
    last = cases[-1].site
    train, test = ([case.case_id for case in cases if (case.site == last) is held] for held in (False, True))
    split = Split(last, tuple(train), (), tuple(test), {case.case_id: case.person for case in cases})
    data = PatientDataModule(cases, split, VolumeStore(run / "store"))
    data.setup()
    rows, _ = held_out_outcome(None, about_data(data), data, run)
    write_table(fold_folder(run, last) / PREDICTIONS, rows)
    write_yaml(fold_folder(run, last) / CONFIG, {"data": {"canonical_ct": None, "canonical_cxr": None}})
    return run


def predict(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["predict", *map(str, arguments)])
    return result.exit_code, result.output + str(result.exception or "")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seen")
    write_published(folder / "set", {"A": 1.0, "B": 0.1, "C": 1.0})
    return train_on(list(aiforcovid(folder / "set")), folder / "run")


def test_patients_of_a_published_table_of_an_unseen_hospital_are_predicted_and_judged_as_its_cohort(
    run: Path, tmp_path: Path
):
    table = write_published(tmp_path / "kept", {"f": 0.1})
    assert predict("--clinical", table, "--run", run, "-o", tmp_path / "out")[0] == 0
    path = tmp_path / "out" / "outcomes.csv"
    cases = index_by_id(aiforcovid(tmp_path / "kept"))
    rows = make_prediction_rows(read_cells(path), path, cases, "clinical")
    severe = rows[rows["endpoint"] == "severe"]
    risk = severe.groupby("label")["probability"].mean()
    assert set(rows["endpoint"]) == {"severe", "death"}
    assert len(severe) == 40
    assert risk[1.0] > risk[0.0] + 0.4  # the unit of CRP is told at this hospital too


def test_a_table_of_ones_own_with_foreign_names_and_units_is_predicted_under_the_ids_of_its_cohort(
    run: Path, tmp_path: Path
):
    own = tmp_path / "own"
    own.mkdir()
    rows = "".join(f"Ulm,{number},60,w,{crp}\n" for number, crp in enumerate((1.0, 30.0)))
    (own / "clinical.csv").write_text(f"Klinik,Nr,Alter,Geschlecht,CRP\n{rows}")
    (own / "columns.yaml").write_text(
        "site: Klinik\npatient_id: Nr\nage_years: Alter\n"
        "sex: {column: Geschlecht, codes: {w: F}}\ncrp_mg_l: {column: CRP, unit: mg/dL}\n"
    )
    status, said = predict("--clinical", own / "clinical.csv", "--run", run, "-o", tmp_path / "out")
    assert status == 0, said
    found = pd.read_csv(tmp_path / "out" / "outcomes.csv").query("endpoint == 'severe'")
    assert set(found["case_id"]) == {case.case_id for case in repository(own)}
    first, second = found.set_index("case_id").loc[[case.case_id for case in repository(own)], "probability"]
    assert first < 0.5 < second


def test_a_patient_of_whom_nothing_is_known_is_set_aside_and_the_others_go_on(run: Path, tmp_path: Path):
    (tmp_path / "clinical.csv").write_text("site,patient_id,age_years,sex\nUlm,1,60,F\nUlm,2,,\n")
    status, said = predict("--clinical", tmp_path / "clinical.csv", "--run", run, "-o", tmp_path / "out")
    assert status == 3
    assert "1 patient predicted" in said
    assert f"model card: none yet; python evaluate.py runs={run} writes it" in said
    assert "no value of the table that the models take is known of this patient" in said


def test_neither_scans_nor_a_table_is_told_what_to_give(run: Path, tmp_path: Path):
    status, said = predict("--run", run, "-o", tmp_path / "out")
    assert status != 0
    assert "scans with -i SOURCE, or the patients of a table with --clinical TABLE" in said
