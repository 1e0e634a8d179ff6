"""A copy says nothing of the person, and everything of the picture."""

import struct
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian

from kicc_ml.dicom.deidentify.copy import NotExportedError, write_deidentified
from kicc_ml.dicom.deidentify.replacements import make_uid
from tests.support.phantom_files import write_colour_page, write_image, write_radiograph

KEY, PATIENT = b"a key of the repository", "0123456789ab"
STORED = np.arange(64, dtype=np.uint16).reshape(8, 8)
#: Fixed, as its copy is looked through for short numbers, which a random one may hold.
INSTANCE = {"SOPInstanceUID": "1.2.3.1.1.2"}


@pytest.fixture
def copied(tmp_path: Path):
    """Writes a CT slice with given tags and gives the bytes of its copy."""

    def copy(source: Path | None = None, key: bytes = KEY, **tags: Any) -> bytes:
        source = source or write_image(tmp_path / "source", STORED, **INSTANCE | tags)
        write_deidentified(source, tmp_path / "copy.dcm", key, PATIENT)
        return (tmp_path / "copy.dcm").read_bytes()

    return copy


def parsed(raw: bytes) -> Dataset:
    return pydicom.dcmread(pydicom.filebase.DicomBytesIO(raw))


def item(**tags: Any) -> Dataset:
    dataset = Dataset()
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


def rewritten(path: Path, change) -> Path:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)
    return path


@pytest.mark.parametrize(
    "keyword",
    [
        *(
            "PatientName",
            "PatientID",
            "OtherPatientIDs",
            "AccessionNumber",
            "InstitutionName",
            "ReferringPhysicianName",
        ),
        *("OperatorsName", "StationName", "DeviceSerialNumber", "SeriesDescription", "ProtocolName", "PatientComments"),
        *("ImageComments", "StudyDescription", "PatientAddress", "AdmissionID", "ContrastBolusAgent", "EthnicGroup"),
        *("InstitutionalDepartmentName", "SoftwareVersions", "FrameComments", "IssuerOfPatientID", "StudyID"),
    ],
)
def test_text_that_may_name_somebody_is_not_in_the_copy(copied, keyword):
    assert b"SECRET" not in copied(**{keyword: "SECRET"})


@pytest.mark.parametrize("keyword", ["Manufacturer", "ConvolutionKernel", "RescaleType", "StackID", "FilterType"])
def test_a_name_in_a_text_that_is_kept_is_a_pseudonym(copied, keyword):
    raw = copied(PatientName="Hong^Gildong", **{keyword: "GILDONG 2"})
    assert b"GILDONG" not in raw
    assert len(parsed(raw)[keyword].value) == 12


@pytest.mark.parametrize(
    "keyword", ["ImageType", "BodyPartExamined", "ScanOptions", "PatientPosition", "ImageComments"]
)
def test_a_name_in_a_code_is_left_out(copied, keyword):
    assert b"GILDONG" not in copied(PatientName="Hong^Gildong", **{keyword: "GILDONG 2"})


def test_a_word_of_the_vocabulary_that_is_the_patients_name_goes_too(copied):
    copy = parsed(
        copied(PatientName="Canon^Force", Manufacturer="CANON MEDICAL", ManufacturerModelName="SOMATOM Force")
    )
    assert "CANON" not in copy.Manufacturer
    assert "Force" not in copy.ManufacturerModelName


@pytest.mark.parametrize(("keyword", "value"), [("BodyPartExamined", "CHEST"), ("ImageType", ["ORIGINAL", "CHEST"])])
def test_a_known_code_that_is_the_patients_name_is_left_out(copied, keyword, value):
    assert "CHEST" not in str(parsed(copied(PatientName="Chest^Original", **{keyword: value}))[keyword].value)


def test_a_code_string_of_an_element_without_known_values_goes_and_its_neighbours_stay(copied):
    copy = parsed(copied(SpatialLocationsPreserved="YES", RotationDirection="CW"))
    assert "SpatialLocationsPreserved" not in copy
    assert copy.RotationDirection == "CW"


def test_a_copy_holds_ascii_alone_and_states_no_character_set(copied):
    raw = copied(SpecificCharacterSet=["", "ISO 2022 IR 149"], Manufacturer="길동 메디칼")
    assert "SpecificCharacterSet" not in parsed(raw)
    assert not [value for value in parsed(raw).values() if not str(value.value).isascii()]


