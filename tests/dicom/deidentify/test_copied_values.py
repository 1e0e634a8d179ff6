"""Dates, times, numbers, ages, codes and texts of a copy: what is of its kind stays, anything else goes."""

import struct
from datetime import datetime
from pathlib import Path

import pydicom
import pytest

from tests.support.copied_slices import INSTANCE, STORED, parsed, rewritten
from tests.support.phantom_files import write_image


def test_dates_of_a_patient_move_together_by_whole_days(copied):
    dates = {"StudyDate": "20200228", "AcquisitionDateTime": "20200303101500.25+0900", "AcquisitionDate": "2020.03.04"}
    copy = parsed(copied(**dates, DateOfLastCalibration=["20191231", "20200101"]))
    shift = datetime(2020, 2, 28) - datetime.strptime(copy.StudyDate, "%Y%m%d")
    assert 8 * 365 + 2 < shift.days <= 8 * 365 + 2 + 365  # two cycles of leap years, and the patient's own days
    moved = datetime.strptime(copy.AcquisitionDateTime[:8], "%Y%m%d")
    assert (datetime(2020, 3, 3) - moved, copy.AcquisitionDateTime[-5:]) == (shift, "+0900")
    assert datetime(2020, 3, 4) - datetime.strptime(copy.AcquisitionDate, "%Y%m%d") == shift
    assert datetime(2020, 1, 1) - datetime.strptime(copy.DateOfLastCalibration[1], "%Y%m%d") == shift


def test_a_study_begins_at_the_full_hour_and_the_seconds_between_its_times_stay(copied):
    clocks = {
        "StudyTime": "145907.123456",
        "SeriesTime": "150010",
        "AcquisitionTime": "150159.7",
        "ContentTime": "0001",
    }
    copy = parsed(copied(**clocks, AcquisitionDateTime="20200301150200.999999+0900"))
    assert (copy.StudyTime, copy.SeriesTime, copy.AcquisitionTime) == ("140000", "140103", "140252")
    assert copy.ContentTime == "000000"  # never on the day before
    assert copy.AcquisitionDateTime[8:] == "140253+0900"


def test_without_a_time_of_the_study_times_are_cut_off_to_the_hour(copied):
    copy = parsed(copied(StudyTime=None, AcquisitionTime="150159.7", ContentTime="15:02:11"))
    assert (copy.AcquisitionTime, copy.ContentTime) == ("150000", "150000")


@pytest.mark.parametrize("value", ["SECRET", "2020SECRET", "20200228SECRET", "00010101"])
def test_what_is_no_date_is_left_empty(copied, tmp_path, value):
    source = write_image(tmp_path / "source", STORED, StudyDate="19700101")
    source.write_bytes(
        source.read_bytes().replace(
            b"DA\x08\x0019700101", b"DA" + len(value.ljust(16)).to_bytes(2, "little") + value.ljust(16).encode()
        )
    )
    raw = copied(source)
    assert b"SECRET" not in raw
    assert parsed(raw).StudyDate == ""


def test_birth_date_goes_and_sex_and_age_stay(copied):
    copy = parsed(copied(PatientBirthDate="19611225", PatientSex="F", PatientAge="058Y", PatientWeight=60))
    assert (copy.PatientBirthDate, copy.PatientSex, copy.PatientAge, copy.PatientWeight) == ("", "F", "058Y", 60)


@pytest.mark.parametrize("keyword", ["Exposure", "InstanceNumber", "PatientSize", "AcquisitionTime", "PatientAge"])
def test_text_in_place_of_a_number_goes(copied, tmp_path, keyword):
    source = write_image(tmp_path / "source", STORED)
    vr = pydicom.datadict.dictionary_VR(keyword)
    rewritten(source, lambda dataset: dataset.add(pydicom.DataElement(keyword, "LO", "SECRET")))
    tag = pydicom.tag.Tag(keyword)
    head = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little")
    source.write_bytes(source.read_bytes().replace(head + b"LO", head + vr.encode()))
    assert b"SECRET" in source.read_bytes()
    assert b"SECRET" not in copied(source)


@pytest.mark.parametrize(("stated", "kept"), [("089Y", "089Y"), ("090Y", "090Y"), ("101Y", "090Y"), ("999Y", "090Y")])
def test_the_oldest_are_one_class(copied, stated, kept):
    assert parsed(copied(PatientAge=stated)).PatientAge == kept


