"""A name is read in the script it is spoken in, whatever character set the file claims."""

from pathlib import Path

import pytest

from kicc_ml.dicom.header.patient_identity import read_patient_identity
from tests.support.phantom_files import write_series
from tests.support.phantoms import Grid


@pytest.mark.parametrize(
    ("charset", "name", "spoken"),
    [
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", "홍 길동"),
        ("ISO_IR 192", "Hong^Gildong=洪^吉洞=홍^길동", "홍 길동"),
        (None, "Hong^Gildong", "Hong Gildong"),
    ],
)
def test_name_id_and_day_are_read(tmp_path: Path, charset: object, name: str, spoken: str):
    tags = {"SpecificCharacterSet": charset, "PatientName": name, "PatientID": "A-17", "StudyDate": "20200301"}
    (path, *_) = write_series(tmp_path, Grid((0.0, 3.0, 6.0)), **tags)
    assert read_patient_identity(path) == {"Name": spoken, "ID": "A-17", "Study date": "20200301"}


def test_what_is_not_stated_is_left_out(tmp_path: Path):
    tags = dict.fromkeys(("PatientName", "PatientID", "StudyDate"))
    (path, *_) = write_series(tmp_path, Grid((0.0, 3.0, 6.0)), **tags)
    assert read_patient_identity(path) == {}