def test_a_name_in_hangul_is_in_no_encoding_in_the_copy(copied):
    raw = copied(
        SpecificCharacterSet=["", "ISO 2022 IR 149"],
        PatientName="Hong^Gildong=洪^吉洞=홍^길동",
        Manufacturer="길동 메디칼",
    )
    for name in ("Gildong", "길동", "吉洞"):
        assert not [code for code in ("utf-8", "cp949", "utf-16-le") if name.encode(code) in raw]


def test_private_elements_go_wherever_they_stand(copied, tmp_path):
    def add(dataset: Dataset) -> None:
        inner = item(RescaleType="HU")
        for one in (dataset, inner):
            block = one.private_block(0x0029, "SECRET CREATOR", create=True)
            block.add_new(0x10, "LO", "SECRET")
            block.add_new(0x11, "FD", struct.unpack("<d", b"SECRET!!")[0])  # numbers of known elements stay
        dataset.ModalityLUTSequence = [inner]

    raw = copied(rewritten(write_image(tmp_path / "source", STORED), add))
    assert b"SECRET" not in raw
    assert parsed(raw).ModalityLUTSequence[0].RescaleType == "HU"


@pytest.mark.parametrize("group", [0x6000, 0x601E, 0x5002])
def test_overlays_and_curves_go(copied, tmp_path, group):
    def add(dataset: Dataset) -> None:
        dataset.add_new((group, 0x0010), "US", 8)
        dataset.add_new((group, 0x0050), "SS", [1, 1])
        dataset.add_new((group, 0x3000), "OB", b"SECRET")
        dataset.add_new((group, 0x4000), "LT", "SECRET")

    raw = copied(rewritten(write_image(tmp_path / "source", STORED), add))
    assert b"SECRET" not in raw
    assert [element for element in parsed(raw) if element.tag.group == group] == []


def test_preamble_file_meta_information_and_bytes_behind_the_data_set_are_not_carried_over(copied, tmp_path):
    source = write_image(tmp_path / "source", STORED)

    def add(dataset: Dataset) -> None:
        dataset.file_meta.SourceApplicationEntityTitle = "SECRET"
        dataset.file_meta.ImplementationVersionName = "SECRET"
        dataset.file_meta.PrivateInformationCreatorUID = UID("1.2.3.99")
        dataset.file_meta.PrivateInformation = b"SECRET"

    rewritten(source, add)
    source.write_bytes(b"SECRET".ljust(128, b"!") + source.read_bytes()[128:] + b"\xfe\xff\xfe\xffSECRET SECRET")
    raw = copied(source)
    assert b"SECRET" not in raw
    assert b"1.2.3.99" not in raw
    assert raw[:128] == bytes(128)


def test_elements_behind_the_pixel_data_go(copied, tmp_path):
    def sign(dataset: Dataset) -> None:
        dataset.add_new((0xFFFA, 0xFFFA), "SQ", [item(CertificateOfSigner=b"SECRET")])
        dataset.add_new((0xFFFC, 0xFFFC), "OB", b"SECRET")

    assert b"SECRET" not in copied(rewritten(write_image(tmp_path / "source", STORED), sign))


def test_coded_terms_go_since_a_hospital_may_mean_anything_by_them(copied):
    term = item(CodeValue="028", CodingSchemeDesignator="DCM", CodeMeaning="SECRET")
    raw = copied(ProcedureCodeSequence=[term], ReferencedImageSequence=[item(PurposeOfReferenceCodeSequence=[term])])
    assert b"SECRET" not in raw
    assert not parsed(raw).ReferencedImageSequence[0].PurposeOfReferenceCodeSequence


def test_uids_are_mapped_alike_in_every_file_and_sequence(copied):
    series = "1.2.840.113619.2.55.3"
    first = parsed(copied(SeriesInstanceUID=series))
    again = parsed(
        copied(
            SeriesInstanceUID="1.2.9",
            ReferencedImageSequence=[
                item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID=series)
            ],
        )
    )
    referenced = again.ReferencedImageSequence[0]
    assert referenced.ReferencedSOPInstanceUID == first.SeriesInstanceUID != series
    assert referenced.ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert UID(first.SeriesInstanceUID).is_valid
    assert parsed(copied(key=b"another", SeriesInstanceUID=series)).SeriesInstanceUID != first.SeriesInstanceUID