@pytest.mark.parametrize(
    ("stated", "kept"),
    [("1079M", ""), ("999M", "999M"), ("012M", "012M"), ("999W", "999W"), ("12Y", "")],
)
def test_an_age_is_three_digits_and_a_unit(copied, tmp_path, stated, kept):
    assert parsed(copied(unchecked(tmp_path, "PatientAge", stated))).PatientAge == kept


def unchecked(tmp_path: Path, keyword: str, value: str) -> Path:
    """A slice with any text in an element, whatever its value representation is."""
    source = write_image(tmp_path / "source", STORED, **INSTANCE)
    element = pydicom.DataElement(keyword, "LO", value)
    rewritten(source, lambda dataset: dataset.add(element))
    head = element.tag.group.to_bytes(2, "little") + element.tag.element.to_bytes(2, "little")
    vr = pydicom.datadict.dictionary_VR(keyword).encode()
    source.write_bytes(source.read_bytes().replace(head + b"LO", head + vr))
    return source


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientSize", "900101-1234567"),
        ("PatientSize", "1.62" + "0" * 24 + "90010112"),  # no double has that many digits
        ("PatientSize", "9001011234567"),
        ("PatientWeight", "010-1234-5678"),
        ("PatientWeight", "1.2.3"),
        ("StudyTime", "900101-1234567"),
        ("StudyTime", "990101"),
        ("SeriesTime", "10:15 Kim"),
        ("AcquisitionTime", "1015001234567"),
        ("Exposure", "01012345678"),
        ("SeriesNumber", "19510713"),
        ("AcquisitionNumber", "1e5"),
        ("InstanceNumber", "12-3"),
        ("StudyDate", "20200301900101"),
        ("ContentDate", "900101-1234567"),
        ("AcquisitionDateTime", "20200301256060"),
        ("AcquisitionDateTime", "20200301900101-1234567"),
        ("AcquisitionDateTime", "20200301101500+1234567"),
    ],
)
def test_what_is_no_value_of_its_kind_is_left_empty(copied, tmp_path, keyword, value):
    raw = copied(unchecked(tmp_path, keyword, value))
    assert value.encode() not in raw
    assert parsed(raw).get_item(keyword).value in (None, b"")


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        *(
            ("PatientSize", "1.62"),
            ("PatientWeight", "+6.0e1"),
            ("KVP", "120"),
            ("Exposure", "-1"),
            ("Exposure", "+12"),
        ),
        *(("SliceThickness", ".5"), ("SliceThickness", "5."), ("WindowCenter", "40\\-600"), ("SeriesNumber", "9001")),
    ],
)
def test_what_is_a_number_stays_as_it_is_written(copied, tmp_path, keyword, value):
    found = parsed(copied(unchecked(tmp_path, keyword, value))).get_item(keyword).value
    assert found.strip() == value.encode()


@pytest.mark.parametrize("keyword", ["Exposure", "InstanceNumber", "PatientWeight", "SliceThickness"])
@pytest.mark.parametrize("identifier", ["PatientID", "AccessionNumber", "OtherPatientIDs", "PatientBirthDate"])
def test_a_number_of_the_patient_is_no_number_of_the_image(copied, keyword, identifier):
    number = "00067213" if identifier != "PatientBirthDate" else "00510713"
    raw = copied(**{identifier: number, keyword: int(number)})
    assert number.lstrip("0").encode() not in raw


