"""The clinical table of an exported repository."""

from datetime import date

import pandas as pd
import pytest

from kicc_ml.cohort.clinical_table import read_clinical
from kicc_ml.cohort.export_table import export_masks, export_tables, pseudonymize_table, read_tables
from kicc_ml.core.pseudonym import make_pseudonym
from kicc_ml.core.types import Series
from kicc_ml.dicom.deidentify.export import ExportResult
from kicc_ml.dicom.deidentify.manifest import open_copy
from kicc_ml.dicom.index.build import SourceIndex

KEY = b"a key"
TABLE = """site,patient_id,person_id,age_years,sex,birth_date,admission_date,icu,icu_date,telephone,ward,chart_no,beds,\
ct_scans,crp_mg_l
seoul,007,RRN-1,50,M,1970-01-02,2020-03-01,1,2020-03-04,1012345678,East 3,83,3,1,250000
busan,007,,61,F,1959-01-02,2020-03-01,0,,1023456789,West,84,4,0,3.5
seoul,008,RRN-1,,,,,,,,,,,,
"""


@pytest.fixture
def copy(tmp_path) -> pd.DataFrame:
    (tmp_path / "clinical.csv").write_text(TABLE)
    return pseudonymize_table(read_clinical(tmp_path / "clinical.csv"), KEY)


def test_a_patient_is_called_as_in_the_images_and_a_person_by_one_pseudonym(copy):
    assert list(copy["patient_id"]) == [
        make_pseudonym(KEY, *pair) for pair in (("seoul", "007"), ("busan", "007"), ("seoul", "008"))
    ]
    assert copy["person_id"][2] == copy["person_id"][4] == make_pseudonym(KEY, "RRN-1")
    assert pd.isna(copy["person_id"][3])


def test_days_between_dates_of_a_patient_stay_and_birth_dates_go(copy):
    assert copy["icu_date"][2] - copy["admission_date"][2] == date(2020, 3, 4) - date(2020, 3, 1)
    assert copy["admission_date"][2] < date(2015, 1, 1)
    assert copy["admission_date"][2] != copy["admission_date"][3]
    assert "birth_date" not in copy
    assert copy["icu_date"][3] is None


def test_register_numbers_and_text_go_and_measurements_stay(copy):
    assert not {"telephone", "ward", "chart_no"} & set(copy)
    assert list(copy["crp_mg_l"])[:2] == [250000, 3.5]  # a unit says that it is one
    assert {"icu", "age_years", "ct_scans", "beds"} <= set(copy)


def test_the_oldest_are_of_one_age(tmp_path):
    ages = [50, 89, 89.9, 90, 101, ""]
    lines = "".join(f"seoul,{number},{age},M\n" for number, age in enumerate(ages))
    (tmp_path / "clinical.csv").write_text("site,patient_id,age_years,sex\n" + lines)
    found = pseudonymize_table(read_clinical(tmp_path / "clinical.csv"), KEY)["age_years"]
    assert list(found[:5]) == [50, 89, 89.9, 90, 90]
    assert pd.isna(found.iloc[5])


def test_a_site_is_called_as_its_folder_is(tmp_path):
    (tmp_path / "clinical.csv").write_text(TABLE)
    table = read_clinical(tmp_path / "clinical.csv")
    assert list(pseudonymize_table(table, KEY, {"seoul": "s1"})["site"]) == ["s1", "busan", "s1"]


def test_a_mask_that_cannot_be_read_is_set_aside_without_the_uid_of_its_folder(tmp_path):
    folder = tmp_path / "source" / "masks" / "1.2.3"
    folder.mkdir(parents=True)
    (folder / "lesion.nii.gz").write_bytes(b"no NIfTI")
    uid = make_pseudonym(KEY, "1.2.3")
    series = Series("seoul", "p", "st", uid, "CT", (), 8, 8, 8, None, "hu", "usable")
    exported = ExportResult(written=[(SourceIndex(tmp_path / "source", KEY, [series], []), series)])
    with open_copy(tmp_path / "out", [KEY]) as copy:
        assert export_masks(exported, copy) == 0
    assert exported.set_aside == {f"mask lesion of series {uid}": "cannot be read as a mask"}


def test_names_that_a_spreadsheet_would_run_are_escaped_and_read_back(tmp_path):
    sites = ["=cmd|calc", "@SUM(1)", "+1+1", "seoul"]
    source = tmp_path / "source"
    for site in sites:
        (source / site).mkdir(parents=True)
    table = "".join(f"{site},7,50,M,1\n" for site in sites)
    (source / "clinical.csv").write_text("site,patient_id,age_years,sex,=1+1\n" + table)
    found = [
        Series(site, "p", "st", site, "CT", (source / site / "1",), 8, 8, 8, None, "hu", "usable") for site in sites
    ]
    indexed = SourceIndex(source, KEY, found, [])
    exported = ExportResult(written=[(indexed, one) for one in found])
    with open_copy(tmp_path / "out", [KEY]) as copy:
        assert export_tables(read_tables([indexed]), exported, copy) == 4
    lines = (tmp_path / "out" / "clinical.csv").read_text().splitlines()
    assert not [cell for line in lines for cell in line.split(",") if cell[:1] in ("=", "@", "+")]
    back = read_clinical(tmp_path / "out" / "clinical.csv")
    assert sorted(back["site"]) == sorted(sites)
    assert "=1+1" in back
