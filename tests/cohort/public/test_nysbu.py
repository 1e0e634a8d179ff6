"""COVID-19-NY-SBU by its layout: three styles of yes and no, columns known only later, values that cannot be."""

import os
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from kicc_ml.cohort.public.nysbu import TABLES, nysbu, us_day
from kicc_ml.core.errors import UserError
from tests.support.consortium import write_patient

REAL = Path(os.environ.get("KICC_DATA", "nowhere"))
real_data = pytest.mark.skipif(
    not (REAL / "clinical" / "nysbu.csv").is_file(), reason="KICC_DATA with clinical/nysbu.csv needed"
)

SPO2 = "59408-5_Oxygen saturation in Arterial blood by Pulse oximetry"
SODIUM = "2951-2_Sodium [Moles/volume] in Serum or Plasma"
CRP = "1988-5_C reactive protein [Mass/volume] in Serum or Plasma"
HEART_RATE = "76282-3_Heart rate.beat-to-beat by EKG"
ROWS = {
    "to_patient_id": ["A917122", "A000002", "A000003", "A000004"],
    "covid19_statuses": ["positive", "Positive", "positive", "negative"],
    "last.status": ["deceased", "discharged", "Discharged", "discharged"],
    "age.splits": ["[18,59]", "(59, 74]", "(74,90]", "[18,59]"],
    "gender_concept_name": ["MALE", "FEMALE", "NA", "MALE"],
    "visit_start_datetime": ["12/31/1900", "1/1/1901", "NA", "1/1/1901"],
    "visit_concept_name": ["Inpatient Visit"] * 4,
    "is_icu": ["TRUE", "FALSE", "FALSE", "FALSE"],
    "was_ventilated": ["No", "Yes", "NA", "No"],
    "length_of_stay": ["3", "4", "5", "6"],
    "kidney_replacement_therapy": ["NA", "Yes", "NA", "NA"],
    "kidney_transplant": ["NA", "Yes", "NA", "NA"],
    "therapeutic.heparin.Boolean": ["TRUE", "FALSE", "NA", "NA"],
    "htn_v": ["Yes", "No", "NA", "No"],
    "hf_ef_v": ["HFrEF", "No", "HFpEF", "No"],
    "smoking_status_v": ["Never", "Current", "NA", "Never"],
    "BMI.over30": ["TRUE", "FALSE", "NA", "FALSE"],
    SPO2: ["88", "97", "NA", "95"],
    HEART_RATE: ["6", "90", "100", "80"],
    CRP: ["12.5", "NA", "0.4", "1"],
    SODIUM: ["140", "138", "NA", "141"],
    f"{SODIUM}.1": ["140", "138", "NA", "141"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pd.DataFrame(ROWS).to_csv(tmp_path / TABLES[1], index=False)
    return tmp_path


def test_each_style_of_yes_and_no_is_understood(folder: Path):
    first, second, third = nysbu(folder)
    assert first.endpoints == {"death": 1.0, "icu": 1.0, "ventilation": 0.0}
    assert second.endpoints == {"death": 0.0, "icu": 0.0, "ventilation": 1.0}  # ventilated outside of intensive care
    assert np.isnan(third.endpoints["ventilation"])
    assert [case.clinical["kidney_transplant"] for case in (first, second, third)] == [0.0, 1.0, 0.0]
    assert [case.clinical["heart_failure"] for case in (first, second, third)] == [1.0, 0.0, 1.0]
    assert np.isnan(third.clinical["hypertension"])


def test_sex_that_was_removed_because_of_the_outcome_leaves_no_trace_of_it(folder: Path):
    cohort = nysbu(folder)
    assert [case.clinical["sex"] for case in cohort] == [1.0, 0.0, 1.0]
    assert cohort.flow.counts["cases whose sex was removed, taken for men: its absence tells the outcome"] == 1


def test_what_is_known_only_later_and_what_repeats_a_value_is_no_feature(folder: Path):
    features = set(nysbu(folder)[0].clinical)
    later = ("stay", "replacement", "therapeutic", "heparin", "visit", "status", "icu", "vent", "over30")
    assert not [name for name in features if any(word in name for word in later)]
    assert {"age_years", "spo2_percent", "sodium_mmol_l"} <= features


def test_values_come_in_our_units_and_those_that_cannot_be_are_unknown_and_counted(folder: Path):
    cohort = nysbu(folder)
    assert [case.clinical["age_years"] for case in cohort] == [38.5, 66.5, 82.0]
    assert (cohort[0].clinical["crp_mg_l"], cohort[0].clinical["spo2_percent"]) == (125.0, 88.0)
    assert np.isnan(cohort[0].clinical["heart_rate_per_min"])
    assert cohort.flow.counts["values of heart_rate_per_min outside 20 to 250, now unknown"] == 1


def test_a_row_without_confirmed_covid_is_no_case_and_counted(folder: Path):
    cohort = nysbu(folder)
    assert [case.case_id for case in cohort] == ["A917122", "A000002", "A000003"]
    assert cohort.flow.excluded == {"COVID-19 not confirmed": 1}


def test_images_are_found_by_the_patient_id_of_their_headers_in_whatever_folders(folder: Path):
    tree = folder / "manifest-1628608914773" / "COVID-19-NY-SBU"
    write_patient(tree / "A000003", "A000003", "12-31-1900-NA-NA-50383")
    write_patient(tree / "B1", "B1", "12-31-1900-NA-NA-50384")
    cohort = nysbu(folder)
    assert [case.case_id for case in cohort if case.ct] == ["A000003"]
    assert cohort[2].ct is not None
    assert (cohort[2].ct.site, cohort[2].ct.patient) == ("stony_brook", "A000003")


@pytest.mark.parametrize(
    ("cell", "day"),
    [("1/2/1901", date(1901, 1, 2)), ("1901-01-02", date(1901, 1, 2)), ("31/12/1900", None), (None, None)],
)
def test_days_are_read_month_first(cell: object, day: date | None):
    assert us_day(cell) == day


@pytest.mark.parametrize("column", ["to_patient_id", "age.splits"])
def test_another_table_is_refused_by_the_column_it_lacks(folder: Path, column: str):
    pd.DataFrame(ROWS).drop(columns=column).to_csv(folder / TABLES[1], index=False)
    with pytest.raises(UserError, match=rf"column\(s\) missing: {column}"):
        nysbu(folder)


@real_data
def test_age_and_sex_say_little_more_of_death_than_age_alone_once_the_removed_sex_is_filled_in():
    cohort = nysbu(REAL)
    died = [case.endpoints["death"] for case in cohort]
    age, sex = (np.array([case.clinical[name] for case in cohort]) for name in ("age_years", "sex"))
    assert roc_auc_score(died, age + 10 * sex) - roc_auc_score(died, age) < 0.05


@real_data
def test_the_open_half_has_its_counts_and_age_alone_the_published_auc():
    cohort = nysbu(REAL)
    assert len(cohort) == 682
    assert {name: sum(case.endpoints[name] for case in cohort) for name in cohort[0].endpoints} == {
        "ventilation": 108,
        "icu": 129,
        "death": 83,
    }
    age = [case.clinical["age_years"] for case in cohort]
    published = {"death": 0.753, "icu": 0.548, "ventilation": 0.525}  # of all patients: within chance of a half
    for name, auc in published.items():
        assert roc_auc_score([case.endpoints[name] for case in cohort], age) == pytest.approx(auc, abs=0.05)
