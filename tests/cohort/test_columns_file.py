"""``columns.yaml``: a hospital's own table under our names, with our codes and in our units, or a clear error."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kicc_ml.cohort.clinical_table import features, read_clinical
from kicc_ml.cohort.table_file import TableError

COLUMNS = """
site: Klinik
patient_id: Fallnummer
age_years: Alter
sex: {column: Geschlecht, codes: {männlich: M, weiblich: F}}
admission_date: {column: Aufnahme, date: "%d.%m.%Y"}
crp_mg_l: {column: CRP, unit: {Heidelberg: mg/dL, Mannheim: mg/L}}
creatinine_mg_dl: {column: Krea, unit: µmol/L}
diabetes: {column: DM, codes: {ja: 1, nein: 0}}
wave: {value: 1}
death: {column: verstorben, codes: {yes: 1, no: 0}}
"""
TABLE = """Klinik,Fallnummer,Name,Alter,Geschlecht,Aufnahme,CRP,Krea,DM,verstorben
Heidelberg,007,Muster,61,Männlich,09.03.2020,"12,5",88.4,ja,No
Mannheim,007,Beispiel,72,weiblich,,80,,nein,yes
"""


def lay(folder: Path, columns: str = COLUMNS, table: str = TABLE) -> Path:
    (folder / "columns.yaml").write_text(columns, encoding="utf-8")
    (folder / "clinical.csv").write_text(table, encoding="utf-8")
    return folder / "clinical.csv"


def test_names_codes_days_and_units_of_a_hospital_become_ours(tmp_path: Path):
    table = read_clinical(lay(tmp_path))
    first, second = table.to_dict("records")
    assert (first["site"], first["patient_id"], first["sex"], str(first["admission_date"])) == (
        "Heidelberg", "007", "M", "2020-03-09",
    )  # fmt: skip
    assert (first["crp_mg_l"], second["crp_mg_l"]) == (125.0, 80.0)
    assert first["creatinine_mg_dl"] == pytest.approx(1.0, rel=1e-3)
    assert np.isnan(second["creatinine_mg_dl"])
    assert (first["diabetes"], second["diabetes"], first["death"], second["death"]) == (1, 0, 0, 1)
    assert table.attrs["converted"] == {
        "values of crp_mg_l at Heidelberg converted from mg/dL": 1,
        "values of crp_mg_l at Mannheim converted from mg/L": 1,
        "values of creatinine_mg_dl converted from µmol/L": 1,
    }


def test_a_column_that_is_not_named_is_not_taken(tmp_path: Path):
    assert "Name" not in read_clinical(lay(tmp_path))
    assert set(features(read_clinical(tmp_path / "clinical.csv"))) == {
        *("age_years", "sex", "crp_mg_l", "creatinine_mg_dl", "diabetes", "wave")
    }


def test_an_excel_table_with_true_dates_is_mapped_alike(tmp_path: Path):
    lay(tmp_path)
    cells = pd.read_csv(tmp_path / "clinical.csv", dtype={"Fallnummer": str})
    cells["Aufnahme"] = pd.to_datetime(cells["Aufnahme"], format="%d.%m.%Y")
    cells["CRP"] = [12.5, 80.0]
    cells.to_excel(tmp_path / "clinical.xlsx", index=False)
    pd.testing.assert_frame_equal(read_clinical(tmp_path / "clinical.xlsx"), read_clinical(tmp_path / "clinical.csv"))


REFUSED = {
    "a column that the table lacks": (("Krea,", "Kreatinin,"), r"does not have: Kreatinin; it has Klinik"),
    "a unit of another quantity": (("unit: µmol/L", "unit: U/L"), r"creatinine_mg_dl: 'U/L' cannot become mg/dL"),
    "no unit": (("unit: µmol/L", "unit: wenig"), r"creatinine_mg_dl: 'wenig' is no unit"),
    "a hospital without a unit": ((", Mannheim: mg/L", ""), r"crp_mg_l: no unit is given for Mannheim"),
    "a word without a meaning": (("nein: 0", "nie: 0"), r"line 3, diabetes: 'nein' \(allowed: ja, nie, or empty"),
    "days in another form": (("%d.%m.%Y", "%m/%d/%Y"), r"line 2, admission_date: '09.03.2020'"),
    "an unknown key": (("unit: µmol/L", "units: µmol/L"), r"creatinine_mg_dl: units is unknown; an entry may have"),
    "neither column nor value": (("{value: 1}", "{unit: mg}"), r"wave: give the column that it comes from"),
    "a form of days for no day": (("{value: 1}", "{column: DM, date: x}"), r"wave: date is for columns of days"),
    "codes that are no table": (("{ja: 1, nein: 0}", "[ja]"), r"diabetes: codes are written"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_mapping_that_cannot_be_meant_is_refused_by_entry_or_cell(tmp_path: Path, kind: str):
    (old, new), told = REFUSED[kind]
    assert old in COLUMNS
    with pytest.raises(TableError, match=told):
        read_clinical(lay(tmp_path, COLUMNS.replace(old, new)))


@pytest.mark.parametrize("content", ["", "- a\n", "a: [\n"])
def test_a_file_without_entries_is_one_sentence(tmp_path: Path, content: str):
    with pytest.raises(Exception, match=r"columns\.yaml (names no columns|cannot be read)"):
        read_clinical(lay(tmp_path, content))


def test_a_number_that_is_none_is_named_by_the_tables_own_check(tmp_path: Path):
    with pytest.raises(TableError, match=r"line 2, creatinine_mg_dl: 'viel' \(allowed: a number"):
        read_clinical(lay(tmp_path, table=TABLE.replace("88.4", "viel")))