def test_a_mapped_uid_is_a_uuid_of_version_5():
    number = int(make_uid(KEY, "1.2.3").removeprefix("2.25."))
    assert (number >> 76 & 0xF, number >> 62 & 0x3) == (5, 2)  # RFC 9562, 4.1 and 4.2


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


def test_what_was_done_is_stated_as_the_standard_asks(copied):
    copy = parsed(copied())
    assert (copy.PatientIdentityRemoved, copy.LongitudinalTemporalInformationModified) == ("YES", "MODIFIED")
    codes = [(code.CodeValue, code.CodingSchemeDesignator) for code in copy.DeidentificationMethodCodeSequence]
    assert codes == [("113100", "DCM"), ("113107", "DCM"), ("113108", "DCM")]
    assert copy.PatientID == copy.PatientName == PATIENT


def test_geometry_values_and_pixels_are_those_of_the_source(copied, tmp_path):
    source = pydicom.dcmread(write_image(tmp_path / "source", STORED, ImagePositionPatient=[1, 2, "3.25"], KVP=120))
    copy = parsed(copied(tmp_path / "source"))
    same = ("ImagePositionPatient", "RescaleIntercept", "Rows", "BitsStored", "KVP", "ConvolutionKernel", "ImageType")
    assert [copy[name].value for name in same] == [source[name].value for name in same]
    assert copy.PixelData == source.PixelData


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_the_transfer_syntax_stays(copied, tmp_path, syntax):
    source = Dataset()
    for element in pydicom.dcmread(write_image(tmp_path / "plain", STORED, PixelPaddingValue=7)):
        source.add(element)
    if syntax is ExplicitVRBigEndian:
        source.PixelData = STORED.astype(">u2").tobytes()
    source["PixelData"].VR = "OW"
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = syntax
    source.save_as(tmp_path / "source", enforce_file_format=True)
    copy = parsed(copied(tmp_path / "source"))
    assert (copy.file_meta.TransferSyntaxUID, copy.PixelPaddingValue) == (syntax, 7)
    np.testing.assert_array_equal(copy.pixel_array, STORED)


def test_the_view_that_only_a_description_tells_is_kept(copied, tmp_path):
    for description, view in (("Chest PA", "PA"), ("Thorax lateral", "LL"), ("Hong Gildong", "")):
        tags = {"ViewPosition": None, "SeriesDescription": description}
        copy = parsed(copied(write_radiograph(tmp_path / "source", STORED, **tags)))
        assert copy.get("ViewPosition", "") == view


@pytest.mark.parametrize(
    ("code", "tags"),
    [
        ("burned_in", {"BurnedInAnnotation": "YES"}),
        ("secondary_capture", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}),
        ("secondary_capture", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.11.1"}),  # presentation state
    ],
)
def test_a_picture_that_may_show_a_name_is_refused(copied, tmp_path, code, tags):
    with pytest.raises(NotExportedError) as refused:
        copied(**tags)
    assert refused.value.code == code
    assert not list(tmp_path.glob("*copy*"))


def test_a_radiograph_stored_as_a_secondary_capture_is_written_where_somebody_has_looked(tmp_path):
    source = write_radiograph(tmp_path / "source", STORED, SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    write_deidentified(source, tmp_path / "copy.dcm", KEY, PATIENT, secondary_captures=True)
    assert parsed((tmp_path / "copy.dcm").read_bytes()).PixelData == STORED.tobytes()


def test_a_dose_page_and_an_overlay_among_the_pixels_are_refused(copied, tmp_path):
    with pytest.raises(NotExportedError, match="dose_page"):
        copied(write_colour_page(tmp_path / "page", SOPClassUID="1.2.840.10008.5.1.4.1.1.2"))
    embedded = rewritten(
        write_image(tmp_path / "source", STORED),
        lambda dataset: (dataset.add_new((0x6000, 0x0010), "US", 8), dataset.add_new((0x6000, 0x0102), "US", 12)),
    )
    with pytest.raises(NotExportedError, match="burned_in"):
        copied(embedded)