def test_uids_under_the_standards_root_that_it_does_not_know_are_mapped(copied):
    raw = copied(FrameOfReferenceUID="1.2.840.10008.20200317.777", IrradiationEventUID="1.2.840.10008.5.99.1951")
    assert b"20200317" not in raw
    assert b"5.99.1951" not in raw
    assert parsed(raw).SOPClassUID == "1.2.840.10008.5.1.4.1.1.2"


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ManufacturerModelName", "HONGGILDONG scanner"),
        ("ManufacturerModelName", "Brilliance 900101-1872135"),
        ("ConvolutionKernel", "B30 Kim Minsu"),
        ("ConvolutionKernel", "LUNG 19510713"),
        ("Manufacturer", "SIEMENS Kim"),
        ("FilterType", "010-7213-5678"),
        ("RescaleType", "HU KIMMINSU"),
        ("StackID", "00072134"),
        ("PositionReferenceIndicator", "Kim Minsu"),
    ],
)
def test_text_that_is_no_name_of_a_device_is_a_pseudonym(copied, keyword, value):
    raw = copied(**{keyword: value})
    assert value.encode() not in raw
    assert not [word for word in ("KIM", "Kim", "Minsu", "HONG", "1951", "7213") if word.encode() in raw]
    assert len(parsed(raw)[keyword].value) == 12
    assert parsed(copied(**{keyword: value + "2"}))[keyword].value != parsed(raw)[keyword].value  # values stay apart


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        *(("Manufacturer", name) for name in ("GE MEDICAL SYSTEMS", "Philips", "TOSHIBA", "FUJI PHOTO FILM CO. LTD.")),
        *(("Manufacturer", name) for name in ("Canon Medical Systems", "SIEMENS", "Siemens Healthineers", "UIH")),
        *(("ManufacturerModelName", name) for name in ("SOMATOM Definition AS+", "LightSpeed VCT", "Optima CT660")),
        *(("ManufacturerModelName", name) for name in ("iCT 256", "Aquilion ONE", "HiSpeed CT/i", "GC85A")),
        *(
            ("ManufacturerModelName", name)
            for name in ("Revolution EVO", "Brilliance 64", "DRX-Evolution", "DigitalDiagnost")
        ),
        *(("ConvolutionKernel", name) for name in ("B31f", "Br40d", "I70f", "STANDARD", "LUNG", "YA", "FC52", "D40s")),
        *(("ConvolutionKernel", name) for name in ("BONEPLUS", "C", "Hr38", "Bl57d", "FC08-H", "B_SHARP_C")),
        *(("FilterType", name) for name in ("BODY FILTER", "WEDGE", "1", "A")),
        *(("ImageType", name) for name in (["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"], ["DERIVED", "SECONDARY"])),
        *(("PatientPosition", "FFS"), ("BodyPartExamined", "CHEST"), ("ScanOptions", "HELICAL MODE")),
        *(("RotationDirection", "CW"), ("RescaleType", "HU"), ("PositionReferenceIndicator", "SN")),
        *(("PatientSex", "O"), ("ExposureModulationType", "XYZ_EC"), ("LossyImageCompressionMethod", "ISO_15444_1")),
    ],
)
def test_what_is_known_of_devices_and_pictures_stays(copied, keyword, value):
    assert parsed(copied(**{keyword: value}))[keyword].value == value


def test_codes_that_may_be_anything_go(copied):
    raw = copied(
        ScanOptions="MINSU_900101",
        BodyPartExamined="KIM MINSU",
        RequestedProcedurePriority="MINSU",
        PatientSex="KIM",
        ImageType=["ORIGINAL", "PRIMARY", "MINSU", "AXIAL"],
    )
    assert b"MINSU" not in raw
    assert b"KIM" not in raw
    assert parsed(raw).ImageType == ["ORIGINAL", "PRIMARY", "", "AXIAL"]


@pytest.mark.parametrize(("keyword", "vr"), [("PatientComments", "US"), ("ReasonForStudy", "FD"), ("ImageID", "UL")])
def test_text_that_is_said_to_be_numbers_goes(copied, tmp_path, keyword, vr):
    source = write_image(tmp_path / "source", STORED)
    element = pydicom.DataElement(keyword, "LO", "KIM MINSU 123456")
    rewritten(source, lambda dataset: dataset.add(element))
    head = element.tag.group.to_bytes(2, "little") + element.tag.element.to_bytes(2, "little")
    source.write_bytes(source.read_bytes().replace(head + b"LO", head + vr.encode()))
    assert b"MINSU" in source.read_bytes()
    assert b"MINSU" not in copied(source)


@pytest.mark.parametrize(("keyword", "vr"), [("ImageID", "FD"), ("ImageID", "SV")])
def test_a_text_of_eight_letters_that_is_said_to_be_a_number_goes(copied, tmp_path, keyword, vr):
    source = write_image(tmp_path / "source", STORED)
    dtype = "<d" if vr == "FD" else "<q"
    element = pydicom.DataElement(keyword, vr, struct.unpack(dtype, b"KIMMINSU")[0])
    assert b"KIMMINSU" not in copied(rewritten(source, lambda dataset: dataset.add(element)))


def test_more_numbers_than_the_dictionary_allows_are_text(copied, tmp_path):
    element = pydicom.DataElement("PixelPaddingRangeLimit", "US", list(b"KIMMINSU"))
    raw = copied(rewritten(write_image(tmp_path / "source", STORED), lambda dataset: dataset.add(element)))
    assert b"K\0I\0M\0" not in raw
