"""Scans of one patient are matched by pseudonyms and shifted days; no true ID or date is written."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from kicc_ml.clinic.prior_studies import (
    StudyStamp,
    check_stamp_keys,
    find_latest_prior,
    make_study_stamp,
    read_study_stamps,
    sort_earliest_first,
    write_study_stamp,
)
from kicc_ml.core.errors import UserError
from kicc_ml.core.types import Series
from tests.support.phantom_files import write_series
from tests.support.phantoms import Grid, even_mm


@pytest.fixture(autouse=True)
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KICC_KEYS", str(tmp_path / "keys"))


def make_ct(folder: Path, day: int, patient: str = "P7", study: str = "a", known: bool = True) -> Series:
    write_series(folder, Grid(even_mm(3)), PatientID=patient)
    acquired = datetime(2020, 3, day, 9, 30) if known else None
    return Series(
        **{"site": "", "patient": "x", "study": study, "uid": f"{study}{day}", "modality": "CT"},
        **{"files": tuple(sorted(folder.iterdir())), "rows": 1, "columns": 1, "slices": 3, "spacing_mm": None},
        **{"units": "hu", "verdict": "usable", "acquired": acquired},
    )  # type: ignore[arg-type]


def test_the_latest_earlier_scan_of_another_study_is_the_previous_one(tmp_path: Path):
    out = tmp_path / "out"
    takes = {"first": (1, "a"), "second": (4, "b"), "same study": (8, "c"), "now": (9, "c")}
    for name, (day, study) in takes.items():
        (out / name).mkdir(parents=True)
        write_study_stamp(out / name, make_study_stamp(name, make_ct(tmp_path / name, day, study=study), out))  # type: ignore[arg-type]
    (out / "other").mkdir()
    write_study_stamp(out / "other", make_study_stamp("other", make_ct(tmp_path / "o", 5, "P8", "d"), out))  # type: ignore[arg-type]
    history = {one.case_id: one for one in read_study_stamps(out)}
    before = find_latest_prior(history["now"], history.values())
    assert before is not None
    assert before.case_id == "second"
    assert (history["now"].time - before.time).days == 5
    assert find_latest_prior(history["first"], history.values()) is None


def test_neither_patient_nor_day_can_be_read_from_what_is_written(tmp_path: Path):
    (tmp_path / "out").mkdir()
    one = make_study_stamp("case", make_ct(tmp_path / "scan", 9), tmp_path / "out")
    assert isinstance(one, StudyStamp)
    write_study_stamp(tmp_path / "out", one)
    text = (tmp_path / "out" / "scan.json").read_text()
    assert "P7" not in text
    assert "2020-03-09" not in text


def test_the_time_of_day_is_written_to_the_hour(tmp_path: Path):
    one = make_study_stamp("case", make_ct(tmp_path / "scan", 9), tmp_path)
    assert one is not None
    assert (one.time.hour, one.time.minute, one.time.second) == (9, 0, 0)


def test_results_of_another_key_are_refused(tmp_path: Path):
    out = tmp_path / "out"
    (out / "case").mkdir(parents=True)
    write_study_stamp(out / "case", make_study_stamp("case", make_ct(tmp_path / "scan", 9), out))  # type: ignore[arg-type]
    check_stamp_keys(out)
    moved = out.rename(tmp_path / "moved")
    with pytest.raises(UserError, match=f"{moved} was written under another key"):
        check_stamp_keys(moved)


def test_results_of_a_version_that_noted_no_key_are_read(tmp_path: Path):
    (tmp_path / "case").mkdir()
    old = {"case_id": "case", "modality": "CT", "patient": "a", "study": "b", "moved": "2019-03-09T09:30:00"}
    (tmp_path / "case" / "scan.json").write_text(json.dumps(old))
    check_stamp_keys(tmp_path)
    assert [one.case_id for one in read_study_stamps(tmp_path)] == ["case"]


def test_a_scan_without_time_or_patient_has_no_history(tmp_path: Path):
    assert make_study_stamp("case", make_ct(tmp_path / "timeless", 9, known=False), tmp_path) is None
    assert make_study_stamp("case", make_ct(tmp_path / "nameless", 9, patient=""), tmp_path) is None


def test_scans_are_predicted_in_the_order_they_were_taken(tmp_path: Path):
    series = {
        "late": make_ct(tmp_path / "l", 9),
        "early": make_ct(tmp_path / "e", 2),
        "never": make_ct(tmp_path / "n", 1, known=False),
    }
    assert list(sort_earliest_first(series)) == ["never", "early", "late"]


def make_stamp_text(**other: object) -> str:
    words = {"case_id": "a", "modality": "CT", "patient": "b", "study": "c", "moved": "2012-03-01T09:30:00"}
    return json.dumps(words | other)


@pytest.mark.parametrize(
    "content",
    [
        *(
            "{",
            "[1]",
            "{}",
            make_stamp_text(moved="never"),
            make_stamp_text(moved=3),
            make_stamp_text(moved="2012-03-01T09:30:00+09:00"),
        ),
        *(make_stamp_text(patient=None), make_stamp_text(case_id="../../elsewhere"), make_stamp_text(command="true")),
    ],
)
def test_a_damaged_file_of_earlier_scans_is_one_sentence(tmp_path: Path, content: str):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "scan.json").write_text(content)
    with pytest.raises(UserError, match=r"scan\.json.*predict it again"):
        read_study_stamps(tmp_path)
